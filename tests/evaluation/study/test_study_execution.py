import json
import shutil
from dataclasses import replace

import pytest
import torch
from helpers import fork_server
from mmengine.runner import Runner

from mmdet_detnet.evaluation.study import Run, execute, execution
from mmdet_detnet.evaluation.study.execution import (
    _find_ready,
    _lock,
    _resume,
    train_and_test,
)
from mmdet_detnet.evaluation.study.result_files import result_path
from mmdet_detnet.training import SeedHook

pytestmark = pytest.mark.xdist_group('fork server')

LOADERS = {
    f'{name}_dataloader.{key}': value
    for name in ('train', 'test')
    for key, value in dict(num_workers=0, persistent_workers=False).items()
}
OPTIONS = {'train_cfg.max_epochs': 2, 'train_dataloader.batch_size': 1, **LOADERS}
CONV_HEAD = {'model.roi_head.bbox_head.type': 'Shared4Conv1FCBBoxHead'}


@pytest.fixture(scope='module')
def make_run(tiny_detector):
    """Make a run of the tiny detector."""

    def make(detector='plain', seed=0, **options):
        return Run(detector, 'shapes', seed, str(tiny_detector[0]), {**OPTIONS, **options})

    return make


@pytest.fixture(scope='module')
def finished(make_run, tmp_path_factory):
    """A result, and the folder of its run."""
    folder = tmp_path_factory.mktemp('run')
    return train_and_test(make_run(), folder), folder


def test_result_says_what_was_done(finished):
    result, folder = finished
    assert (result['iterations'], result['epochs'], result['images']) == (4, 2, 2)
    assert result['final_loss'] > 0
    assert result['train_seconds'] > 0 and result['cpu_seconds'] > 0
    assert set(result['per_class']) == {'circle', 'square', 'triangle'}
    assert result['versions']['torch'] == torch.__version__
    assert [path.name for path in folder.glob('*.pth')] == ['epoch_2.pth']
    json.dumps(result)


def test_stopped_run_goes_on_to_the_same_result(make_run, finished, tmp_path, monkeypatch):
    begin = SeedHook.before_train_epoch

    def stop(hook, runner):
        if runner.epoch == 1:
            raise KeyboardInterrupt
        begin(hook, runner)

    def note(hook, runner):
        epochs.append(runner.epoch)
        begin(hook, runner)

    epochs = []
    monkeypatch.setattr(execution.time, 'process_time', lambda: 50.0)
    monkeypatch.setattr(SeedHook, 'before_train_epoch', stop)
    with pytest.raises(KeyboardInterrupt):
        train_and_test(make_run(), tmp_path)
    monkeypatch.setattr(SeedHook, 'before_train_epoch', note)
    result, expected = train_and_test(make_run(), tmp_path), finished[0]
    # A GPU sums in no fixed order.
    same = [] if torch.cuda.is_available() else ['metrics', 'matches', 'final_loss']
    for key in (*same, 'iterations', 'config_hash'):
        assert result[key] == expected[key], key
    assert epochs == [1]  # the second one only
    assert result['cpu_seconds'] == 2 * 50


def test_other_detector_is_tested_with_the_weights_of_its_source(make_run, finished, tmp_path):
    trained, folder = finished
    options = {'model.test_cfg.rcnn.max_per_img': 5}
    run = replace(make_run('all', **options), weights='plain')
    shutil.copytree(folder, tmp_path / run.source)
    result = train_and_test(run, tmp_path / run.name)
    for key in ('iterations', 'epochs', 'final_loss', 'train_seconds'):
        assert result[key] == trained[key], key
    assert sum(len(each['image']) for each in result['matches'].values()) == 2 * 5  # two images


def test_unfinished_weights_are_not_tested(make_run, finished, tmp_path):
    longer = {'train_cfg.max_epochs': 3}
    run = replace(make_run('all', **longer), weights='plain')
    shutil.copytree(finished[1], tmp_path / run.source)
    with pytest.raises(FileNotFoundError, match='shapes_plain_seed0/epoch_3.pth is missing'):
        train_and_test(run, tmp_path / run.name)


def test_run_waits_for_its_weights(make_run):
    plain, other = make_run(), make_run('other')
    tested = replace(make_run('all'), weights='plain')
    assert _find_ready([tested, other], [plain]) is other
    assert _find_ready([tested], [plain]) is None
    assert _find_ready([tested], [other]) is tested


def test_interrupted_fine_tuning_goes_on_from_its_own_checkpoint(make_run, finished):
    cfg = make_run(load_from='pretrained.pth').load_config()
    _resume(cfg, finished[1] / 'new', None)
    assert (cfg.resume, cfg.load_from) == (False, 'pretrained.pth')
    _resume(cfg, finished[1], None)
    assert (cfg.resume, cfg.load_from) == (True, str(finished[1] / 'epoch_2.pth'))


@pytest.fixture(scope='module')
def watched(make_run, tmp_path_factory):
    """What detectors were given and began with: images and flips, and weights."""
    runs = dict(plain=make_run(), conv=make_run('conv', **CONV_HEAD), reseeded=make_run(seed=1))
    seen = {}

    def end(runner):
        raise KeyboardInterrupt

    for name, run in runs.items():
        images, weights = [], {}

        def watch(hook, runner, batch_idx, data_batch=None, images=images, weights=weights):
            if not images:
                weights |= {key: each.clone() for key, each in runner.model.named_parameters()}
            images.append([(each.img_id, each.flip) for each in data_batch['data_samples']])

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(SeedHook, 'before_train_iter', watch)
            patch.setattr(Runner, 'test', end)
            with pytest.raises(KeyboardInterrupt):
                train_and_test(run, tmp_path_factory.mktemp('run'))
        seen[name] = images, weights
    return seen


def test_detectors_of_a_seed_see_the_same_images_in_the_same_order(watched):
    assert len(watched['plain'][0]) == 4
    assert watched['conv'][0] == watched['plain'][0]
    assert watched['reseeded'][0] != watched['plain'][0]


def test_failed_run_is_a_result_and_leaves_the_others_alone(make_run, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(execution, 'get_context', lambda method: fork_server())
    wrong = {'model.backbone.depth': 7}
    runs = [make_run('broken', **wrong), make_run()]
    execute(runs, tmp_path, jobs=2)
    broken, plain = (json.loads(result_path(run, tmp_path).read_text()) for run in runs)
    assert broken['failure'].startswith('exit status 1: ') and 'depth' in broken['failure']
    assert plain['metrics']['AP'] is not None
    assert 'shapes_plain_seed0: done' in capfd.readouterr().out
    assert 'Epoch(train)' in (tmp_path / 'runs/shapes_plain_seed0/log.txt').read_text()
    execute(runs[1:], tmp_path, jobs=1)  # it is there
    assert 'started' not in capfd.readouterr().out


def test_result_of_other_settings_is_not_taken(make_run, finished, tmp_path):
    run = make_run(**{'train_cfg.max_epochs': 3})
    file = result_path(run, tmp_path)
    file.parent.mkdir()
    file.write_text(json.dumps(finished[0]))
    with pytest.raises(ValueError, match='other settings'):
        execute([run], tmp_path, jobs=1)


def test_mistake_in_a_later_run_stops_before_the_first(make_run, tmp_path, capfd):
    with pytest.raises(ValueError, match='mdoel'):
        execute([make_run(), make_run('wrong', **{'mdoel.x': 1})], tmp_path, jobs=1)
    assert 'started' not in capfd.readouterr().out


def test_one_study_at_a_time_in_a_folder(tmp_path):
    with _lock(tmp_path), pytest.raises(RuntimeError, match='in use by another process'):
        execute([], tmp_path, jobs=1)
