"""The converter of MMDetection's Double-Head checkpoints, and the detector that takes them."""

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.hub import get_config

from mmdet_detnet import config_path
from mmdet_detnet.weights import convert_weights

HEAD = 'roi_head.bbox_head'


def build(config):
    """Build a detector whose tensors have shapes but no memory."""
    with torch.device('meta'):
        return MODELS.build(config.model)


@pytest.fixture(scope='module')
def published():
    """Make a checkpoint like the published one: weights, optimiser and notes of the training."""
    detector = build(get_config('mmdet::double_heads/dh-faster-rcnn_r50_fpn_1x_coco.py'))
    return {
        'meta': {'mmdet_version': '2.0.0', 'CLASSES': ('person',)},
        'state_dict': dict(detector.state_dict()),
        'optimizer': {'state': {}, 'param_groups': []},
    }


def changed(published, change):
    """Change a copy of the checkpoint's state dict."""
    state = dict(published['state_dict'])
    change(state)
    return {**published, 'state_dict': state}


def test_our_detector_takes_every_tensor(published):
    weights = convert_weights(published).weights
    config = Config.fromfile(config_path('double_head/double-head_r50_fpn_1x_coco.py'))
    own = build(config).state_dict()
    assert {key: value.shape for key, value in weights.items()} == {
        key: value.shape for key, value in own.items()
    }


def test_only_tensors_are_left(published):
    conversion = convert_weights(published)
    assert all(isinstance(value, torch.Tensor) for value in conversion.weights.values())
    assert conversion.report.dropped == ['meta', 'optimizer']


def test_classes_and_blocks_are_read_from_the_file(published):
    def shrink(state):
        for tensor in ('weight', 'bias'):
            state[f'{HEAD}.fc_cls.{tensor}'] = state[f'{HEAD}.fc_cls.{tensor}'][:4]
            state[f'{HEAD}.fc_reg.{tensor}'] = state[f'{HEAD}.fc_reg.{tensor}'][:12]
        for key in [key for key in state if f'{HEAD}.conv_branch.3.' in key]:
            del state[key]

    weights = convert_weights(changed(published, shrink)).weights
    assert weights[f'{HEAD}.fc_reg.weight'].shape == (12, 1024)
    assert f'{HEAD}.conv_branch.2.conv1.weight' in weights


def lose_a_tensor(state):
    del state[f'{HEAD}.res_block.conv2.bn.running_var']


def lose_the_predictor(state):
    del state[f'{HEAD}.fc_cls.weight']


def add_a_mask_head(state):
    state['roi_head.mask_head.conv_logits.weight'] = torch.zeros(1)


def disagree_on_classes(state):
    state[f'{HEAD}.fc_reg.bias'] = torch.zeros(12)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lose_a_tensor, 'missing: roi_head.bbox_head.res_block.conv2.bn.running_var'),
        (lose_the_predictor, 'no tensor roi_head.bbox_head.fc_cls.weight'),
        (add_a_mask_head, 'unknown: roi_head.mask_head.conv_logits.weight'),
        (disagree_on_classes, r'fc_reg.bias \(12,\) instead of \(320,\)'),
    ],
)
def test_other_detectors_are_refused(published, change, message):
    with pytest.raises(ValueError, match=message):
        convert_weights(changed(published, change))
