"""Targets of this package's modules: bounds on ratios that tools/benchmark.py measures."""

from dataclasses import dataclass

DETNET, CONFIDENCE = 'faster-rcnn_detnet59_fpn_1x_coco', 'retinanet-conf_r50_fpn_1x_coco'
IPGNET, DOUBLE_HEAD = 'faster-rcnn_ipgnet50_fpn_8xb4-1x_coco', 'double-head_r50_fpn_1x_coco'
GROUP_NORM = 'double-head_r50_fpn_gn-head_1x_coco'
R50, R101 = 'faster-rcnn_r50_fpn_1x_coco', 'faster-rcnn_r101_fpn_1x_coco'
RETINANET, MMDET_DOUBLE_HEAD = 'retinanet_r50_fpn_1x_coco', 'dh-faster-rcnn_r50_fpn_1x_coco'


@dataclass(frozen=True)
class Target:
    """A bound on the ratio of two rows of a comparison.

    Attributes:
        comparison: Name of the comparison.
        config: File name of our config, without ``.py``.
        against: File name of the other config, likewise.
        quantity: One of the benchmark's ``QUANTITIES``, or 'flop_rate', operations per second.
        bound: Bound on the median ratio.
        at_least: Whether it is a lower bound.
    """

    comparison: str
    config: str
    against: str
    quantity: str
    bound: float
    at_least: bool = False


TARGETS = (
    Target('backbone', DETNET, R50, 'flop_rate', 0.9, at_least=True),
    Target('detnet', DETNET, R101, 'predict_seconds', 0.9),
    Target('retinanet-conf', CONFIDENCE, RETINANET, 'predict_seconds', 1.03),
    Target('retinanet-conf', CONFIDENCE, RETINANET, 'train_seconds', 1.02),
    Target('retinanet-conf', CONFIDENCE, RETINANET, 'predict_mib', 1.03),
    Target('retinanet-conf', CONFIDENCE, RETINANET, 'train_mib', 1.03),
    Target('ipgnet', IPGNET, R50, 'predict_seconds', 1.15),
    Target('ipgnet', IPGNET, R50, 'train_seconds', 1.15),
    # Four times as fast.
    Target('double-head-roi-100', DOUBLE_HEAD, MMDET_DOUBLE_HEAD, 'predict_seconds', 0.25),
    Target('double-head-roi-1000', DOUBLE_HEAD, MMDET_DOUBLE_HEAD, 'predict_seconds', 1.0),
    Target('double-head', DOUBLE_HEAD, R50, 'predict_seconds', 1.15),
    Target('double-head-positives', GROUP_NORM, R50, 'train_seconds', 1.45),
)
# Speed of an accelerated detector relative to a plain one: on a CPU by precision, on a GPU for any
# half precision.
CPU_SPEED_UP = {'fp32': 1.8, 'bf16': 3.0}
GPU_SPEED_UP = 2.0
TRAINING_SPEED_UP = 1.15
