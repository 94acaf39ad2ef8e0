"""What the check takes from a config: classes, image scale, filter and anchors."""

import numpy as np
import pytest
from mmengine.config import Config, ConfigDict
from small_dataset import make_annotation, names

from mmdet_detnet import config_path
from mmdet_detnet.data.training_config import (
    STANDARD_ANCHORS,
    Anchors,
    read_anchors,
    read_training_config,
    share_inside,
    suggest_anchors,
)

RETINANET = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'


@pytest.fixture
def write_config(tmp_path):
    """Write a config that derives from another."""

    def write(base, *lines):
        file = tmp_path / 'derived.py'
        file.write_text('\n'.join([f'_base_ = {str(base)!r}', *lines]))
        return file

    return write


@pytest.fixture
def custom_config(write_config):
    """Our config for own data, with the classes of the small dataset."""
    base = config_path('custom/faster-rcnn_detnet59-slim_fpn_custom.py')
    line = "train_dataloader = dict(dataset=dict(metainfo=dict(classes=('cat', 'dog'))))"
    return write_config(base, line)


def test_sizes_are_those_of_the_resized_image(content, check, custom_config):
    content['annotations'] = content['annotations'][:2]
    status, report = check(content, '--config', custom_config)
    assert (status, names(report)) == (0, ['image-without-boxes'])
    # 100 x 80 pixels become 300 x 240, so that boxes of 40 x 40 become 120 x 120.
    assert report['size_percentiles'] == {'5': 120, '50': 120, '95': 120}
    assert (report['anchors']['smallest'], report['anchors']['largest']) == (16, 256)


def test_classes_of_the_config_count(content, check, custom_config):
    content['categories'][0]['name'] = 'cow'
    report = check(content, '--config', custom_config)[1]
    assert names(report) == ['class-not-in-file', 'category-not-in-classes']


def test_classes_without_metainfo_are_those_of_the_data_set(write_config):
    config = read_training_config(write_config(RETINANET))
    assert len(config.classes) == 80
    assert config.filter_cfg == {'filter_empty_gt': True, 'min_size': 32}
    # 640 x 480 pixels, the shorter side to 800.
    assert config.rescale(640, 480) == pytest.approx((1067 / 640, 800 / 480))


def test_wrapped_data_sets_are_unwrapped(write_config):
    config = read_training_config(write_config('mmdet::pascal_voc/retinanet_r50_fpn_1x_voc0712.py'))
    assert len(config.classes) == 20


def test_image_left_out_by_the_filter_is_a_warning(content, check, write_config):
    file = write_config(
        config_path('custom/faster-rcnn_detnet59-slim_fpn_custom.py'),
        'train_dataloader = dict(dataset=dict(',
        "    metainfo=dict(classes=('cat', 'dog')), filter_cfg=dict(filter_empty_gt=True)))",
    )
    content['annotations'] = content['annotations'][:2]
    status, report = check(content, '--config', file)
    assert (status, names(report), report['used_images']) == (0, ['image-left-out'], 1)


@pytest.mark.parametrize(
    ('line', 'complaint'),
    [
        ("train_dataloader = dict(dataset=dict(metainfo=dict(classes=('cat'))))", "they are 'cat'"),
        ('train_dataloader = None', 'has no train_dataloader'),
    ],
)
def test_unusable_config_gives_one_sentence(content, check, write_config, capsys, line, complaint):
    base = config_path('custom/faster-rcnn_detnet59-slim_fpn_custom.py')
    assert check(content, '--config', write_config(base, line))[0] == 1
    assert complaint in capsys.readouterr().err


def test_small_boxes_get_a_suggestion(content, check):
    content['annotations'] = [
        make_annotation(number, 1 + number % 2, 1 + number // 3, [20, 20, 10, 10])
        for number in (1, 2, 3, 4)
    ]
    status, report = check(content)
    assert (status, names(report)) == (0, ['anchor-sizes'])
    # The scales 0.5 to 2 hold boxes of 10 pixels, and 2 is the nearest to the present 8.
    assert report['anchors']['suggestion'] == (
        'Anchors from 8 to 128 pixels would cover 100% of the boxes: '
        'model = dict(rpn_head=dict(anchor_generator=dict(scales=[2]))).'
    )


@pytest.mark.parametrize('size', [32, 100, 512])
def test_boxes_between_the_anchors_need_no_suggestion(size):
    assert suggest_anchors(np.array([size, size, 5]), STANDARD_ANCHORS) == ''


@pytest.mark.parametrize(
    ('base', 'smallest', 'largest', 'size'),
    [
        ('mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', 32, 512, 3),
        (RETINANET, 32, 512 * 2 ** (2 / 3), 2000),
        (config_path('ipgnet/faster-rcnn_ipgnet50-small-objects_fpn_1x_custom.py'), 16, 256, 5),
    ],
)
def test_suggested_line_makes_anchors_for_the_boxes(write_config, base, smallest, largest, size):
    anchors = read_anchors(Config.fromfile(write_config(base)).model)
    assert (anchors.smallest, anchors.largest) == pytest.approx((smallest, largest), abs=0.01)
    sizes = np.full(10, size)
    _, line = suggest_anchors(sizes, anchors).removesuffix('.').split(': ')
    better = read_anchors(Config.fromfile(write_config(base, line)).model)
    assert share_inside(sizes, better) == 1


def test_several_scales_change_together():
    anchors = Anchors(smallest=16, largest=512, head='rpn_head', option='scales', values=(4, 8))
    assert 'scales=[1, 2]' in suggest_anchors(np.full(10, 5), anchors)


def test_image_scale_is_blamed_if_no_anchors_fit():
    assert 'change the image scale' in suggest_anchors(np.full(10, 0.5), STANDARD_ANCHORS)


def test_detector_without_anchors_is_not_compared(content, check, write_config):
    fcos = 'mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py'
    line = "train_dataloader = dict(dataset=dict(metainfo=dict(classes=('cat', 'dog'))))"
    status, report = check(content, '--config', write_config(fcos, line), with_picture=True)
    assert (status, report['anchors']) == (0, None)


def test_points_are_no_anchors():
    head = dict(anchor_generator=dict(type='MlvlPointGenerator', offset=0, strides=[8, 16, 32]))
    assert read_anchors(ConfigDict(bbox_head=head)) is None
