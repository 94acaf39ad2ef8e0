"""What the check takes from a config: classes, image scale, filter and anchors."""

import numpy as np
import pytest
from mmengine.config import Config, ConfigDict
from small_dataset import make_annotation, names

from mmdet_detnet import config_path
from mmdet_detnet.data.training_config import Anchors, read_anchors, read_training_config

RETINANET = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'
CUSTOM = config_path('custom/faster-rcnn_detnet59-slim_fpn_custom.py')
CLASSES = "train_dataloader = dict(dataset=dict(metainfo=dict(classes=('cat', 'dog'))))"


@pytest.fixture
def write_config(tmp_path):
    """Write a config that derives from another."""

    def write(base, *lines):
        file = tmp_path / 'derived.py'
        file.write_text('\n'.join([f'_base_ = {str(base)!r}', *lines]))
        return file

    return write


def test_sizes_are_those_of_the_resized_image(content, check, write_config):
    content['annotations'] = content['annotations'][:2]
    report = check(content, config=write_config(CUSTOM, CLASSES))
    assert names(report) == ['image-without-boxes']
    # 100 x 80 pixels become 300 x 240.
    assert report.sizes.tolist() == [120, 120]
    assert (report.anchors.smallest, report.anchors.largest) == (16, 256)


def test_classes_without_metainfo_are_those_of_the_dataset(write_config):
    config = read_training_config(write_config(RETINANET))
    assert len(config.classes) == 80
    assert config.filter_cfg == {'filter_empty_gt': True, 'min_size': 32}
    # 640 x 480 pixels, the shorter side to 800.
    assert config.rescale(640, 480) == pytest.approx((1067 / 640, 800 / 480))
    wrapped = write_config('mmdet::pascal_voc/retinanet_r50_fpn_1x_voc0712.py')
    assert len(read_training_config(wrapped).classes) == 20


def test_image_left_out_by_the_filter_is_a_warning(content, check, write_config):
    line = CLASSES.replace('metainfo', 'filter_cfg=dict(filter_empty_gt=True), metainfo')
    content['annotations'] = content['annotations'][:2]
    report = check(content, config=write_config(CUSTOM, line))
    assert (names(report), report.num_used_images) == (['image-left-out'], 1)


@pytest.mark.parametrize(
    ('line', 'complaint'),
    [
        ("train_dataloader = dict(dataset=dict(metainfo=dict(classes=('cat'))))", "they are 'cat'"),
        ('train_dataloader = None', 'has no train_dataloader'),
    ],
)
def test_unusable_config_is_named(content, check, write_config, line, complaint):
    with pytest.raises(ValueError, match=complaint):
        check(content, config=write_config(CUSTOM, line))


def test_boxes_outside_of_the_anchors_are_a_warning(content, check):
    content['annotations'] = [
        make_annotation(number, 1 + number % 2, 1 + number // 3, [20, 20, 10, 10])
        for number in (1, 2, 3, 4)
    ]
    (warning,) = check(content).all_problems
    assert (warning.name, warning.examples[0]) == ('anchor-sizes', '1 (10 pixels)')
    assert 'rpn_head.anchor_generator.scales' in warning.message


@pytest.mark.parametrize(
    ('base', 'smallest', 'largest', 'size', 'values'),
    [
        # The scales 0.5 to 2 hold boxes of 10 pixels, and 2 is the nearest to the present 8.
        ('mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', 32, 512, 10, (2,)),
        (RETINANET, 32, 512 * 2 ** (2 / 3), 2000, (12,)),
    ],
)
def test_anchors_are_moved_to_the_boxes(write_config, base, smallest, largest, size, values):
    anchors = read_anchors(Config.fromfile(write_config(base)).model)
    assert (anchors.smallest, anchors.largest) == pytest.approx((smallest, largest), abs=0.01)
    moved = anchors.moved(np.full(10, size), enough=0.9)
    assert moved.share(np.full(10, size)) == 1
    assert moved.values == values


def test_anchors_stay_if_they_cover_enough_or_no_others_cover_more():
    anchors = Anchors(smallest=16, largest=512, head='rpn_head', option='scales', values=(4, 8))
    assert anchors.moved(np.full(10, 5), 0.9).values == (1, 2)
    for sizes in ([16, 512, 5], [0.5]):
        assert anchors.moved(np.array(sizes), 0.6) is anchors


def test_detector_without_anchors_is_not_compared(content, check, write_config):
    fcos = 'mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py'
    report = check(content, config=write_config(fcos, CLASSES))
    assert (names(report), report.anchors) == ([], None)
    assert 'The detector has no anchors.' in str(report)
    head = dict(anchor_generator=dict(type='MlvlPointGenerator', offset=0, strides=[8, 16, 32]))
    assert read_anchors(ConfigDict(bbox_head=head)) is None
