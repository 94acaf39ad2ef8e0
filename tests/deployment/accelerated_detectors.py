"""Detectors to accelerate, and a comparison of their detections."""

import torch

FASTER_RCNN = 'custom/faster-rcnn_detnet59-slim_fpn_custom.py'
RETINANET_CONF = 'custom/retinanet-conf_r50-slim_fpn_custom.py'
DOUBLE_HEAD = 'custom/double-head-ext_r50-slim_fpn_custom.py'
MASK_RCNN = 'detnet/mask-rcnn_detnet59_fpn_1x_coco.py'


def assert_same_detections(actual, expected, tolerance):
    assert len(actual) == len(expected) > 0
    for ours, theirs in zip(actual, expected, strict=True):
        assert len(theirs) > 0
        assert ours.labels.equal(theirs.labels)
        torch.testing.assert_close(ours.scores, theirs.scores, rtol=tolerance, atol=0)
        torch.testing.assert_close(ours.bboxes, theirs.bboxes, rtol=tolerance, atol=tolerance)
