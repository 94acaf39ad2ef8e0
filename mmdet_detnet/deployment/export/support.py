"""Check what can be exported; everything else is rejected with a message."""

from collections.abc import Iterable

from mmcv.ops import RoIAlign
from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmdet.models.dense_heads import AnchorHead, RetinaHead, RPNHead
from mmdet.models.detectors import (
    CascadeRCNN,
    FasterRCNN,
    RetinaNet,
    SingleStageDetector,
    TwoStageDetector,
)
from mmdet.models.roi_heads import CascadeRoIHead, StandardRoIHead, bbox_heads
from mmdet.models.roi_heads import DoubleHeadRoIHead as PlainDoubleHeadRoIHead
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder
from mmdet.models.task_modules.prior_generators import AnchorGenerator
from mmengine.config import ConfigDict
from torch import nn

from mmdet_detnet import models
from mmdet_detnet.arguments import reject

# These classes, but no subclasses, which may compute something else.
TWO_STAGE_DETECTORS = (FasterRCNN, CascadeRCNN, TwoStageDetector)
DENSE_DETECTORS = (RetinaNet, SingleStageDetector)
DENSE_HEADS = (RetinaHead, models.ConfidenceRetinaHead)
ROI_HEADS = (
    StandardRoIHead,
    CascadeRoIHead,
    PlainDoubleHeadRoIHead,
    models.DoubleHeadRoIHead,
    models.CascadeDoubleHeadRoIHead,
)
BBOX_HEADS = (
    bbox_heads.BBoxHead,
    bbox_heads.ConvFCBBoxHead,
    bbox_heads.Shared2FCBBoxHead,
    bbox_heads.Shared4Conv1FCBBoxHead,
    bbox_heads.DoubleConvFCBBoxHead,
    models.DoubleConvFCBBoxHead,
)
EXTRACTORS = (SingleRoIExtractor, models.PreciseRoIExtractor)
OWNER = 'export_onnx'


def check_exportable(detector: nn.Module) -> None:
    """Reject a detector that cannot be exported completely.

    Args:
        detector: Any detector.

    Raises:
        ValueError: If it cannot be exported; names the part.
    """
    _check_type('model', detector, (*TWO_STAGE_DETECTORS, *DENSE_DETECTORS))
    _check_type('data_preprocessor', detector.data_preprocessor, (DetDataPreprocessor,))
    _check_operators(detector)
    if type(detector) in DENSE_DETECTORS:
        _check_anchor_head('bbox_head', detector.bbox_head, DENSE_HEADS)
        return
    _check_anchor_head('rpn_head', detector.rpn_head, (RPNHead,))
    _check_roi_head(detector.roi_head)


def _check_type(name: str, value: object, allowed: Iterable[type]) -> None:
    if type(value) not in allowed:
        names = ', '.join(dict.fromkeys(each.__name__ for each in allowed))
        reject(OWNER, name, type(value), f'one of {names}')


def _check_operators(detector: nn.Module) -> None:
    """Reject operators without a standard ONNX node, such as deformable convolution."""
    for name, module in detector.named_modules():
        if type(module).__module__.startswith('mmcv.ops') and type(module) is not RoIAlign:
            reject(OWNER, name, type(module), 'without operators of mmcv other than RoIAlign')


def _check_anchor_head(name: str, head: AnchorHead, allowed: Iterable[type]) -> None:
    _check_type(name, head, allowed)
    _check_type(f'{name}.bbox_coder', head.bbox_coder, (DeltaXYWHBBoxCoder,))
    _check_type(f'{name}.prior_generator', head.prior_generator, (AnchorGenerator,))
    _check_selection(f'{name}.test_cfg', head.test_cfg, ('nms_pre', 'max_per_img'))


def _check_roi_head(roi_head: StandardRoIHead) -> None:
    if roi_head.with_mask:
        reject(OWNER, 'roi_head', type(roi_head), 'without a mask head')
    _check_type('roi_head', roi_head, ROI_HEADS)
    _check_selection('roi_head.test_cfg', roi_head.test_cfg, ('max_per_img',))
    for name in ('bbox_head', 'bbox_roi_extractor'):
        stages = getattr(roi_head, name)
        for part in stages if isinstance(stages, nn.ModuleList) else [stages]:
            check = _check_bbox_head if name == 'bbox_head' else _check_extractor
            check(f'roi_head.{name}', part)
    gate = getattr(roi_head, 'gate_score_thr', None)
    if gate is not None:
        reject(OWNER, 'roi_head.gate_score_thr', gate, 'None')


def _check_bbox_head(name: str, head: bbox_heads.BBoxHead) -> None:
    _check_type(name, head, BBOX_HEADS)
    _check_type(f'{name}.bbox_coder', head.bbox_coder, (DeltaXYWHBBoxCoder,))
    if head.custom_cls_channels or head.custom_activation:
        reject(OWNER, f'{name}.loss_cls', type(head.loss_cls), 'a loss whose scores are a softmax')


def _check_extractor(name: str, extractor: SingleRoIExtractor) -> None:
    _check_type(name, extractor, EXTRACTORS)
    for layer in extractor.roi_layers:
        _check_type(f'{name}.roi_layer', layer, (RoIAlign,))
        if layer.pool_mode != 'avg':
            reject(OWNER, f'{name}.roi_layer.pool_mode', layer.pool_mode, "'avg'")


def _check_selection(name: str, cfg: ConfigDict, numbers: Iterable[str]) -> None:
    for number in numbers:
        if cfg.get(number, -1) < 1:
            reject(OWNER, f'{name}.{number}', cfg.get(number), 'a positive number')
    nms = cfg.nms
    if nms.get('type', 'nms') != 'nms' or set(nms) - {'type', 'iou_threshold'}:
        reject(OWNER, f'{name}.nms', dict(nms), "of type 'nms' with an iou_threshold alone")
