"""Wrong configs and their verdicts: one sentence with the place, the value and what is allowed."""

import pytest

from mmdet_detnet.training.checks import find_config_faults, find_random_frozen_stages

NAN, INF = float('nan'), float('inf')
RPN = 'model.rpn_head'
ANCHORS = f'{RPN}.anchor_generator'
BOX_HEAD = 'model.roi_head.bbox_head'
RCNN = 'model.train_cfg.rcnn'
FINITE = 'must be a finite number'
NUMBER = 'must be a number without quotation marks'
POSITIVE = 'must be above 0'
SHARE = 'must be in 0 to 1'

WRONG_VALUES = [
    ('model.backbone.norm_eval', 'False', 'must be False without quotation marks'),
    ('model.backbone.with_cp', 'true', 'must be True without quotation marks'),
    ('model.backbone.dcn', 'None', 'must be None without quotation marks'),
    ('model.backbone.norm_cfg.requires_grad', 'False', 'must be False without'),
    (f'{BOX_HEAD}.reg_class_agnostic', 'False', 'must be False without quotation marks'),
    (f'{BOX_HEAD}.reg_decoded_bbox', 'true', 'must be True without quotation marks'),
    (f'{BOX_HEAD}.loss_cls.use_sigmoid', 'False', 'must be False without quotation marks'),
    ('train_dataloader.persistent_workers', 'False', 'must be False without quotation marks'),
    ('auto_scale_lr.enable', 'True', 'must be True without quotation marks'),
    ('model.backbone.depth', '59', NUMBER),
    ('model.backbone.frozen_stages', '1', NUMBER),
    ('model.neck.out_channels', '64', NUMBER),
    (f'{ANCHORS}.scales', ['8'], NUMBER),
    (f'{ANCHORS}.strides', ['4', 8, 16, 16, 16], NUMBER),
    (f'{RCNN}.assigner.pos_iou_thr', '0.5', NUMBER),
    ('optim_wrapper.optimizer.lr', '1e-4', NUMBER),
    ('optim_wrapper.optimizer.weight_decay', '0.05', NUMBER),
    ('train_cfg.max_epochs', '12', NUMBER),
    ('train_dataloader.batch_size', '2', NUMBER),
    ('optim_wrapper.optimizer.lr', 'high', 'must be a number'),
    (f'{BOX_HEAD}.num_classes', 'three', 'must be a number'),
    ('optim_wrapper.optimizer.lr', NAN, FINITE),
    ('optim_wrapper.optimizer.lr', INF, FINITE),
    ('optim_wrapper.optimizer.weight_decay', NAN, FINITE),
    (f'{BOX_HEAD}.loss_cls.loss_weight', NAN, FINITE),
    (f'{BOX_HEAD}.loss_bbox.loss_weight', -INF, FINITE),
    (f'{RPN}.bbox_coder.target_stds', [NAN, 1.0, 1.0, 1.0], FINITE),
    (f'{ANCHORS}.ratios', [0.5, INF], FINITE),
    ('model.data_preprocessor.mean', [NAN, 0.0, 0.0], FINITE),
    ('model.test_cfg.rcnn.score_thr', NAN, FINITE),
    ('optim_wrapper.optimizer.lr', -1e-4, POSITIVE),
    ('optim_wrapper.optimizer.lr', 0, POSITIVE),
    ('optim_wrapper.clip_grad', dict(max_norm=-1), POSITIVE),
    ('optim_wrapper.clip_grad', dict(max_norm=0), POSITIVE),
    ('train_dataloader.batch_size', 0, POSITIVE),
    ('train_dataloader.batch_size', -2, POSITIVE),
    ('train_cfg.max_epochs', 0, POSITIVE),
    ('train_cfg.val_interval', 0, POSITIVE),
    (f'{BOX_HEAD}.num_classes', 0, POSITIVE),
    (f'{BOX_HEAD}.num_classes', -1, POSITIVE),
    (f'{BOX_HEAD}.roi_feat_size', 0, POSITIVE),
    ('model.backbone.base_channels', 0, POSITIVE),
    ('model.neck.out_channels', -64, POSITIVE),
    ('model.neck.num_outs', 0, POSITIVE),
    (f'{ANCHORS}.strides', [4, 8, 0, 16, 16], POSITIVE),
    (f'{ANCHORS}.strides', [4, 8, -16, 16, 16], POSITIVE),
    (f'{ANCHORS}.base_sizes', [4, 8, 16, 0, 64], POSITIVE),
    (f'{ANCHORS}.ratios', [0.5, -1.0], POSITIVE),
    (f'{ANCHORS}.ratios', [0], POSITIVE),
    (f'{ANCHORS}.scales', [-8], POSITIVE),
    (f'{RPN}.bbox_coder.target_stds', [0.0, 1.0, 1.0, 1.0], POSITIVE),
    ('model.data_preprocessor.std', [0, 57, 57], POSITIVE),
    ('model.data_preprocessor.pad_size_divisor', 0, POSITIVE),
    ('model.roi_head.bbox_roi_extractor.featmap_strides', [4, 8, 16, -16, 16], POSITIVE),
    ('model.roi_head.bbox_roi_extractor.finest_scale', 0, POSITIVE),
    ('model.test_cfg.rpn.nms.iou_threshold', 0, POSITIVE),
    ('auto_scale_lr.base_batch_size', 0, POSITIVE),
    ('optim_wrapper.optimizer.weight_decay', -0.1, 'must be at least 0'),
    ('train_dataloader.num_workers', -1, 'must be at least 0'),
    (f'{BOX_HEAD}.loss_cls.loss_weight', -1.0, 'must be at least 0'),
    (f'{BOX_HEAD}.loss_bbox.loss_weight', -0.5, 'must be at least 0'),
    (f'{RCNN}.assigner.pos_iou_thr', 1.5, SHARE),
    (f'{RCNN}.assigner.pos_iou_thr', 50, SHARE),
    (f'{RCNN}.assigner.neg_iou_thr', -0.5, SHARE),
    (f'{RCNN}.assigner.min_pos_iou', 2, SHARE),
    (f'{RCNN}.sampler.pos_fraction', 1.25, SHARE),
    ('model.test_cfg.rcnn.score_thr', 5, SHARE),
    ('model.test_cfg.rcnn.score_thr', -0.05, SHARE),
    (f'{RCNN}.assigner.neg_iou_thr', 0.7, 'must be at most pos_iou_thr = 0.5'),
    (f'{ANCHORS}.scales', [], 'must be at least one number'),
    (f'{ANCHORS}.ratios', [], 'must be at least one number'),
    (f'{ANCHORS}.strides', [], 'must be at least one number'),
]

WRONG_PARTS = [
    ('template', 'model.neck.num_outs', 4, 'must be at least 5, the number of maps'),
    ('template', 'model.neck.start_level', 5, 'must be in 0 to 4'),
    ('template', 'model.neck.start_level', -1, 'must be in 0 to 4'),
    ('template', 'model.neck.end_level', 7, 'must be -1 or in 0 to 4'),
    ('template', 'model.neck.end_level', 2, 'must be 3 with start_level 0 and end_level 2'),
    ('template', 'model.neck.in_channels', 64, 'must be a list'),
    ('template', 'model.backbone.out_indices', [1, 2, 3, 4], 'must be 4, as many as'),
    ('cascade', 'model.roi_head.stage_loss_weights', [1, 0.5], 'must be num_stages = 3, got 2'),
    ('cascade', 'model.roi_head.stage_loss_weights', [1] * 4, 'must be num_stages = 3, got 4'),
    ('cascade', 'model.roi_head.num_stages', 2, 'bbox_head must be num_stages = 2, got 3'),
    ('cascade', 'model.roi_head.num_stages', 4, 'rcnn must be num_stages = 4, got 3'),
    ('template', 'model.backbone.dcn', dict(type='DCN'), 'stage_with_dcn must be True for'),
    ('template', 'model.backbone.stage_with_dcn', [True] * 5, 'dcn must be given with'),
    ('template', 'model.backbone.init_cfg', dict(type='Pretrained'), 'a path or URL of weights'),
    ('template', 'model.backbone.init_cfg', dict(type='Pretrained', checkpoint=None), 'a path or'),
    ('template', 'model.backbone.init_cfg', dict(type='Pretrained', checkpoint=''), 'a path or'),
    ('template', 'model.init_cfg', [dict(type='Pretrained')], 'a path or URL of weights'),
    ('template', 'train_dataloader.dataset.metainfo.classes', 'cat', "('name', ...), got 'cat'"),
    ('template', 'train_dataloader.dataset.metainfo.classes', (), 'must be unique class names'),
    ('template', 'train_dataloader.dataset.metainfo.classes', ('a', 'a'), 'unique class names'),
    ('template', 'train_dataloader.dataset.metainfo.classes', (1, 2), 'must be unique class names'),
    ('template', 'val_dataloader.dataset.metainfo.classes', ('WBC', 'RBC'), 'must be those of'),
    ('template', 'test_dataloader.dataset.metainfo.classes', ('RBC',), 'must be those of train'),
]


@pytest.mark.parametrize(('key', 'value', 'words'), WRONG_VALUES)
def test_wrong_value_is_named(make_config, key, value, words):
    check_verdict(make_config('template', key, value), key, words)


@pytest.mark.parametrize(('base', 'key', 'value', 'words'), WRONG_PARTS)
def test_part_that_does_not_fit_is_named(make_config, base, key, value, words):
    check_verdict(make_config(base, key, value), key.rpartition('.')[0], words)


def check_verdict(config, place, words):
    faults = find_config_faults(config)
    assert faults
    assert any(words in fault for fault in faults), faults
    for fault in faults:
        assert ', got ' in fault
        assert '\n' not in fault
    assert any(place.rpartition('.')[0] in fault for fault in faults)


@pytest.mark.parametrize('base', ['template', 'cascade', 'coco'])
def test_sound_config_has_no_fault(make_config, base):
    assert find_config_faults(make_config(base)) == []


@pytest.mark.parametrize(
    ('key', 'value'),
    [
        (f'{BOX_HEAD}.loss_cls.reduction', 'none'),
        ('train_dataloader.dataset.data_prefix.img', '2017'),
        ('train_dataloader.dataset.metainfo.classes', ('1', '2')),
        ('model.test_cfg.rpn.nms_pre', -1),
        (f'{RCNN}.pos_weight', -1),
        (f'{RCNN}.assigner.ignore_iof_thr', -1),
        ('model.neck.num_outs', 6),
        ('val_dataloader', None),
    ],
)
def test_unusual_value_is_let_pass(make_config, key, value):
    config = make_config('template')
    config.merge_from_dict({key: value})
    if key.startswith('train_dataloader.dataset.metainfo'):
        config.val_dataloader = config.test_dataloader = None
    assert find_config_faults(config) == []


@pytest.mark.parametrize('key', ['load_from', 'resume', 'model.backbone.init_cfg'])
def test_frozen_stages_need_weights(make_config, key):
    config = make_config('template', 'model.backbone.frozen_stages', 1)
    (fault,) = find_random_frozen_stages(config)
    assert fault.startswith('model.backbone.frozen_stages must be -1 unless init_cfg or load_from')
    weights = dict(type='Pretrained', checkpoint='a.pth')
    config.merge_from_dict({key: weights if 'init' in key else 'a.pth'})
    assert find_random_frozen_stages(config) == []
