"""Translate the operators to standard ONNX nodes, independent of a runtime."""

from collections.abc import Callable, Sequence

import torch
from onnx import TensorProto
from onnx_ir import Value
from onnxscript import opset18 as op

from . import onnx_operators  # noqa: F401  (it registers them)


def translate_nms_mask(
    boxes: Value, scores: Value, iou_threshold: float, score_thr: float
) -> Value:
    """Write NonMaxSuppression, and a mask of its selection."""
    number = op.Shape(scores, start=1, end=2)
    selected = op.NonMaxSuppression(
        boxes, op.Unsqueeze(scores, [1]), number, iou_threshold, score_thr
    )
    # It lists (row, class, box), and there is one class.
    indices = op.Gather(selected, [0, 2], axis=1)
    zeros = op.Expand(op.Constant(value_float=0.0), op.Shape(scores))
    ones = op.Expand(op.Constant(value_float=1.0), op.Shape(indices, start=0, end=1))
    return op.Cast(op.ScatterND(zeros, indices, ones), to=TensorProto.BOOL)


def translate_roi_align_levels(
    features: Sequence[Value],
    rois: Value,
    levels: Value,
    spatial_scales: Sequence[float],
    output_size: Sequence[int],
    sampling_ratio: int,
    aligned: bool,
) -> Value:
    """Write a RoiAlign for each level, over its RoIs."""
    height, width = output_size
    shape = op.Concat(
        op.Shape(rois, start=0, end=1),
        op.Shape(features[0], start=1, end=2),
        op.Constant(value_ints=[height, width]),
        axis=0,
    )
    pooled = op.Expand(op.Constant(value_float=0.0), shape)
    images = op.Cast(op.Gather(rois, 0, axis=1), to=TensorProto.INT64)
    corners = op.Slice(rois, [1], [5], [1])
    for level, (feature, scale) in enumerate(zip(features, spatial_scales, strict=True)):
        is_chosen = op.Equal(levels, op.Constant(value_int=level))
        chosen = op.Transpose(op.NonZero(is_chosen), perm=[1, 0])
        values = op.RoiAlign(
            feature,
            op.GatherND(corners, chosen),
            op.GatherND(images, chosen),
            mode='avg',
            coordinate_transformation_mode='half_pixel' if aligned else 'output_half_pixel',
            output_height=height,
            output_width=width,
            # Written even if it is 0, the default, because OpenVINO reads a missing value as 1.
            sampling_ratio=sampling_ratio,
            spatial_scale=scale,
        )
        pooled = op.ScatterND(pooled, chosen, values)
    return pooled


TRANSLATIONS: dict[Callable, Callable] = {
    torch.ops.mmdet_detnet.nms_mask.default: translate_nms_mask,
    torch.ops.mmdet_detnet.roi_align_levels.default: translate_roi_align_levels,
}
