"""Every config in the tree: it parses anywhere, builds, learns and predicts."""

from pathlib import Path

import pytest
import torch
from mmdet.models.roi_heads.roi_extractors.base_roi_extractor import BaseRoIExtractor
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm

from mmdet_detnet import config_path

ROOT = Path(config_path())
CONFIGS = sorted(
    str(path.relative_to(ROOT)) for path in ROOT.rglob('*.py') if '_base_' not in path.parts
)
# The others are classifiers, built by mmpretrain: test_pretrain_configs.py.
DETECTORS = [name for name in CONFIGS if not name.startswith('pretrain/')]
IMAGE_SHAPE = (3, 96, 128)
FEW_ROIS = 16
SAFETY_HOOKS = ['DurableCheckpoint', 'FiniteCheck', 'PlainCheckpoint', 'Seed']


@pytest.fixture
def load_config(tmp_path, monkeypatch):
    """Read configs from a folder that has nothing to do with the project."""
    monkeypatch.chdir(tmp_path)
    return lambda name: Config.fromfile(config_path(name))


def build_small(config):
    """Build the config's detector on the CPU, with few RoIs so that it is quick."""
    sampler = config.model.train_cfg.get('rcnn', {})
    for stage in sampler if isinstance(sampler, list) else [sampler]:
        if stage:
            stage.sampler.num = FEW_ROIS
    for settings in (config.model.train_cfg.get('rpn_proposal'), config.model.test_cfg.get('rpn')):
        if settings:
            settings.max_per_img = FEW_ROIS
    detector = MODELS.build(config.model)
    return revert_sync_batchnorm(detector)


def make_batch(detector, num_boxes):
    """Make one image for each number of boxes."""
    inputs = demo_mm_inputs(
        len(num_boxes),
        [IMAGE_SHAPE] * len(num_boxes),
        num_items=num_boxes,
        num_classes=3,
        with_mask=detector.with_mask,
    )
    return detector.data_preprocessor(inputs, training=True)


def total_loss(detector, num_boxes):
    """Sum the losses of one batch, and name them."""
    losses = detector(**make_batch(detector, num_boxes), mode='loss')
    total, log = detector.parse_losses(losses)
    return total, set(log)


def test_there_are_configs():
    assert len(CONFIGS) >= 12


def test_basenames_are_unique():
    names = [Path(name).name for name in CONFIGS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize('name', CONFIGS)
def test_runtime_settings(name, load_config):
    config = load_config(name)
    hooks = {hook['type'].removeprefix('mmdet.') for hook in config.custom_hooks}
    assert 'NumClassCheckHook' in hooks
    types = {hook['type'] for hook in config.default_hooks.values()}
    assert types >= {f'mmdet_detnet.{name}Hook' for name in SAFETY_HOOKS}
    assert config.auto_scale_lr.base_batch_size > 0
    assert config.default_scope == ('mmdet' if name in DETECTORS else 'mmpretrain')


@pytest.mark.parametrize('name', DETECTORS)
def test_detector_learns_and_predicts(name, load_config):
    detector = build_small(load_config(name))
    detector.train()
    total, mixed_names = total_loss(detector, [2, 0])
    assert torch.isfinite(total)
    total.backward()
    for parameter_name, parameter in detector.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, parameter_name
            assert torch.isfinite(parameter.grad).all(), parameter_name
    for num_boxes in ([0, 0], [1, 3]):
        total, names = total_loss(detector, num_boxes)
        assert torch.isfinite(total)
        assert names == mixed_names
        total.backward()
    detector.eval()
    with torch.no_grad():
        batch = make_batch(detector, [1, 0])
        predictions = detector(**batch, mode='predict')
    assert [len(p.pred_instances.bboxes.shape) for p in predictions] == [2, 2]


@pytest.mark.parametrize('name', [name for name in CONFIGS if name.startswith('detnet/')])
def test_anchors_and_rois_follow_the_levels(name, load_config):
    config = load_config(name)
    detector = build_small(config)
    features = detector.extract_feat(torch.zeros(1, *IMAGE_SHAPE))
    strides = [IMAGE_SHAPE[1] // feature.shape[2] for feature in features]
    head = detector.rpn_head if 'rpn_head' in config.model else detector.bbox_head
    assert [stride[0] for stride in head.prior_generator.strides] == strides
    assert anchor_sizes(head.prior_generator) == [32, 64, 128, 256, 512]
    for extractor in roi_extractors(detector):
        assert list(extractor.featmap_strides) == strides


def anchor_sizes(generator):
    """Take the side of the square whose area each level's smallest anchor has, in pixels."""
    sides = [(base[:, 2:] - base[:, :2]).prod(1).min().sqrt() for base in generator.base_anchors]
    return [round(side.item()) for side in sides]


def roi_extractors(detector):
    return [module for module in detector.modules() if isinstance(module, BaseRoIExtractor)]
