"""A training killed in the middle of an epoch goes on as if nothing had happened."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmdet_detnet import config_path
from mmdet_detnet.analysis.dataset.shapes import generate_shapes

TRAIN = Path(__file__).resolve().parents[2] / 'tools' / 'train.py'
IMAGES, BATCH, EPOCHS = 8, 2, 3
ITERATIONS = IMAGES // BATCH
TIMEOUT = 240  # seconds


@pytest.fixture(scope='module')
def config_file(tmp_path_factory):
    """Write the config of a tiny detector whose training has nothing random but its data order.

    RetinaNet samples no RoIs, the images are not flipped, and momentum makes the weights
    depend on the optimizer's state.
    """
    folder = tmp_path_factory.mktemp('resume')
    data = str(generate_shapes(folder / 'shapes', num_train=IMAGES, num_val=2)) + '/'
    config = Config.fromfile(config_path('detnet/retinanet_detnet59_fpn_1x_coco.py'))
    shapes = Config.fromfile(config_path('demo/faster-rcnn_detnet59-slim_fpn_shapes.py'))
    config.merge_from_dict(
        {
            'model.backbone.base_channels': 4,
            'model.backbone.init_cfg': None,
            'model.backbone.frozen_stages': -1,
            'model.backbone.norm_cfg.requires_grad': True,
            'model.backbone.norm_eval': False,
            'model.neck.in_channels': [16, 32, 64, 64, 64],
            'model.neck.out_channels': 8,
            'model.bbox_head.in_channels': 8,
            'model.bbox_head.feat_channels': 8,
            'model.bbox_head.stacked_convs': 1,
            'model.bbox_head.num_classes': 3,
            'train_cfg.max_epochs': EPOCHS,
            'train_cfg.val_interval': EPOCHS + 1,
            'param_scheduler': [dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=12)],
            'default_hooks.logger.interval': 1,
            'randomness': dict(seed=0),
        }
    )
    config.train_dataloader = shapes.train_dataloader
    config.train_dataloader.update(batch_size=BATCH, num_workers=0, persistent_workers=False)
    config.train_dataloader.dataset.update(data_root=data)
    pipeline = config.train_dataloader.dataset.pipeline
    config.train_dataloader.dataset.pipeline = [t for t in pipeline if t['type'] != 'RandomFlip']
    config.val_dataloader = config.val_evaluator = config.val_cfg = None
    config.test_dataloader = config.test_evaluator = config.test_cfg = None
    config.dump(folder / 'tiny.py')
    return folder / 'tiny.py'


def start(config_file, work_dir, *options):
    command = [sys.executable, str(TRAIN), str(config_file), '--work-dir', str(work_dir), *options]
    environment = {**os.environ, 'CUDA_VISIBLE_DEVICES': '-1', 'OMP_WAIT_POLICY': 'passive'}
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment, text=True
    )


def finish(process):
    _, errors = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, errors[-2000:]


def read_steps(work_dir):
    """Read (epoch, step, learning rate) of every logged iteration of the newest run."""
    newest = max(work_dir.glob('2*'))
    lines = (newest / 'vis_data' / 'scalars.json').read_text().splitlines()
    return [(r['epoch'], r['step'], r['lr']) for r in map(json.loads, lines) if 'loss' in r]


def kill_in_second_epoch(process, work_dir):
    """Send SIGKILL as soon as the log has an iteration of epoch 2."""
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        logs = list(work_dir.glob('2*/vis_data/scalars.json'))
        if logs and f'"step": {ITERATIONS + 1}' in logs[0].read_text():
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.01)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def test_killed_training_resumes_where_the_last_epoch_ended(config_file, tmp_path):
    straight, interrupted = tmp_path / 'straight', tmp_path / 'interrupted'
    finish(start(config_file, straight))
    kill_in_second_epoch(start(config_file, interrupted), interrupted)
    assert (interrupted / 'epoch_1.pth').exists()
    time.sleep(1)  # mmengine names its runs by the second
    finish(start(config_file, interrupted, '--resume'))

    resumed = read_steps(interrupted)
    expected = [step for step in read_steps(straight) if step[0] >= 2]
    assert [step[:2] for step in resumed] == [step[:2] for step in expected]
    assert [step[2] for step in resumed] == pytest.approx([step[2] for step in expected])
    last = f'epoch_{EPOCHS}.pth'
    compare_checkpoints(straight / last, interrupted / last)


def compare_checkpoints(expected_file, actual_file):
    """Weights and momentum agree up to the rounding of another order of summation."""
    expected = torch.load(expected_file, weights_only=True)
    actual = torch.load(actual_file, weights_only=True)
    assert actual['meta']['epoch'] == expected['meta']['epoch'] == EPOCHS
    assert actual['meta']['iter'] == expected['meta']['iter'] == EPOCHS * ITERATIONS
    for key, value in expected['state_dict'].items():
        torch.testing.assert_close(actual['state_dict'][key], value, rtol=1e-3, atol=1e-4)
    momenta = expected['optimizer']['state']
    assert momenta
    for key, state in momenta.items():
        torch.testing.assert_close(
            actual['optimizer']['state'][key]['momentum_buffer'],
            state['momentum_buffer'],
            rtol=1e-2,
            atol=1e-3,
        )
