"""Write a detector as an ONNX file, or say which part of it cannot be exported."""

import copy
import logging
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from mmcv.ops import RoIAlign
from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmdet.models.dense_heads import AnchorHead, RetinaHead, RPNHead
from mmdet.models.detectors import (
    BaseDetector,
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

from .acceleration import accelerate
from .onnx_graph import DenseGraph, DetectorGraph, TwoStageGraph
from .onnx_metadata import KEY, describe

OUTPUTS = ('boxes', 'scores', 'labels', 'num_detections')
AXES = {0: 'batch', 2: 'height', 3: 'width'}
OPSET = 18
# The first whose torch.export knows `prefer_deferred_runtime_asserts_over_guards`.
OLDEST_TORCH = '2.9'
# All maps of these images have several pixels, because torch would make a size of 1 a constant. The
# file also accepts smaller batches and images.
EXAMPLE_SHAPE = (2, 3, 512, 640)

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


def export_onnx(
    model: BaseDetector,
    file: str | Path,
    takes_pixels: bool = True,
    best_score_thr: Mapping[str, Any] | None = None,
) -> None:
    """Write a detector, from image to boxes, as an ONNX file.

    The file has one input, ``images``: ``(B, 3, H, W)``, of any B, H and W. Its outputs are
    ``boxes`` ``(B, max_per_img, 4)``, corners in pixels of the input; ``scores`` and ``labels``,
    ``(B, max_per_img)``, the best first; and ``num_detections`` ``(B,)``. Entries beyond this
    number are zeros, with label -1. All nodes are standard.

    Args:
        model: A detector with its ``cfg`` and ``dataset_meta``, as ``init_detector`` returns it. It
            is not changed, accelerated or not.
        file: The file to write.
        takes_pixels: Whether the input is uint8 RGB, which the graph normalizes, or float32,
            normalized as in the config. The graph pads both.
        best_score_thr: Scores from which detections count, ``meta['score_thr']`` of a checkpoint.
            They are noted in the file for the program that shows detections; the outputs include
            detections with lower scores.

    Raises:
        ImportError: If the packages for writing ONNX files are missing, or torch is too old.
        ValueError: If the detector has a part that cannot be exported.
    """
    if torch.__version__ < OLDEST_TORCH:
        raise ImportError(f'export_onnx needs torch {OLDEST_TORCH}, got {torch.__version__}.')
    check_exportable(model)
    metadata = describe(model.cfg, model.dataset_meta['classes'], takes_pixels, best_score_thr)
    try:
        from .onnx_translations import TRANSLATIONS
    except ImportError as error:
        raise ImportError(
            f"export_onnx needs {error.name}: pip install 'mmdet_detnet[onnx]'."
        ) from error
    program = torch.export.export(
        make_graph(model, takes_pixels),
        (torch.zeros(EXAMPLE_SHAPE, dtype=torch.uint8 if takes_pixels else torch.float32),),
        dynamic_shapes=[
            {axis: torch.export.Dim(name, min=EXAMPLE_SHAPE[axis]) for axis, name in AXES.items()}
        ],
        # torch cannot prove that the maps of IPG-Net's guidance have the stages' sizes.
        prefer_deferred_runtime_asserts_over_guards=True,
    )
    # The exporter's own messages are about torchvision's operators, and deprecations.
    logger = logging.getLogger('torch.onnx')
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            onnx_program = torch.onnx.export(
                program,
                dynamo=True,
                custom_translation_table=TRANSLATIONS,
                opset_version=OPSET,
                input_names=['images'],
                output_names=OUTPUTS,
                dynamic_shapes=[AXES],  # names in the file
                verbose=False,
            )
    finally:
        logger.setLevel(level)
    onnx_program.model.metadata_props[KEY] = metadata.to_json()
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    onnx_program.save(file)


def make_graph(model: BaseDetector, takes_pixels: bool) -> DetectorGraph:
    """Make the exported module of a detector, which also runs in PyTorch.

    Returns:
        A copy on the CPU and in evaluation mode, without gradients.
    """
    family = DenseGraph if type(model) in DENSE_DETECTORS else TwoStageGraph
    detector: nn.Module = copy.deepcopy(model).cpu().eval().requires_grad_(False)
    accelerate(detector, channels_last=False, compile=False)
    return family(detector, takes_pixels).eval()


def check_exportable(detector: nn.Module) -> None:
    """Raise ValueError, which names the part, if a detector cannot be exported completely."""
    _check_type('model', detector, (*TWO_STAGE_DETECTORS, *DENSE_DETECTORS))
    _check_type('data_preprocessor', detector.data_preprocessor, (DetDataPreprocessor,))
    for name, module in detector.named_modules():
        # Others, such as deformable convolution, have no standard ONNX node.
        if type(module).__module__.startswith('mmcv.ops') and type(module) is not RoIAlign:
            reject(OWNER, name, type(module), 'without operators of mmcv other than RoIAlign')
    if type(detector) in DENSE_DETECTORS:
        _check_anchor_head('bbox_head', detector.bbox_head, DENSE_HEADS)
    else:
        _check_anchor_head('rpn_head', detector.rpn_head, (RPNHead,))
        _check_roi_head(detector.roi_head)


def _check_type(name: str, value: object, allowed: Iterable[type]) -> None:
    if type(value) not in allowed:
        names = ', '.join(dict.fromkeys(each.__name__ for each in allowed))
        reject(OWNER, name, type(value), f'one of {names}')


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
    gate = getattr(roi_head, 'gate_score_thr', None)
    if gate is not None:
        reject(OWNER, 'roi_head.gate_score_thr', gate, 'None')
    heads, extractors = roi_head.bbox_head, roi_head.bbox_roi_extractor
    for head in heads if isinstance(heads, nn.ModuleList) else [heads]:
        _check_type('roi_head.bbox_head', head, BBOX_HEADS)
        _check_type('roi_head.bbox_head.bbox_coder', head.bbox_coder, (DeltaXYWHBBoxCoder,))
        if head.custom_cls_channels or head.custom_activation:
            allowed = 'a loss whose scores are a softmax'
            reject(OWNER, 'roi_head.bbox_head.loss_cls', type(head.loss_cls), allowed)
    for extractor in extractors if isinstance(extractors, nn.ModuleList) else [extractors]:
        _check_type('roi_head.bbox_roi_extractor', extractor, EXTRACTORS)
        for layer in extractor.roi_layers:
            _check_type('roi_head.bbox_roi_extractor.roi_layer', layer, (RoIAlign,))
            if layer.pool_mode != 'avg':
                name = 'roi_head.bbox_roi_extractor.roi_layer.pool_mode'
                reject(OWNER, name, layer.pool_mode, "'avg'")


def _check_selection(name: str, cfg: ConfigDict, numbers: Iterable[str]) -> None:
    for number in numbers:
        if cfg.get(number, -1) < 1:
            reject(OWNER, f'{name}.{number}', cfg.get(number), 'a positive number')
    nms = cfg.nms
    if nms.get('type', 'nms') != 'nms' or set(nms) - {'type', 'iou_threshold'}:
        reject(OWNER, f'{name}.nms', dict(nms), "of type 'nms' with an iou_threshold alone")
