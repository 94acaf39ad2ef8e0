"""Wrong arguments of our modules: a ValueError that names argument, value and what is allowed."""

import pytest
from helpers import TINY_DOUBLE_HEAD
from mmdet.registry import MODELS

NAN = float('nan')
DETNET = dict(type='mmdet_detnet.DetNet', depth=59)
IPGNET = dict(type='mmdet_detnet.IPGNet', depth=50)
CONF = dict(type='mmdet_detnet.ConfidenceRetinaHead', num_classes=3, in_channels=16)
ATSS_CONF = {**CONF, 'type': 'mmdet_detnet.ConfidenceATSSHead'}
BOX_HEAD = TINY_DOUBLE_HEAD
MMDET_HEAD = dict(BOX_HEAD, type='mmdet.DoubleConvFCBBoxHead')
EXTRACTOR = dict(
    type='SingleRoIExtractor',
    roi_layer=dict(type='RoIAlign', output_size=7),
    out_channels=8,
    featmap_strides=[4, 8],
)
ROI_HEAD = dict(
    type='mmdet_detnet.DoubleHeadRoIHead',
    reg_roi_scale_factor=1.3,
    bbox_roi_extractor=EXTRACTOR,
    bbox_head=BOX_HEAD,
)
CASCADE = dict(
    type='mmdet_detnet.CascadeDoubleHeadRoIHead',
    num_stages=2,
    stage_loss_weights=[1, 0.5],
    reg_roi_scale_factor=1.3,
    bbox_roi_extractor=EXTRACTOR,
    bbox_head=[BOX_HEAD, BOX_HEAD],
)
SIGMOID = dict(type='CrossEntropyLoss', use_sigmoid=True)
DCN = dict(type='DCN', deform_groups=1)
BOOL = 'must be True or False'


def plugins(num_stages):
    return [dict(cfg=dict(type='ContextBlock'), stages=(True,) * num_stages)]


WRONG = [
    (DETNET, dict(depth=50), 'DetNet: depth must be one of'),
    (DETNET, dict(style='tensorflow'), 'style must be one of'),
    (DETNET, dict(projection='stage6'), 'projection must be one of'),
    (DETNET, dict(frozen_stages=6), 'frozen_stages must be one of'),
    (DETNET, dict(frozen_stages=True), 'frozen_stages must be one of'),
    *((DETNET, dict(base_channels=n), 'must be a positive integer') for n in (0, 8.0, True, '8')),
    (DETNET, dict(out_indices=(4, 3)), 'out_indices must be increasing'),
    (DETNET, dict(out_indices=()), 'out_indices must be at least one'),
    (DETNET, dict(out_indices=(0, 1, 2, 3)), 'out_indices must be up to 4'),
    (DETNET, dict(norm_eval='False'), f'norm_eval {BOOL}'),
    (DETNET, dict(zero_init_residual='False'), f'zero_init_residual {BOOL}'),
    (DETNET, dict(dcn=DCN), 'stage_with_dcn must be True for at least one stage with dcn'),
    (DETNET, dict(stage_with_dcn=(True,) * 5), 'dcn must be given with stage_with_dcn'),
    (DETNET, dict(dcn=DCN, stage_with_dcn=(True,) * 4), 'stage_with_dcn must be 5 flags'),
    (DETNET, dict(plugins=plugins(4)), "plugins' stages must be 5 flags"),
    (DETNET, dict(init_cfg=dict(type='Pretrained')), 'must have a checkpoint'),
    (IPGNET, dict(depth=18), 'depth must be one of'),
    (IPGNET, dict(num_stages=8), 'num_stages must be one of'),
    (IPGNET, dict(out_indices=(0, 4)), 'out_indices must be increasing'),
    *(
        (IPGNET, dict(fused_stages=stages), 'must be increasing and among [1, 2, 3, 4]')
        for stages in ((1, 5), (3, 2), (2, 2), 2, '23')
    ),
    (IPGNET, dict(fusion='addition'), 'fusion must be one of'),
    (IPGNET, dict(fusion_kernel=5), 'fusion_kernel must be one of'),
    (IPGNET, dict(fusion_relu=True), "fusion_relu must be False with fusion='add'"),
    (IPGNET, dict(fusion='sum', fusion_relu='False'), f'fusion_relu {BOOL}'),
    (IPGNET, dict(interpolation='area'), 'interpolation must be one of'),
    (IPGNET, dict(fusion='sum', zero_init_guidance=True), 'zero_init_guidance must be False'),
    (IPGNET, dict(guidance_stem_channels=0), 'guidance_stem_channels must be a positive'),
    (IPGNET, dict(share_stem=True, guidance_stem_channels=8), 'must be None with share_stem'),
    (IPGNET, dict(keep_stride=True), 'keep_stride must be False with num_stages=4'),
    (IPGNET, dict(num_stages=5), 'out_indices must be up to 4'),
    (IPGNET, dict(stage_with_dcn=(True,) * 5), 'stage_with_dcn must be 4 flags'),
    (CONF, dict(conf_exponent=1), 'conf_exponent must be a number in [0, 1)'),
    (CONF, dict(conf_exponent=NAN), 'conf_exponent must be a number in [0, 1)'),
    (CONF, dict(select_by='class'), 'select_by must be one of'),
    (CONF, dict(feature_source='both'), 'feature_source must be one of'),
    (CONF, dict(detach_iou_target='False'), f'detach_iou_target {BOOL}'),
    (ATSS_CONF, dict(multiply_centerness='True'), f'multiply_centerness {BOOL}'),
    (CONF, dict(in_channels=-16), 'in_channels must be a positive integer'),
    (CONF, dict(loss_conf=dict(type='CrossEntropyLoss')), 'a loss with use_sigmoid=True'),
    (CONF, dict(loss_cls=dict(type='CrossEntropyLoss')), 'a loss with use_sigmoid=True'),
    (BOX_HEAD, dict(num_convs=0), 'DoubleConvFCBBoxHead: num_convs must be a positive integer'),
    (BOX_HEAD, dict(num_nonlocal=2), 'num_nonlocal must be in 0 to num_convs = 1'),
    (BOX_HEAD, dict(num_nonlocal=1, conv_out_channels=12), 'in_channels must be a multiple of 8'),
    (BOX_HEAD, dict(lambda_fc=0), 'lambda_fc must be above 0 and at most 1'),
    (BOX_HEAD, dict(lambda_conv=1.1), 'lambda_conv must be above 0 and at most 1'),
    (BOX_HEAD, dict(fusion='conv'), "fusion must be 'none' or 'fc' unless the conv-head"),
    (BOX_HEAD, dict(fusion='fc'), "fusion must be another than 'fc' unless the fc-head regresses"),
    (BOX_HEAD, dict(lambda_conv=0.8, fusion='sum'), 'fusion must be one of'),
    (
        BOX_HEAD,
        dict(lambda_conv=0.8, fusion='complementary', loss_cls=SIGMOID),
        "fusion must be 'none' with a loss_cls that has use_sigmoid=True",
    ),
    (
        BOX_HEAD,
        dict(lambda_conv=0.8, fusion='max', loss_cls=dict(type='SeesawLoss', num_classes=3)),
        "fusion must be 'none' with SeesawLoss",
    ),
    (BOX_HEAD, dict(with_avg_pool=False), 'with_avg_pool must be True'),
    (BOX_HEAD, dict(with_cls=False), 'with_cls must be True'),
    (BOX_HEAD, dict(with_reg=False), 'with_reg must be True'),
    (ROI_HEAD, dict(reg_roi_scale_factor=0), 'reg_roi_scale_factor must be a positive number'),
    (ROI_HEAD, dict(regress_survivors_only='False'), f'regress_survivors_only {BOOL}'),
    (ROI_HEAD, dict(regress_positives_only='False'), 'regress_positives_only must be one of'),
    (
        ROI_HEAD,
        dict(regress_positives_only=True, bbox_head=dict(BOX_HEAD, lambda_conv=0.8)),
        "regress_positives_only must be False or 'auto' if the conv-head classifies",
    ),
    (
        ROI_HEAD,
        dict(regress_positives_only=True, bbox_head=dict(BOX_HEAD, norm_cfg=dict(type='SyncBN'))),
        "regress_positives_only must be False or 'auto' with SyncBN",
    ),
    (ROI_HEAD, dict(gate_score_thr=1.5), 'gate_score_thr must be in 0 to 1, or None'),
    (ROI_HEAD, dict(bbox_head=MMDET_HEAD), 'bbox_head must be a mmdet_detnet.DoubleConvFCBBoxHead'),
    (CASCADE, dict(bbox_head=[BOX_HEAD]), 'the length of bbox_head must be num_stages = 2, got 1'),
    (CASCADE, dict(bbox_head=[MMDET_HEAD] * 2), 'bbox_head must be a mmdet_detnet'),
    (CASCADE, dict(stage_loss_weights=[1]), 'the length of stage_loss_weights must be num_stages'),
]


@pytest.mark.parametrize(('module', 'options', 'words'), WRONG)
def test_wrong_argument_is_named(module, options, words):
    with pytest.raises(ValueError) as error:
        MODELS.build({**module, **options})
    assert words in str(error.value)
    assert ', got ' in str(error.value)
