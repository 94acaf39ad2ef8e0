"""What is exported, run in PyTorch, next to the detector as MMDetection runs it."""

import pytest
import torch
from exportable_detectors import MODEL_CFGS, build, detect, make_config, make_images

from mmdet_detnet.deployment import accelerate
from mmdet_detnet.deployment.onnx_export import make_graph
from mmdet_detnet.deployment.onnx_graph import NO_SCORE, suppress, take_best


@torch.no_grad()
def check_equal(detector, images):
    """Compare all detections; how many each image has."""
    boxes, scores, labels, numbers = make_graph(detector, takes_pixels=True)(images)
    expected = detect(detector, images)
    assert numbers.tolist() == [len(each) for each in expected]
    for index, (number, theirs) in enumerate(zip(numbers, expected, strict=True)):
        torch.testing.assert_close(boxes[index, :number], theirs.bboxes, rtol=0, atol=1e-3)
        torch.testing.assert_close(scores[index, :number], theirs.scores, rtol=0, atol=1e-5)
        assert labels[index, :number].equal(theirs.labels)
        assert not boxes[index, number:].any() and not scores[index, number:].any()
        assert (labels[index, number:] == -1).all()
    return numbers.tolist()


@pytest.mark.parametrize('family', MODEL_CFGS)
def test_detections_of_each_family(family):
    counts = check_equal(build(make_config(family)), make_images(2, 75, 130))
    assert min(counts) > 3


@pytest.mark.parametrize('family', ['Faster R-CNN', 'RetinaNet'])
def test_options_of_the_test_config(family):
    cfg = make_config(family)
    cfg.model.data_preprocessor.update(bgr_to_rgb=False, pad_size_divisor=1, pad_value=7)
    cfg.model.test_cfg.get('rpn', cfg.model.test_cfg).min_bbox_size = 20
    cfg.model.test_cfg.get('rcnn', cfg.model.test_cfg).update(max_per_img=2, score_thr=0.2)
    assert check_equal(build(cfg), make_images(2, 75, 130)) == [2, 2]


@pytest.mark.parametrize('family', ['Double-Head', 'RetinaNet'])
def test_no_detections(family):
    cfg = make_config(family)
    cfg.model.test_cfg.get('rcnn', cfg.model.test_cfg).score_thr = 0.9999
    assert check_equal(build(cfg), make_images(2, 64, 64)) == [0, 0]


def test_an_accelerated_detector_is_exported_as_it_was():
    detector = accelerate(build(make_config('Double-Head')), dtype='bf16')
    forward = detector.backbone.forward
    graph = make_graph(detector, takes_pixels=True)
    assert 'forward' not in vars(graph.detector.backbone)
    assert detector.backbone.forward is forward


def test_nms_is_within_groups():
    boxes = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 8], [50, 50, 60, 60]]])
    scores = torch.tensor([[0.5, 0.6, 0.7, 0.8]])
    kept = suppress(boxes, scores, torch.tensor([0, 0, 1, 1]), 0.5)
    assert kept.tolist() == [[NO_SCORE, pytest.approx(0.6), pytest.approx(0.7), pytest.approx(0.8)]]


def test_more_boxes_are_asked_for_than_there_are():
    scores, indices = take_best(torch.tensor([[0.25, 0.5]]), 3)
    assert scores.tolist() == [[0.5, 0.25, NO_SCORE]]
    assert indices[0, :2].tolist() == [1, 0] and 0 <= indices[0, 2] < 2
