"""Every config in the tree: it parses anywhere, builds, learns and predicts."""

import ast
import functools
from pathlib import Path

import pytest
import torch
from helpers import few_blocks, make_narrow
from mmdet.models.roi_heads.roi_extractors.base_roi_extractor import BaseRoIExtractor
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config, ConfigDict
from mmengine.model import revert_sync_batchnorm

from mmdet_detnet import config_path
from mmdet_detnet.training.checks import find_config_problems, find_model_problems, watch_maps

pytestmark = pytest.mark.xdist_group('configs')

ROOT = Path(config_path())
CONFIGS = sorted(
    str(path.relative_to(ROOT)) for path in ROOT.rglob('*.py') if '_base_' not in path.parts
)
# The others are classifiers, built by mmpretrain: test_pretrain_configs.py.
DETECTORS = [name for name in CONFIGS if not name.startswith('pretrain/')]
IMAGE_SHAPE = (3, 96, 128)
# Divisible by every stride, up to 128.
LARGE = 256
FEW_ROIS = 16
SAFETY_HOOKS = ['DurableCheckpoint', 'FiniteCheck', 'PlainCheckpoint', 'Seed']


def narrowed(config):
    """Take the model of a config, narrow and with few RoIs so that it is quick."""
    model = config.model
    model.backbone.update(base_channels=model.backbone.get('base_channels', 64), init_cfg=None)
    make_narrow(model)
    rcnn = model.train_cfg.get('rcnn')
    for stage in rcnn if isinstance(rcnn, list) else [rcnn]:
        if stage:
            stage.sampler.num = FEW_ROIS
    for proposals in (model.train_cfg.get('rpn_proposal'), model.test_cfg.get('rpn')):
        if proposals:
            proposals.update(nms_pre=FEW_ROIS, max_per_img=FEW_ROIS)
    return model


def make_batch(detector, num_boxes):
    """Make one image for each number of boxes."""
    shapes = [IMAGE_SHAPE] * len(num_boxes)
    options = dict(num_items=num_boxes, num_classes=3, with_mask=detector.with_mask)
    inputs = demo_mm_inputs(len(shapes), shapes, **options)
    return detector.data_preprocessor(inputs, training=True)


def total_loss(detector, num_boxes):
    """Sum the losses of one batch, and name them."""
    total, log = detector.parse_losses(detector(**make_batch(detector, num_boxes), mode='loss'))
    return total, set(log)


def test_bases_are_not_updated_in_place():
    assert [path for path in ROOT.rglob('*.py') if '.update(' in path.read_text()] == []


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
    assert find_config_problems(config) == []
    assert config.default_hooks.config_check == dict(type='mmdet_detnet.ConfigCheckHook')
    assert config.default_scope == ('mmdet' if name in DETECTORS else 'mmpretrain')


def test_safety_hooks_stay_where_a_config_lists_hooks_of_its_own(tmp_path):
    base = config_path('custom/retinanet-conf_r50-slim_fpn_custom.py')
    file = tmp_path / 'own_hooks.py'
    file.write_text(
        f"_base_ = {base!r}\ncustom_hooks = [dict(type='EMAHook')]\n"
        'default_hooks = dict(checkpoint=dict(interval=5), logger=dict(interval=7))\n'
    )
    hooks = Config.fromfile(file).default_hooks
    types = {hook['type'] for hook in hooks.values()}
    assert types >= {f'mmdet_detnet.{name}Hook' for name in SAFETY_HOOKS}
    assert hooks.checkpoint.interval == 5


@pytest.fixture(scope='module')
def describe_model(load_config):
    """Write the narrow model of a config as text: configs of one model are tested once."""
    return lambda name: repr(narrowed(load_config(name)).to_dict())


def build(model):
    """Build the detector of a text, with one block a stage."""
    with few_blocks():
        return revert_sync_batchnorm(MODELS.build(ConfigDict(ast.literal_eval(model))))


@pytest.mark.parametrize('name', DETECTORS)
def test_detector_learns_and_predicts(name, describe_model):
    assert_learns_and_predicts(describe_model(name))


@functools.cache
def assert_learns_and_predicts(model):
    """Train on images with and without boxes, and predict."""
    detector = build(model).train()
    assert find_model_problems(detector) == []
    watch_maps(detector)
    total, names = total_loss(detector, [2, 0])
    assert torch.isfinite(total)
    total.backward()
    for parameter_name, parameter in detector.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, parameter_name
            assert torch.isfinite(parameter.grad).all(), parameter_name
    total, names_without_boxes = total_loss(detector, [0, 0])
    assert torch.isfinite(total)
    assert names_without_boxes == names
    total.backward()
    detector.eval()
    with torch.no_grad():
        batch = make_batch(detector, [1, 0])
        predictions = detector(**batch, mode='predict')
    assert [len(p.pred_instances.bboxes.shape) for p in predictions] == [2, 2]
    assert_levels(detector)


def assert_levels(detector):
    """Compare the strides of anchors and RoIs with the sizes of feature maps."""
    with torch.no_grad():
        features = detector.extract_feat(torch.zeros(1, 3, LARGE, LARGE))
    strides = [LARGE // feature.shape[2] for feature in features]
    head = getattr(detector, 'rpn_head', None) or detector.bbox_head
    assert [stride[0] for stride in head.prior_generator.strides] == strides
    for module in detector.modules():
        if isinstance(module, BaseRoIExtractor):
            assert list(module.featmap_strides) == strides[: module.num_inputs]
