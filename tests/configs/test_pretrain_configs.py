"""The configs for mmpretrain, as far as they need no mmpretrain."""

import sys

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
    assert all(module.training for module in classifier.modules())


def test_images_are_normalized_as_the_detectors_expect_them():
    theirs = load_config('detnet/faster-rcnn_detnet59_fpn_1x_coco.py').model.data_preprocessor
    for name in CONFIGS:
        ours = load_config(name).data_preprocessor
        assert (ours.mean, ours.std, ours.to_rgb) == (theirs.mean, theirs.std, theirs.bgr_to_rgb)


def test_detector_takes_the_checkpoint_by_one_line(tmp_path, classification_models):
    classifier = make_classifier(load_config(CONFIGS[0], **SLIM), classification_models)
    path = tmp_path / 'epoch_100.pth'
    torch.save({'meta': {'epoch': 100}, 'state_dict': classifier.state_dict()}, path)
    config = load_config('demo/faster-rcnn_detnet59-slim_fpn_shapes.py').model.backbone
    config.update(
        base_channels=4, init_cfg=dict(type='Pretrained', checkpoint=str(path), prefix='backbone.')
    )
    backbone = MMDET_MODELS.build(config)
    backbone.init_weights()
    loaded = backbone.state_dict()
    for key, value in classifier['backbone'].state_dict().items():
        assert torch.equal(loaded[key], value), key
