"""The function that makes a detector faster, in place."""

from collections.abc import Iterator

import torch
from mmcv.cnn.bricks import wrappers
from mmcv.ops import RoIAlign
from mmdet.models.dense_heads import CenterNetHead, CornerHead, TOODHead
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.models.roi_heads.bbox_heads import BBoxHead
from mmdet.models.roi_heads.mask_heads import FCNMaskHead, GridHead
from torch import nn

from mmdet_detnet.models.arguments import reject
from mmdet_detnet.models.roi_heads.bbox_heads.base_double_head import BaseDoubleHead

from .forwards import (
    ContiguousForward,
    PartForward,
    PlainForward,
    replace_forward,
    restore_forward,
)
from .precision import choose_dtype
from .roi_align import RoIAlignForward

FEATURE_PARTS = ('backbone', 'neck')
# They view maps as they lie in memory, or, TOODHead, call an operator of mmcv that reads them so
# and has no kernel for bfloat16.
PLAIN_HEADS = (CornerHead, CenterNetHead, GridHead, TOODHead)
# Others compute with their weights before they convolve, some in ways that need them contiguous.
CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d, wrappers.Conv2d, wrappers.ConvTranspose2d)
# Their number of RoIs changes from image to image, and compiling them gained nothing.
ROI_PARTS = (BBoxHead, FCNMaskHead)


def accelerate(
    model: nn.Module,
    *,
    channels_last: bool = True,
    compile: bool = True,
    dtype: str | torch.dtype | None = None,
) -> nn.Module:
    """Make a detector faster, in place.

    Names and values of the weights stay, so checkpoints load and save as before; weights may
    change at any time, since nothing derived from them is kept. Anchors, the decoding of boxes,
    scores and NMS stay in float32. In training, or wherever gradients are recorded, only
    ``channels_last`` has an effect, and RoIAlign on the CPU is quicker. A second call replaces what
    the first one set; with all three off the detector runs as MMDetection runs it.

    Args:
        model: A detector of MMDetection, such as ``init_detector`` returns, or one of its RoI
            heads; wrapped for distributed training or test-time augmentation or not.
        channels_last: Whether convolutions keep their weights and maps as (N, H, W, C) in memory.
        compile: Whether inference compiles backbone, neck and dense heads with ``torch.compile``,
            each on its first image. Image sizes are symbols in the compiled code.
        dtype: Precision of convolutions and matrix products at inference: float32 if None,
            ``'bf16'``, or ``'fp16'`` on a GPU. ``'auto'`` takes bfloat16 where the device is known
            to have instructions for it, float32 elsewhere. In training, MMEngine's
            ``AmpOptimWrapper`` does it.

    Returns:
        The model.

    Raises:
        ValueError: If ``dtype`` is none of those or not for this device, or if the model has no
            part that could be made faster.

    Example:
        >>> model = accelerate(init_detector(config, checkpoint), dtype='bf16')
        >>> inference_detector(model, image)
    """
    precision = choose_dtype(dtype, model)
    detector = unwrap_model(model)
    parts = dict(_find_parts(detector))
    if not parts:
        reject('accelerate', 'model', type(model), 'a detector with a backbone, or a RoI head')
    for module in model.modules():
        restore_forward(module)
    _set_layout(detector, channels_last)
    if not (channels_last or compile or precision):
        return model
    for module in _mmcv_operators(detector):
        replace_forward(module, _operator_forward(module))
    for head in _plain_heads(detector):
        replace_forward(head, PlainForward(head))
    for part, options in parts.items():
        options['compile'] = compile and options['compile']
        # The image is converted; all maps after it follow the layout of the weights.
        converts = channels_last and part is getattr(detector, 'backbone', None)
        replace_forward(part, PartForward(part, converts, dtype=precision, **options))
    return model


def unwrap_model(model: nn.Module) -> nn.Module:
    """Reach through distributed wrappers and test-time augmentation, which have a ``module``.

    Args:
        model: A detector, wrapped or not.

    Returns:
        The detector.
    """
    while isinstance(getattr(model, 'module', None), nn.Module):
        model = model.module
    return model


def _find_parts(model: nn.Module) -> Iterator[tuple[nn.Module, dict[str, bool]]]:
    """Find what to make faster, with the options of its :class:`PartForward`.

    Features may stay in low precision between parts that are made faster. RoIs are pooled from
    float32, since mmcv rounds their corners to the type of the features.
    """
    children = dict(model.named_children())
    features = [children.pop(name) for name in FEATURE_PARTS if name in children]
    children.pop('data_preprocessor', None)
    only_dense_heads = all(isinstance(child, BaseDenseHead) for child in children.values())
    for part in features:
        yield part, dict(compile=True, low_outputs=part is not features[-1] or only_dense_heads)
    for module in model.modules():
        if isinstance(module, PLAIN_HEADS):
            continue
        if isinstance(module, BaseDenseHead):
            yield module, dict(compile=True, low_outputs=False)
        elif isinstance(module, BaseDoubleHead):
            yield from _double_head_parts(module)
        elif isinstance(module, ROI_PARTS):
            yield module, dict(compile=False, low_outputs=False)


def _double_head_parts(head: BaseDoubleHead) -> Iterator[tuple[nn.Module, dict[str, bool]]]:
    """Take the layers one by one: detection calls the two heads, not the ``forward`` of both."""
    layers = [head.res_block, *head.conv_branch, *head.nonlocal_blocks, *head.fc_branch]
    for layer in layers:
        yield layer, dict(compile=False, low_outputs=True)
    for module in head.modules():
        if isinstance(module, nn.Linear) and module not in layers:
            yield module, dict(compile=False, low_outputs=False)


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
