"""What cannot be exported is refused by name, before any work."""

import pytest
from exportable_detectors import CHANNELS, build, make_config
from mmdet.models import DetTTAModel
from mmdet.registry import MODELS

from mmdet_detnet.deployment import export_onnx

MASK_HEAD = dict(
    mask_roi_extractor=dict(
        type='SingleRoIExtractor',
        roi_layer=dict(type='RoIAlign', output_size=14, sampling_ratio=0),
        out_channels=CHANNELS,
        featmap_strides=[8, 16],
    ),
    mask_head=dict(type='FCNMaskHead', num_convs=1, in_channels=CHANNELS, num_classes=3),
)
DEFORMABLE = dict(dcn=dict(type='DCNv2'), stage_with_dcn=(False, True, True))
SEESAW = dict(loss_cls=dict(type='SeesawLoss', num_classes=3))
FASTER, EXT, RETINA = 'Faster R-CNN', 'Double-Head-Ext', 'RetinaNet'
pytestmark = pytest.mark.usefixtures('can_export')


@pytest.mark.parametrize(
    ('family', 'changes', 'words'),
    [
        (FASTER, {'model.roi_head': MASK_HEAD}, 'without a mask head'),
        (FASTER, {'model.backbone': dict(depth=50, **DEFORMABLE)}, 'ModulatedDeformConv2dPack'),
        (FASTER, {'model.roi_head.bbox_head': SEESAW}, 'SeesawLoss'),
        (FASTER, {'model.test_cfg.rcnn.nms.type': 'soft_nms'}, 'soft_nms'),
        (FASTER, {'model.test_cfg.rpn.nms_pre': -1}, r'rpn_head\.test_cfg\.nms_pre'),
        (FASTER, {'model.roi_head.bbox_roi_extractor.roi_layer.pool_mode': 'max'}, 'pool_mode'),
        (FASTER, {'model.rpn_head.bbox_coder': dict(type='TBLRBBoxCoder')}, 'TBLRBBoxCoder'),
        (EXT, {'model.roi_head.gate_score_thr': 0.1}, 'gate_score_thr must be None'),
        (RETINA, {'model.bbox_head.type': 'FreeAnchorRetinaHead'}, 'FreeAnchorRetinaHead'),
        (RETINA, {'model.type': 'FCOS'}, 'FCOS'),
        (RETINA, {'test_dataloader.dataset.pipeline.1.type': 'RandomFlip'}, 'RandomFlip'),
        (RETINA, {'test_dataloader.dataset.pipeline.1.scale_factor': 2}, 'the Resize'),
        (RETINA, {'test_dataloader.dataset.pipeline': None}, r"the test images' pipeline .*\[\]"),
    ],
)
def test_refused(family, changes, words, tmp_path):
    cfg = make_config(family)
    cfg.merge_from_dict(changes)
    if 'model.backbone' in changes:
        cfg.model.neck.in_channels = [64, 128]
    detector = MODELS.build(cfg.model)
    detector.cfg, detector.dataset_meta = cfg, dict(classes=('a', 'b', 'c'))
    with pytest.raises(ValueError, match=rf'export_onnx: .*{words}'):
        export_onnx(detector, tmp_path / 'detector.onnx')
    assert not list(tmp_path.iterdir())


def test_augmentation_at_test_time_is_refused(tmp_path):
    with pytest.raises(ValueError, match='export_onnx: model must be .* got .*DetTTAModel'):
        export_onnx(DetTTAModel(module=build(make_config(RETINA))), tmp_path / 'detector.onnx')


def test_value_with_which_the_file_would_not_be_read_is_refused(tmp_path):
    cfg = make_config(RETINA)
    cfg.test_dataloader.dataset.pipeline[1].scale = (20000, 9)
    with pytest.raises(ValueError, match='image_scale must be two integers from 1 to 16384'):
        export_onnx(build(cfg), tmp_path / 'detector.onnx')


def test_subclass_of_a_head_is_refused(tmp_path):
    detector = build(make_config(FASTER))
    head = detector.roi_head.bbox_head
    head.__class__ = type('OtherHead', (type(head),), {})
    with pytest.raises(ValueError, match=r'roi_head\.bbox_head must be .*OtherHead'):
        export_onnx(detector, tmp_path / 'detector.onnx')
