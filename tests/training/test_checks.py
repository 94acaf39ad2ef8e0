"""What the checks before training find, one sentence each."""

from types import SimpleNamespace

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.dataset import BaseDataset
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch import nn

from mmdet_detnet.config import load_config
from mmdet_detnet.training import checks

CHANNELS = 8
IMAGE_SIZE = (192, 256)
STRIDES = [4, 8, 16, 32, 64]
DETNET_STRIDES = [4, 8, 16, 16, 16]
CLASSES = 'dataloader.dataset.metainfo.classes'


@pytest.mark.parametrize(
    ('key', 'value', 'words'),
    [
        (f'train_{CLASSES}', 'cat', "unique class names, ('name', ...), got 'cat'"),
        (f'train_{CLASSES}', ('a', 'a'), 'must be unique class names'),
        (f'train_{CLASSES}', (1, 2), 'must be unique class names'),
        (f'val_{CLASSES}', ('WBC', 'RBC'), f'must be those of train_{CLASSES}'),
    ],
)
def test_class_names_that_are_wrong_or_differ_are_named(key, value, words, tmp_path):
    config = load_config('custom/faster-rcnn_detnet59-slim_fpn_custom.py')
    assert checks.find_config_problems(config) == []
    (tmp_path / 'names.txt').write_text('RBC\nWBC\n')  # which mmengine reads
    config.merge_from_dict({f'test_{CLASSES}': str(tmp_path / 'names.txt')})
    assert checks.find_config_problems(config) == []
    config.merge_from_dict({key: value})
    problems = checks.find_config_problems(config)
    assert problems and all(words in problem and problem.startswith(key) for problem in problems)


class Backbone(nn.Module):
    """Average pooling to each stride."""

    def __init__(self, strides):
        super().__init__()
        self.strides = strides

    def forward(self, image):
        image = image[:, :1].repeat(1, CHANNELS, 1, 1)
        return [nn.functional.avg_pool2d(image, each, ceil_mode=True) for each in self.strides]


def make_detector(map_strides=STRIDES, rpn=STRIDES, roi=STRIDES[:4], base_sizes=STRIDES, **heads):
    generator = dict(
        type='AnchorGenerator', scales=[8], ratios=[1.0], strides=rpn, base_sizes=base_sizes
    )
    extractor = dict(
        type='SingleRoIExtractor',
        roi_layer=dict(type='RoIAlign', output_size=7, sampling_ratio=0),
        out_channels=CHANNELS,
        featmap_strides=roi,
    )
    box_head = dict(type='Shared2FCBBoxHead', in_channels=CHANNELS, fc_out_channels=CHANNELS)
    heads = heads or dict(
        rpn_head=dict(type='RPNHead', in_channels=CHANNELS, anchor_generator=generator),
        roi_head=dict(type='StandardRoIHead', bbox_roi_extractor=extractor, bbox_head=box_head),
    )
    detector = nn.Module()
    detector.backbone = Backbone(map_strides)
    for name, head in heads.items():
        detector.add_module(name, MODELS.build(head))
    return detector


@pytest.mark.parametrize(
    ('map_strides', 'rpn', 'roi', 'words'),
    [
        (DETNET_STRIDES, STRIDES, DETNET_STRIDES, 'the strides of rpn_head.prior_generator must'),
        (DETNET_STRIDES, DETNET_STRIDES, STRIDES, 'bbox_roi_extractor.featmap_strides must'),
        (STRIDES, DETNET_STRIDES, STRIDES, 'by the sizes of the feature maps, got [(4, 4), (8, 8)'),
        (STRIDES, STRIDES[:4], STRIDES[:4], 'levels of rpn_head.prior_generator must be 5'),
        (STRIDES[:3], STRIDES[:3], STRIDES[:4], 'levels of roi_head.bbox_roi_extractor.featmap'),
    ],
)
def test_wrong_strides_stop_the_first_batch(map_strides, rpn, roi, words):
    detector = make_detector(map_strides, rpn, roi, STRIDES[: len(rpn)])
    handles = checks.watch_maps(detector)
    with pytest.raises(ValueError) as error:
        detector.backbone(torch.zeros(2, 3, *IMAGE_SIZE))
    assert words in str(error.value)
    for handle in handles:
        handle.remove()
    detector.backbone(torch.zeros(2, 3, *IMAGE_SIZE))


def test_points_have_strides_too():
    head = dict(type='FCOSHead', num_classes=2, in_channels=CHANNELS, feat_channels=32)
    detector = make_detector(bbox_head=head)
    maps = Backbone([4, *STRIDES[:4]])(torch.zeros(1, 3, *IMAGE_SIZE))
    (problem,) = checks.find_map_problems(detector, maps, IMAGE_SIZE)
    assert problem.startswith('the strides of bbox_head.prior_generator must be [4.0, 4.0, 8.0,')


@pytest.mark.parametrize('size', [(192, 256), (193, 255), (33, 65), (1, 1)])
@pytest.mark.parametrize('strides', [STRIDES, DETNET_STRIDES])
def test_any_image_size_fits_right_strides(size, strides):
    detector = make_detector(strides, strides, strides[:4])
    assert (
        checks.find_map_problems(detector, detector.backbone(torch.zeros(1, 3, *size)), size) == []
    )


@pytest.mark.parametrize(
    ('base_sizes', 'words'),
    [
        (STRIDES, []),
        (None, ['levels 2 and 3 are equal, 16 pixels: set base_sizes.']),
        ([4, 8, 16, 32, 32], ['levels 3 and 4 are equal, 32 pixels']),
    ],
)
def test_equal_anchors_are_named(base_sizes, words):
    problems = checks.find_model_problems(make_detector(rpn=DETNET_STRIDES, base_sizes=base_sizes))
    assert len(problems) == len(words)
    assert all(map(str.__contains__, problems, words))


@pytest.mark.parametrize('decodes', [False, True])
@pytest.mark.parametrize(
    ('kind', 'has_option'),
    [
        ('RetinaHead', True),
        ('mmdet_detnet.ConfidenceRetinaHead', True),
        ('Shared2FCBBoxHead', True),
        ('mmdet_detnet.DoubleConvFCBBoxHead', True),
        ('ATSSHead', False),
        ('FCOSHead', False),
    ],
)
def test_iou_loss_needs_decoded_boxes(kind, has_option, decodes):
    head = dict(type=kind, num_classes=2, in_channels=32, loss_bbox=dict(type='GIoULoss'))
    if has_option:
        head.update(reg_decoded_bbox=decodes)
    if kind == 'mmdet_detnet.DoubleConvFCBBoxHead':
        head.update(num_convs=1, num_fcs=1)
    if kind == 'ATSSHead':
        anchors = dict(type='AnchorGenerator', ratios=[1.0], scales=[8], strides=[8, 16])
        head.update(anchor_generator=dict(anchors, center_offset=0.0))
    problems = checks.find_model_problems(make_detector(head=head))
    message = 'head.reg_decoded_bbox must be True with GIoULoss, got False.'
    assert problems == ([message] if has_option and not decodes else [])


def make_norm(is_frozen=False, is_evaluated=False, **values):
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    model[1].requires_grad_(not is_frozen)
    for name, value in values.items():
        nn.init.constant_(getattr(model[1], name), value)
    if is_evaluated:
        model[1].train = lambda mode=True: model[1].eval() if mode else model[1]
        model[1].training = False
    return model


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (dict(is_evaluated=True), ['initial statistics 0 and 1 in some layers (1: 1)']),
        (dict(is_frozen=True, weight=0), ['initial scale 0 in some layers (1: 1)']),
        (dict(is_evaluated=True, running_mean=0.1), []),
        (dict(is_evaluated=True, weight=0.7), []),  # Caffe's
        (dict(is_frozen=True), []),
        (dict(weight=0), []),
    ],
)
def test_norm_frozen_at_its_initial_values_is_named(options, words):
    problems = checks.find_frozen_norm_problems(make_norm(**options))
    assert len(problems) == len(words)
    assert all(map(str.__contains__, problems, words))


@pytest.mark.parametrize('is_frozen', [False, True])
def test_added_parts_may_start_without_statistics_where_they_learn(is_frozen):
    model = nn.Module()
    model.backbone = nn.Module()
    model.backbone.guidance = make_norm(is_frozen, is_evaluated=True)
    model.backbone.added_parts = ['guidance']
    assert len(checks.find_frozen_norm_problems(model)) == is_frozen


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'0.bias': None}, ['A lacks weights of the config: 0.bias.']),
        ({'extra': torch.zeros(1)}, ['A has weights that the config lacks: extra.']),
        (
            {'0.weight': torch.zeros(5, 3, 1, 1)},
            ['A has other shapes than the config: 0.weight (5, 3, 1, 1) instead of (4, 3, 1, 1).'],
        ),
        (
            dict.fromkeys(make_norm().state_dict()),
            ['A lacks weights of the config: 0.bias, 0.weight, 1.bias and 3 more.'],
        ),
        ({'1.num_batches_tracked': None}, []),
    ],
)
def test_weights_of_another_model_are_named(changes, words):
    model = make_norm()
    assert checks.find_weight_problems(model, {**model.state_dict(), **changes}, 'A') == words


class Ones(BaseDataset):
    def load_data_list(self):
        return [{} for _ in range(4)]


@pytest.mark.parametrize(
    ('loader', 'loop', 'words'),
    [
        (dict(), EpochBasedTrainLoop, []),
        (
            dict(batch_size=5, drop_last=True),
            EpochBasedTrainLoop,
            ['train_dataloader has no batch: 4 images are fewer than batch_size 5, and drop_last'],
        ),
        (
            dict(sampler=dict(type='InfiniteSampler')),
            EpochBasedTrainLoop,
            ['with the sampler InfiniteSampler must be IterBasedTrainLoop with max_iters'],
        ),
        (dict(sampler=dict(type='InfiniteSampler')), IterBasedTrainLoop, []),
    ],
)
def test_epoch_without_a_batch_or_an_end_is_named(loader, loop, words):
    options = dict(batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler'), dataset=Ones())
    loader = Runner.build_dataloader({**options, **loader})
    problems = checks.find_run_problems(
        SimpleNamespace(train_loop=loop.__new__(loop), train_dataloader=loader)
    )
    assert len(problems) == len(words)
    assert all(map(str.__contains__, problems, words))
