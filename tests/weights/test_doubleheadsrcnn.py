"""The converter of the Double-Head authors' models: names by hand, and their head restated."""

import pytest
import torch
from changed_states import change
from mmdet.registry import MODELS
from mmengine.config import Config
from published_double_head import EXTRACTOR, NUM_CLASSES, PREDICTOR, PublishedHead, make_published

from mmdet_detnet import config_path
from mmdet_detnet.models import DoubleConvFCBBoxHead
from mmdet_detnet.weights import convert_weights

AUTHORS = 'double_head/double-head-ext-nonlocal_r50-caffe_fpn_authors-1x_coco.py'


@pytest.fixture(scope='module')
def authors():
    return PublishedHead().eval()


@pytest.fixture(scope='module')
def published(authors):
    return make_published(authors)


def test_converted_head_predicts_the_same(authors, published):
    weights = convert_weights({'model': published, 'iteration': 180000}).weights
    prefix = 'roi_head.bbox_head.'
    head = DoubleConvFCBBoxHead(
        num_convs=2,
        num_fcs=2,
        num_nonlocal=2,
        lambda_fc=0.7,
        lambda_conv=0.8,
        in_channels=256,
        roi_feat_size=7,
        num_classes=NUM_CLASSES,
    )
    head.load_state_dict(
        {key.removeprefix(prefix): weights[key] for key in weights if key.startswith(prefix)}
    )
    x_fc, x_conv = torch.rand(2, 2, 256, 7, 7)
    with torch.no_grad():
        actual = head.eval()(x_fc, x_conv)
        theirs = authors(x_fc, x_conv)
    fc_cls, conv_boxes, conv_cls, fc_boxes = theirs
    expected = (
        *(torch.cat([fc_cls[:, 1:], fc_cls[:, :1]], dim=1), conv_boxes[:, 4:]),
        *(torch.cat([conv_cls[:, 1:], conv_cls[:, :1]], dim=1), fc_boxes[:, 4:]),
    )
    for ours, reference in zip(actual, expected, strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-4, atol=1e-4)


# Their names and ours of some tensors of the trunk.
TRUNK = {
    'backbone.body.stem.conv1.weight': 'backbone.conv1.weight',
    'backbone.body.stem.bn1.running_var': 'backbone.bn1.running_var',
    'backbone.body.layer2.0.downsample.1.bias': 'backbone.layer2.0.downsample.1.bias',
    'backbone.body.layer3.5.conv2.weight': 'backbone.layer3.5.conv2.weight',
    'backbone.fpn.fpn_inner2.weight': 'neck.lateral_convs.1.conv.weight',
    'backbone.fpn.fpn_layer4.bias': 'neck.fpn_convs.3.conv.bias',
    'rpn.head.conv.weight': 'rpn_head.rpn_conv.weight',
    'rpn.head.cls_logits.bias': 'rpn_head.rpn_cls.bias',
    'rpn.head.bbox_pred.weight': 'rpn_head.rpn_reg.weight',
}


def test_converted_trunk_fits_the_config(published):
    weights = convert_weights({'model': published}).weights
    for theirs, ours in TRUNK.items():
        assert weights[ours] is published[f'module.{theirs}'], ours
    config = Config.fromfile(config_path(AUTHORS))
    config.model.backbone.init_cfg = None
    config.model.roi_head = None
    expected = MODELS.build(config.model).state_dict()
    # The norms are fixed and count no batches.
    assert {key for key in weights if not key.startswith('roi_head.')} == {
        key for key in expected if not key.endswith('num_batches_tracked')
    }


def test_unused_are_the_anchors_and_the_state_of_the_training(published):
    conversion = convert_weights({'model': published, 'optimizer': {}})
    anchors = [f'module.rpn.anchor_generator.cell_anchors.{level}' for level in range(5)]
    assert conversion.report.dropped == [*anchors, 'optimizer']


def test_class_agnostic_boxes_keep_the_rows_of_the_object(published):
    state = dict(published)
    for layer in ('bbox_pred', 'bbox_pred_fc'):
        for tensor in ('weight', 'bias'):
            state[f'{PREDICTOR}.{layer}.{tensor}'] = state[f'{PREDICTOR}.{layer}.{tensor}'][:8]
    bias = convert_weights(state).weights['roi_head.bbox_head.fc_reg.bias']
    torch.testing.assert_close(bias, state[f'{PREDICTOR}.bbox_pred.bias'][4:8])
    assert bias.untyped_storage().size() == 4 * bias.element_size()


MASK = 'module.roi_heads.mask'
STACKS = f'{EXTRACTOR}.shared_nonlocal', f'{EXTRACTOR}.reg_nonlocal'


@pytest.mark.parametrize(
    ('name', 'shape', 'message'),
    [
        (f'{STACKS[0]}.1.theta.bias', None, 'missing: .*shared_nonlocal.1.theta.bias'),
        (f'{STACKS[1]}.0.g.weight', (512, 1024, 1, 1), 'unknown: .*reg_nonlocal.0.g.weight'),
        (f'{EXTRACTOR}.fc7.weight', (5, 8), r'fc7.weight \(5, 8\) instead of \(1024, 1024\)'),
        (f'{MASK}.feature_extractor.mask_fcn1.weight', (1,), '2 heads with a feature_extractor'),
        ('.layer3.5.', None, 'module.backbone.body.layer3 has 5 blocks; that of ResNet-50 has 6'),
        ('fpn.fpn_inner2.bias', None, 'missing: module.backbone.fpn.fpn_inner2.bias'),
    ],
)
def test_other_models_are_refused(published, name, shape, message):
    with pytest.raises(ValueError, match=message):
        convert_weights(change(published, name, shape))
