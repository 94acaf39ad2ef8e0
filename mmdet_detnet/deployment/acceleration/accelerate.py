"""Make a detector faster, in place."""

import warnings
from collections.abc import Iterator
from typing import NamedTuple

import torch
from mmcv.cnn.bricks import wrappers
from mmcv.ops import RoIAlign
from mmdet.models.dense_heads import CenterNetHead, CornerHead, TOODHead
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.models.roi_heads.bbox_heads import BBoxHead
from mmdet.models.roi_heads.mask_heads import FCNMaskHead, GridHead
from torch import nn

from mmdet_detnet.arguments import reject
from mmdet_detnet.models import DoubleConvFCBBoxHead

from .compilation import OLDEST_TORCH
from .forwards import ContiguousForward, PartForward, PlainForward, restore_forward
from .precision import choose_dtype
from .roi_align import RoIAlignForward

FEATURE_PARTS = ('backbone', 'neck')
# Heads that depend on the memory layout of their maps; TOODHead does so through an operator of mmcv
# that has no bfloat16 kernel either.
PLAIN_HEADS = (CornerHead, CenterNetHead, GridHead, TOODHead)
# Other convolutions compute with their weights first, some in ways that need contiguous weights.
CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d, wrappers.Conv2d, wrappers.ConvTranspose2d)
# Their number of RoIs varies between images, and compiling them gained nothing.
ROI_PARTS = (BBoxHead, FCNMaskHead)


class Part(NamedTuple):
    """A part of a detector to make faster.

    Attributes:
        module: The part.
        compile: Whether it may be compiled.
        low_outputs: Whether its outputs may stay in low precision.
    """

    module: nn.Module
    compile: bool
    low_outputs: bool


def accelerate(
    model: nn.Module,
    *,
    channels_last: bool = True,
    compile: bool = True,
    dtype: str | torch.dtype | None = None,
) -> nn.Module:
    """Make a detector faster, in place.

    Names and values of the weights do not change, so checkpoints load and save as before. Nothing
    derived from the weights is kept, so they may change at any time. Anchors, box decoding, scores
    and NMS stay in float32. While gradients are recorded, as in training, only ``channels_last``
    has an effect, and RoIAlign on the CPU is faster. A second call replaces the settings of the
    first; with all three options off, the detector runs as in MMDetection.

    Args:
        model: A detector of MMDetection, as returned by ``init_detector``, or one of its RoI heads;
            may be wrapped for distributed training or test-time augmentation.
        channels_last: Whether convolution weights and maps are stored as (N, H, W, C).
        compile: Whether inference compiles backbone, neck and dense heads with ``torch.compile``,
            each on its first image. Image sizes are symbolic in the compiled code. Before torch
            2.6, nothing is compiled, with a warning.
        dtype: Precision of convolutions and matrix products at inference: float32 if None,
            ``'bf16'``, or ``'fp16'`` on a GPU. ``'auto'`` uses bfloat16 if the device is known to
            have instructions for it, else float32. For training, use MMEngine's
            ``AmpOptimWrapper``.

    Returns:
        The model.

    Raises:
        ValueError: If ``dtype`` is unknown or unsupported on this device, or if the model has no
            part to make faster.

    Examples:
        >>> model = accelerate(init_detector(config, checkpoint), dtype='bf16')
        >>> inference_detector(model, image)
    """
    if compile and torch.__version__ < OLDEST_TORCH:
        warnings.warn(
            f'accelerate: compile needs torch {OLDEST_TORCH}, this is {torch.__version__}; '
            'the detector runs uncompiled.',
            stacklevel=2,
        )
        compile = False
    precision = choose_dtype(dtype, model)
    detector = unwrap_model(model)
    parts = list(_find_parts(detector))
    if not parts:
        reject('accelerate', 'model', type(model), 'a detector with a backbone, or a RoI head')
    for module in model.modules():
        restore_forward(module)
    _set_layout(detector, channels_last)
    if not (channels_last or compile or precision):
        return model
    for module in _mmcv_operators(detector):
        module.forward = _operator_forward(module)
    for head in _plain_heads(detector):
        head.forward = PlainForward(head)
    for part in parts:
        # Only the image is converted; all later maps follow the layout of the weights.
        part.module.forward = PartForward(
            part.module,
            channels_last=channels_last and part.module is getattr(detector, 'backbone', None),
            compile=compile and part.compile,
            dtype=precision,
            low_outputs=part.low_outputs,
        )
    return model


def unwrap_model(model: nn.Module) -> nn.Module:
    """Unwrap a model from distributed training and test-time augmentation.

    Args:
        model: A detector, wrapped or not.

    Returns:
        The detector.
    """
    while isinstance(getattr(model, 'module', None), nn.Module):
        model = model.module
    return model


def _find_parts(model: nn.Module) -> Iterator[Part]:
    """Find the parts to make faster.

    Features may stay in low precision between these parts. RoIs are pooled from float32, because
    mmcv rounds their corners to the type of the features.
    """
    children = dict(model.named_children())
    features = [children.pop(name) for name in FEATURE_PARTS if name in children]
    children.pop('data_preprocessor', None)
    only_dense_heads = all(isinstance(child, BaseDenseHead) for child in children.values())
    for part in features:
        yield Part(part, compile=True, low_outputs=part is not features[-1] or only_dense_heads)
    for module in model.modules():
        if isinstance(module, PLAIN_HEADS):
            continue
        if isinstance(module, BaseDenseHead):
            yield Part(module, compile=True, low_outputs=False)
        elif isinstance(module, DoubleConvFCBBoxHead):
            yield from _double_head_parts(module)
        elif isinstance(module, ROI_PARTS):
            yield Part(module, compile=False, low_outputs=False)


def _double_head_parts(head: DoubleConvFCBBoxHead) -> Iterator[Part]:
    """List the layers separately: detection calls each head, not their common `forward`."""
    layers = [head.res_block, *head.conv_branch, *head.nonlocal_blocks, *head.fc_branch]
    for layer in layers:
        yield Part(layer, compile=False, low_outputs=True)
    for module in head.modules():
        if isinstance(module, nn.Linear) and module not in layers:
            yield Part(module, compile=False, low_outputs=False)


def _set_layout(model: nn.Module, channels_last: bool) -> None:
    """Set the memory format of convolution weights, except where an operator needs its own."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    others = [*_mmcv_operators(model), *_plain_heads(model)]
    excluded = {inner for module in others for inner in module.modules()}
    for module in model.modules():
        if type(module) in CONVOLUTIONS and module not in excluded:
            module.to(memory_format=layout)


def _plain_heads(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, PLAIN_HEADS)]


def _mmcv_operators(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if type(module).__module__.startswith('mmcv.ops')]


def _operator_forward(module: nn.Module) -> ContiguousForward:
    return RoIAlignForward(module) if type(module) is RoIAlign else ContiguousForward(module)
