"""Parameters and multiply-adds against counts that others have published, or worked by hand."""

import pytest
from helpers import count_macs, count_parameters

from mmdet_detnet.benchmark.parts import BACKBONE, DENSE_HEAD, ROI_HEAD, count_gmacs
from mmdet_detnet.benchmark.timed_networks import build_without_weights, load_with_options

FASTER_RCNN = 'mmdet::faster_rcnn/faster-rcnn_r50-caffe_fpn_1x_coco.py'
RETINANET = 'mmdet::retinanet/retinanet_r50-caffe_fpn_1x_coco.py'
# Weights and biases of a ResNet-50's; detectron2 counts them as constants.
BATCH_NORM = 53_120


@pytest.mark.parametrize(
    ('config', 'parameters', 'of_backbone_and_neck', 'gmacs'),
    [(RETINANET, 37_915_572, 31_452_352, 146), (FASTER_RCNN, 41_699_936, 26_799_296, 117)],
)
def test_detectron2s_control_values(config, parameters, of_backbone_and_neck, gmacs):
    # detectron2, tests/test_model_analysis.py: convolutions at 800x800, stride in the 1x1
    # convolutions, cut to an integer.
    detector = build_without_weights(load_with_options(config))
    assert count_parameters(detector) == parameters + BATCH_NORM
    features = count_parameters(detector.backbone) + count_parameters(detector.neck)
    assert features == of_backbone_and_neck + BATCH_NORM
    counted = count_gmacs(detector, 800, 800)
    assert int(counted[BACKBONE] + counted[DENSE_HEAD]) == gmacs
    alone = count_gmacs(detector, 800, 800, kind='backbone')['backbone']
    assert alone == pytest.approx(count_macs(detector.backbone, 800, 800) / 1e9)


def test_box_head_is_counted_for_1000_proposals():
    detector = build_without_weights(load_with_options(FASTER_RCNN))
    # 256x7x7 to 1024, to 1024, to 81 classes and 4 numbers for each of 80.
    a_proposal = 256 * 7 * 7 * 1024 + 1024 * 1024 + 1024 * (81 + 320)
    counted = count_gmacs(detector, 800, 800, kind='roi_head')[ROI_HEAD]
    assert counted == pytest.approx(1000 * a_proposal / 1e9)
