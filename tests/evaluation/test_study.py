"""The plan of a study from its file, and its runs."""

import json
import shutil
from dataclasses import replace
from fcntl import LOCK_EX, flock

import pytest
import torch
from helpers import fork_server
from mmengine.runner import Runner

from mmdet_detnet import config_path
from mmdet_detnet.environment import find_commit
from mmdet_detnet.evaluation import study as study_module
from mmdet_detnet.evaluation.study import Run, execute, read_study, train_and_test
from mmdet_detnet.training import SeedHook
from mmdet_detnet.training.checks import find_config_problems

pytestmark = pytest.mark.xdist_group('fork server')

CONTENT = """
data_sets:
  cells: {data_root: data/cells, class_names: [red, white]}
seeds: [0, 1]
options: {max_epochs: 3}
detectors:
  plain: {config: CONFIG}
  slow: {config: CONFIG, options: {max_epochs: 5}}
  other: {config: CONFIG, options: {model.backbone.base_channels: 8}}
comparisons:
  - [slow, plain]
  - [other, plain]
"""
OTHER = 'config: CONFIG, options: {model.backbone.base_channels: 8}'
OPTIONS = {'train_cfg.max_epochs': 2, 'train_dataloader.batch_size': 1}
EARLY_STOPPING = dict(type='EarlyStoppingHook', monitor='coco/bbox_mAP', patience=0, min_delta=9)
CONV_HEAD = {
    'model.roi_head.bbox_head.type': 'Shared4Conv1FCBBoxHead',
    'model.roi_head.bbox_head.conv_out_channels': 8,
}


@pytest.fixture
def write(tmp_path):
    """Write the study with a part of its text replaced; the path of the file."""

    def write(old='', new=''):
        assert old in CONTENT
        config = config_path('custom/faster-rcnn_r50-slim_fpn_custom.py')
        (tmp_path / 'mine.yml').write_text(CONTENT.replace(old, new).replace('CONFIG', config))
        return tmp_path / 'mine.yml'

    return write


def test_runs_come_in_pairs_seed_after_seed_and_once(write):
    study = read_study(write())
    names = 'plain_seed0 slow_seed0 plain_seed1 slow_seed1 other_seed0 other_seed1'
    assert [run.name for run in study.runs] == [f'cells_{name}' for name in names.split()]
    assert study.comparisons == (('slow', 'plain'), ('other', 'plain'))


def test_options_of_study_data_set_and_detector_reach_the_config(write):
    plain, slow, *_, other = (run.load_config() for run in read_study(write()).runs)
    assert plain.train_cfg.max_epochs == plain.param_scheduler[1].T_max == 3
    assert slow.train_cfg.max_epochs == 5  # the detector's option is the last word
    assert plain.test_evaluator.ann_file == 'data/cells/annotations/test.json'
    assert plain.train_dataloader.dataset.metainfo.classes == ('red', 'white')
    assert plain.model.roi_head.bbox_head.num_classes == 2
    assert other.model.backbone.base_channels == 8


def test_weights_are_trained_first_with_the_same_settings(write):
    file = write(OTHER, 'weights: slow, options: {model.test_cfg.rcnn.score_thr: 0.3}')
    file.write_text(file.read_text().replace('  - [slow, plain]\n', ''))
    plain, slow, other, *_ = read_study(file).runs
    assert [run.detector for run in (plain, slow, other)] == ['plain', 'slow', 'other']
    assert (plain.source, slow.source, other.source) == (None, None, slow.name)
    assert other.config == slow.config
    assert other.options == slow.options | {'model.test_cfg.rcnn.score_thr': 0.3}


@pytest.mark.parametrize(
    ('old', 'new', 'message'),
    [
        ('seeds: [0, 1]', 'seed: 0', 'must have comparisons, data_sets, detectors, seeds'),
        ('seeds: [0, 1]', 'seeds: [-1]', r'seeds must be .* from 0 on, got \[-1\]'),
        ('seeds: [0, 1]', 'seeds: [0, 1', 'mine.yml: while parsing'),
        ('[slow, plain]', '[fast, plain]', 'comparisons must be pairs of plain, slow, other'),
        ('[slow, plain]', '[[slow], plain]', 'comparisons must be pairs of'),
        ('  - [other, plain]\n', '', 'no comparison has other'),
        ('options: {max_epochs: 5}', 'option: 1', 'detectors.slow must have config or weights'),
        (OTHER, 'config: 5', 'detectors.other.config must be text, got 5'),
        (OTHER, 'weights: other', "other.weights must be one of plain, slow, got 'other'"),
        ('{max_epochs: 3}', '[max_epochs]', 'options must be a mapping'),
        ('{max_epochs: 5}', '', 'detectors.slow.options must be a mapping .*, got None'),
        ('  other: {', '  59: {', 'detectors must be a mapping with text as keys, got .*59'),
    ],
)
def test_mistakes_in_the_file_are_named(write, old, new, message):
    with pytest.raises(ValueError, match=message):
        read_study(write(old, new))


@pytest.mark.parametrize('option', ['mdoel.x', 'max_epoch'])
def test_option_that_would_change_nothing_is_refused(write, option):
    run = read_study(write('max_epochs: 3', f'{option}: 1')).runs[0]
    with pytest.raises(ValueError, match=option):
        run.load_config()


def test_first_lines_of_a_template_are_set_as_if_they_were_changed_in_the_file():
    name = 'custom/retinanet-conf_r50-slim_fpn_custom.py'
    options = {'data_root': '/my/data/', 'class_names': ['cat', 'red panda'], 'load_from': 'a'}
    config = Run('any', 'any', 0, name, options).load_config()
    for loader in (config.train_dataloader, config.val_dataloader, config.test_dataloader):
        assert loader.dataset.data_root == '/my/data/'
        assert loader.dataset.metainfo.classes == ('cat', 'red panda')
    assert config.val_evaluator.ann_file == '/my/data/annotations/val.json'
    assert config.model.bbox_head.num_classes == 2
    assert config.load_from == 'a'
    assert find_config_problems(config) == []


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
    assert torch.__version__ in result['environment']
    assert result['commit'] == find_commit()
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
    monkeypatch.setattr(SeedHook, 'before_train_epoch', stop)
    with pytest.raises(KeyboardInterrupt):
        train_and_test(make_run(), tmp_path)
    monkeypatch.setattr(SeedHook, 'before_train_epoch', note)
    result, expected = train_and_test(make_run(), tmp_path), finished[0]
    # A GPU sums in no fixed order.
    same = [] if torch.cuda.is_available() else ['metrics', 'matches', 'final_loss']
    for key in (*same, 'iterations'):
        assert result[key] == expected[key], key
    assert epochs == [1]  # the second one only


@pytest.mark.parametrize('stopped_in', [1, 2])
def test_validation_that_an_option_asks_for_gives_a_curve(
    stopped_in, make_run, finished, tmp_path, monkeypatch
):
    """Also if a run is stopped while it validates, once in the last epoch."""

    def stop(hook, runner, *args, **kwargs):
        if runner.epoch == stopped_in:
            raise KeyboardInterrupt

    run = make_run(**{'train_cfg.val_interval': 1, 'custom_hooks': [EARLY_STOPPING]})
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(SeedHook, 'before_val_iter', stop)
        train_and_test(run, tmp_path)
    result = train_and_test(run, tmp_path)
    assert [epoch for epoch, _ in result['curve']] == [1, 2]
    assert all(0 <= ap <= 1 for _, ap in result['curve'])
    assert result['epochs'] == 2  # all runs train equally long
    assert 'curve' not in finished[0]


def test_validation_without_a_detection_is_an_ap_of_0_by_iteration_if_these_count(
    make_run, tmp_path
):
    options = {
        'train_cfg': dict(_delete_=True, type='IterBasedTrainLoop', max_iters=2, val_interval=1),
        'train_cfg.val_interval': 1,
        'param_scheduler': [],
        'default_hooks.checkpoint.by_epoch': False,
        'model.test_cfg.rcnn.score_thr': 1.0,
    }
    run = Run('plain', 'shapes', 0, make_run().config, options)
    for _ in range(2):  # an option is read again in the process of the run
        cfg = run.load_config()
    assert cfg.train_cfg.type == 'IterBasedTrainLoop' and 'max_epochs' not in cfg.train_cfg
    assert train_and_test(run, tmp_path)['curve'] == [(1, 0.0), (2, 0.0)]


def test_other_detector_is_tested_with_the_weights_of_its_source(make_run, finished, tmp_path):
    trained, folder = finished
    run = replace(make_run('all', **{'model.test_cfg.rcnn.max_per_img': 0}), weights='plain')
    shutil.copytree(folder, tmp_path / run.source)
    result = train_and_test(run, tmp_path / run.name)
    for key in ('iterations', 'epochs', 'final_loss', 'train_seconds'):
        assert result[key] == trained[key], key
    longer = replace(make_run('all', **{'train_cfg.max_epochs': 3}), weights='plain')
    with pytest.raises(FileNotFoundError, match='shapes_plain_seed0/epoch_3.pth is missing'):
        train_and_test(longer, tmp_path / longer.name)


def test_interrupted_fine_tuning_goes_on_from_its_own_checkpoint(make_run, finished):
    cfg = make_run(load_from='pretrained.pth').load_config()
    study_module._resume(cfg, finished[1] / 'new', None)
    assert (cfg.resume, cfg.load_from) == (False, 'pretrained.pth')
    study_module._resume(cfg, finished[1], None)
    assert (cfg.resume, cfg.load_from) == (True, str(finished[1] / 'epoch_2.pth'))


def test_detectors_of_a_seed_see_the_same_images_in_the_same_order(make_run, tmp_path, monkeypatch):
    def end(runner):
        raise KeyboardInterrupt

    seen = {}
    monkeypatch.setattr(Runner, 'test', end)
    for run in (make_run(), make_run('conv', **CONV_HEAD), make_run(seed=1)):
        images = seen[run.name] = []

        def watch(hook, runner, batch_idx, data_batch=None, images=images):
            images.append([(each.img_id, each.flip) for each in data_batch['data_samples']])

        monkeypatch.setattr(SeedHook, 'before_train_iter', watch)
        with pytest.raises(KeyboardInterrupt):
            train_and_test(run, tmp_path / run.name)
    plain, conv, reseeded = seen.values()
    assert len(plain) == 4
    assert conv == plain
    assert reseeded != plain


def test_failed_run_is_a_result_and_leaves_the_others_alone(make_run, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(study_module, 'get_context', lambda method: fork_server())
    broken, plain = make_run('broken', **{'model.backbone.depth': 7}), make_run()
    tested = replace(make_run('tested'), weights='plain')  # waits for the weights
    execute([broken, plain, tested], tmp_path, jobs=3)
    results = {file.stem: json.loads(file.read_text()) for file in tmp_path.glob('results/*')}
    failure = results[broken.name]['failure']
    assert failure.startswith('exit status 1: ') and 'depth' in failure
    assert results[tested.name]['metrics'] == results[plain.name]['metrics']
    assert 'shapes_plain_seed0: done' in capfd.readouterr().out
    assert 'Epoch(train)' in (tmp_path / 'runs/shapes_plain_seed0/log.txt').read_text()
    execute([plain], tmp_path, jobs=1)  # it is there
    assert 'started' not in capfd.readouterr().out
    # Neither the result is taken, nor the checkpoints, after an edit of a config or its options.
    other_settings = 'shapes_plain_seed0 was made with other settings'
    with pytest.raises(ValueError, match=other_settings):
        execute([make_run(**{'train_cfg.max_epochs': 3})], tmp_path, jobs=1)
    base, edited = plain.config, tmp_path / 'edited.py'
    edited.write_text(f'_base_ = {base!r}\n')
    plain = replace(plain, config=str(edited))
    result_file = tmp_path / 'results/shapes_plain_seed0.json'
    result_file.write_text(json.dumps(results[plain.name] | dict(config=str(edited))))
    execute([plain], tmp_path, jobs=1)
    edited.write_text(f'_base_ = {base!r}\nmodel = dict(backbone=dict(norm_eval=True))\n')
    with pytest.raises(ValueError, match=other_settings):
        execute([replace(plain)], tmp_path, jobs=1)
    result_file.unlink()
    with pytest.raises(ValueError, match=other_settings):
        execute([replace(plain)], tmp_path, jobs=1)
    # Nor is a config read that was edited while the study waits.
    shutil.rmtree(tmp_path / 'runs')
    execute([plain], tmp_path, jobs=1)
    assert 'was changed after the study' in json.loads(result_file.read_text())['failure']


def test_results_of_earlier_versions_need_no_digest_and_folders_may_move(make_run, tmp_path):
    run = make_run()
    (tmp_path / 'results').mkdir()
    made = {**run.describe(), 'images': 2, 'per_class': {}, 'matches': {}}
    del made['digest']
    (tmp_path / f'results/{run.name}.json').write_text(json.dumps(made))
    execute([run], tmp_path, jobs=1)
    digests = []
    for folder in (tmp_path / 'here', tmp_path / 'there'):
        folder.mkdir()
        folder_of_config = "__import__('mmdet_detnet').folder_of_config()"
        text = f"data_root = {folder_of_config}\ntest_evaluator = [dict(ann_file='test.json')]\n"
        (folder / 'config.py').write_text(text)
        digests.append(Run('any', 'any', 0, str(folder / 'config.py'), {}).digest)
    assert digests[0] == digests[1]


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'mdoel.x': 1}, 'mdoel'),
        # Found by the Runner after the training only.
        ({'test_evaluator': {'type': 'VOCMetric', '_delete_': True}}, 'with an ann_file as test_'),
        ({'test_evaluator': []}, 'with an ann_file as test_evaluator'),
    ],
)
def test_mistake_in_a_later_run_stops_before_the_first(options, message, make_run, tmp_path, capfd):
    with pytest.raises(ValueError, match=message):
        execute([make_run(), make_run('wrong', **options)], tmp_path, jobs=1)
    assert 'started' not in capfd.readouterr().out


def test_one_study_at_a_time_in_a_folder(tmp_path):
    with (tmp_path / 'lock').open('w') as file:
        flock(file, LOCK_EX)
        with pytest.raises(RuntimeError, match='in use by another process'):
            execute([], tmp_path, jobs=1)
