"""The configs for mmpretrain: what needs no mmpretrain, and a training where it is installed."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import MODELS as MMDET_MODELS
from mmengine.config import Config
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import Registry
from torch import nn

from mmdet_detnet import config_path

CONFIGS = [
    'pretrain/detnet59_8xb32_in1k.py',
    'pretrain/detnet59-noproj_8xb32_in1k.py',
    'pretrain/detnet110_8xb32_in1k.py',
]
TRAIN = Path(__file__).resolve().parents[2] / 'tools' / 'train.py'
GPUS = 8
# A sixteenth of the width: the tests are about what is wired to what.
SLIM = {'model.backbone.base_channels': 4, 'model.head.in_channels': 64}


@pytest.fixture
def classification_models(monkeypatch):
    """Stand in for mmpretrain's registry: mmdet's sibling, which knows no module by itself."""
    monkeypatch.setitem(sys.modules, 'mmpretrain', None)
    # Without a location, mmengine would look for mmpretrain's own.
    registry = Registry('model', scope='mmpretrain', locations=['torch'])
    registry.parent = MMENGINE_MODELS
    monkeypatch.setitem(MMENGINE_MODELS.children, 'mmpretrain', registry)
    return registry


def load_config(name, **options):
    config = Config.fromfile(config_path(name))
    config.merge_from_dict(options)
    return config


def make_classifier(config, models):
    """Put the config's backbone before a linear layer, under the names that mmpretrain gives."""
    with models.switch_scope_and_registry('mmpretrain') as registry:
        backbone = registry.build(config.model.backbone)
    head = nn.ModuleDict({'fc': nn.Linear(config.model.head.in_channels, 10)})
    return nn.ModuleDict({'backbone': backbone, 'head': head})


@pytest.mark.parametrize('name', CONFIGS)
def test_backbone_fits_the_head_and_all_of_it_learns(name, classification_models):
    classifier = make_classifier(load_config(name, **SLIM), classification_models)
    (features,) = classifier.train()['backbone'](torch.rand(2, 3, 64, 64))
    assert features.shape == (2, 64, 4, 4)
    classifier['head']['fc'](features.mean((2, 3))).sum().backward()
    assert all(parameter.grad is not None for parameter in classifier.parameters())
    norms = [module for module in classifier.modules() if isinstance(module, nn.BatchNorm2d)]
    assert all(norm.training for norm in norms)


@pytest.mark.parametrize('name', CONFIGS)
def test_full_width_ends_in_the_head(name):
    model = load_config(name).model
    assert model.backbone.get('base_channels', 64) * 16 == model.head.in_channels


@pytest.mark.parametrize('name', CONFIGS)
def test_learning_rate_belongs_to_the_batch(name):
    config = load_config(name)
    assert GPUS * config.train_dataloader.batch_size == config.auto_scale_lr.base_batch_size


@pytest.mark.parametrize('name', CONFIGS)
def test_images_are_normalized_as_the_detectors_expect_them(name):
    ours = load_config(name).data_preprocessor
    detector = load_config('detnet/faster-rcnn_detnet59_fpn_1x_coco.py').model.data_preprocessor
    assert (ours.mean, ours.std, ours.to_rgb) == (
        detector.mean,
        detector.std,
        detector.bgr_to_rgb,
    )


def backbone_of_a_detector(checkpoint):
    """Build a slim detector whose config names the checkpoint, and return its backbone."""
    config = load_config('demo/faster-rcnn_detnet59-slim_fpn_shapes.py')
    config.model.backbone.base_channels = 4
    config.model.neck.in_channels = [16, 32, 64, 64, 64]
    config.model.backbone.init_cfg = dict(
        type='Pretrained', checkpoint=str(checkpoint), prefix='backbone.'
    )
    detector = MMDET_MODELS.build(config.model)
    detector.init_weights()
    return detector.backbone


def test_detector_takes_the_checkpoint_by_one_line(tmp_path, classification_models):
    classifier = make_classifier(load_config(CONFIGS[0], **SLIM), classification_models)
    path = tmp_path / 'epoch_100.pth'
    torch.save({'meta': {'epoch': 100}, 'state_dict': classifier.state_dict()}, path)
    loaded = backbone_of_a_detector(path).state_dict()
    for key, value in classifier['backbone'].state_dict().items():
        assert torch.equal(loaded[key], value), key


@pytest.fixture
def mmpretrain():
    """Skip, with the reason, where mmpretrain cannot be imported."""
    if find_spec('mmpretrain') is None:
        pytest.skip('mmpretrain is not installed')
    command = [sys.executable, '-c', 'import mmpretrain.datasets, mmpretrain.models']
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        pytest.skip(f'mmpretrain cannot be imported: {result.stderr.splitlines()[-1]}')


def write_small_training(folder):
    """Draw two classes of four images each, and write the config of two iterations on them."""
    for name, color in (('dark', 40), ('light', 200)):
        (folder / 'images' / name).mkdir(parents=True)
        for index in range(4):
            image = np.full((80, 96, 3), color + index, dtype=np.uint8)
            cv2.imwrite(str(folder / 'images' / name / f'{index}.png'), image)
    dataset = "dict(_delete_=True, type='CustomDataset', data_root='images', pipeline=_base_.{})"
    loader = 'dict(batch_size=4, num_workers=0, persistent_workers=False, dataset={})'
    lines = [
        f'_base_ = {config_path(CONFIGS[0])!r}',
        'model = dict(',
        '    backbone=dict(base_channels=4),',
        '    head=dict(in_channels=64, num_classes=2, topk=(1,)),',
        ')',
        'data_preprocessor = dict(num_classes=2)',
        f'train_dataloader = {loader.format(dataset.format("train_pipeline"))}',
        f'val_dataloader = {loader.format(dataset.format("test_pipeline"))}',
        'test_dataloader = val_dataloader',
        'val_evaluator = dict(topk=(1,))',
        'test_evaluator = val_evaluator',
        'train_cfg = dict(max_epochs=1)',
        'default_hooks = dict(logger=dict(interval=1))',
    ]
    (folder / 'small.py').write_text('\n'.join(lines))


def test_two_iterations_of_mmpretrain_start_a_detector(tmp_path, mmpretrain):
    write_small_training(tmp_path)
    command = [sys.executable, str(TRAIN), 'small.py', '--work-dir', 'work']
    environment = {**os.environ, 'CUDA_VISIBLE_DEVICES': '-1'}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]
    (log,) = tmp_path.glob('work/2*/vis_data/scalars.json')
    records = [json.loads(line) for line in log.read_text().splitlines()]
    assert [r['step'] for r in records if np.isfinite(r.get('loss', np.nan))] == [1, 2]
    trained = torch.load(tmp_path / 'work' / 'epoch_1.pth', weights_only=True)['state_dict']
    loaded = backbone_of_a_detector(tmp_path / 'work' / 'epoch_1.pth').state_dict()
    assert {f'backbone.{key}' for key in loaded} == set(trained) - {
        'head.fc.weight',
        'head.fc.bias',
    }
    for key, value in loaded.items():
        assert torch.equal(value, trained[f'backbone.{key}']), key
