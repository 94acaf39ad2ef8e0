"""A run of a wrong config ends before its first iteration, one of a valid config does not."""

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.runner import Runner

from mmdet_detnet import config_path
from mmdet_detnet.training import ConfigCheckHook, launch

CUSTOM = config_path('custom/faster-rcnn_detnet59-slim_fpn_custom.py')
# One iteration, without validation.
SHORT = {
    'model.roi_head.bbox_head.fc_out_channels': 16,
    'train_cfg.max_epochs': 1,
    'train_cfg.val_interval': 2,
    'model.test_cfg.rcnn.score_thr': 0.0,
}


@pytest.fixture
def small_config(tiny_detector, tmp_path):
    config = Config.fromfile(tiny_detector[0])
    config.merge_from_dict(SHORT)
    config.work_dir = str(tmp_path / 'run')
    config.log_level = 'ERROR'
    return config


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        # A problem of the config, and one of the model.
        (
            {
                'val_dataloader.dataset.metainfo.classes': ('a', 'a', 'b'),
                'model.rpn_head.anchor_generator.base_sizes': None,
            },
            'must be unique class names.*\n.*'
            'rpn_head.anchor_generator must give every level anchors of its own',
        ),
        ({'model.backbone.norm_eval': True}, 'Batch norm is frozen at its initial statistics'),
        (
            {'model.roi_head.bbox_roi_extractor.featmap_strides': [4, 8, 16, 32, 64]},
            r'strides of roi_head\.bbox_roi_extractor\.featmap_strides must be \[4.0, 8.0, 16.0,',
        ),
    ],
)
def test_wrong_training_ends_before_its_first_step(small_config, changes, words):
    small_config.merge_from_dict(changes)
    runner = Runner.from_cfg(small_config)
    with pytest.raises(ValueError, match=words):
        runner.train()
    assert runner.iter == 0


def test_valid_run_leaves_no_trace_in_the_model(small_config):
    runner = Runner.from_cfg(small_config)
    runner.train()
    assert runner.iter == 1
    assert not runner.model.backbone._forward_hooks
    assert not runner.model.backbone._forward_pre_hooks
    assert not runner.model.neck._forward_hooks


@pytest.fixture
def run_test(small_config, tmp_path):
    """Test a checkpoint of a detector with some classes by tools/test.py, in this process."""

    def run(num_classes, *options):
        config = Config(dict(small_config.model))
        config.roi_head.bbox_head.num_classes = num_classes
        torch.save({'state_dict': MODELS.build(config).state_dict()}, tmp_path / 'weights.pth')
        config.roi_head.bbox_head.num_classes = 3
        small_config.dump(tmp_path / 'config.py')
        paths = [str(tmp_path / 'config.py'), str(tmp_path / 'weights.pth')]
        launch.test([*paths, *options])

    return run


def test_checkpoint_of_another_detector_is_refused(run_test, capsys):
    with pytest.raises(SystemExit, match='2'):
        run_test(7)
    words = 'roi_head.bbox_head.fc_cls.weight (8, 16) instead of (4, 16)'
    assert words in capsys.readouterr().err


def test_checkpoint_of_another_detector_may_be_allowed(run_test, capsys):
    run_test(7, '--allow-mismatch', '--cfg-options', 'resume=True')  # which is of training
    assert 'Average Precision' in capsys.readouterr().out


def test_resume_needs_weights_of_the_model(small_config, tmp_path):
    """Their difference is named before torch finds that of the optimizer's state."""
    Runner.from_cfg(small_config).train()
    (file,) = tmp_path.glob('run/epoch_1.pth')
    small_config.update(resume=True, load_from=str(file))
    small_config.model.roi_head.bbox_head.update(type='Shared4Conv1FCBBoxHead', conv_out_channels=8)
    with pytest.raises(
        ValueError, match='The checkpoint is not one of this config.* lacks weights'
    ):
        Runner.from_cfg(small_config).train()
    small_config.update(resume=False)
    Runner.from_cfg(small_config).train()


@pytest.mark.parametrize('check', [None, dict(type=ConfigCheckHook), dict(type='ConfigCheckHook')])
def test_config_has_the_check_once(check):
    config = Config(dict(default_hooks=dict(config_check=check)))
    launch._switch_checks_on(config, allow_mismatch=True)
    (hook,) = config.default_hooks.values()
    added = dict(type='mmdet_detnet.ConfigCheckHook')
    assert hook == dict(check or added, allow_mismatch=True)


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (['--cfg-options', 'mdoel.x=1'], 'the config has no mdoel; did you mean model?'),
        (['--work-dir', '/dev/null/run'], '/dev/null/run cannot be created: Not a directory.'),
        (['--cfg-options', 'seed', '3'], 'key=value, in quotes where a value has spaces, got seed'),
        (['--cfg-options', 'seed=)3,('], 'value has spaces, got seed=)3,('),
        (['--cfg-options', 'a=[1,', '2]'], 'value has spaces, got a=[1,'),
        (['--cfg-options', 'load_from=my runs/a.pth'], 'train.py: No such file: my runs/a.pth.'),
        (['--amp'], 'AmpOptimWrapper, which --amp sets, does not train on cpu'),
        (['--launcher', 'mpi'], '--launcher mpi needs OMPI_COMM_WORLD_RANK, which torchrun, srun'),
        (['--epoch', '3'], 'train.py: error: unrecognized arguments: --epoch 3'),
    ],
)
def test_launcher_ends_with_one_sentence(capsys, monkeypatch, tmp_path, options, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(launch, 'get_device', lambda: 'cpu')
    with pytest.raises(SystemExit) as stop:
        launch.train([CUSTOM, *options])
    assert stop.value.code == 2
    *usage, line = capsys.readouterr().err.splitlines()
    assert words in line
    assert not usage or usage[0].startswith('usage: ')


def test_work_directory_that_cannot_be_written_to_is_named(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(launch.os, 'access', lambda path, mode: False)  # root may write anywhere
    with pytest.raises(SystemExit, match='2'):
        launch.train([CUSTOM, '--work-dir', str(tmp_path)])
    assert f'{tmp_path} cannot be written to; name another' in capsys.readouterr().err
