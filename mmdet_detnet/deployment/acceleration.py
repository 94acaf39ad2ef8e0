"""Make a detector faster, in place: memory layout, compilation and low precision."""

import ctypes
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

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

from .replaced_forward import (
    OLDEST_TORCH,
    ContiguousForward,
    PartForward,
    PlainForward,
    RoIAlignForward,
    restore_forward,
)

FEATURE_PARTS = ('backbone', 'neck')
# Heads that depend on the memory layout of their maps; TOODHead does so through an operator of mmcv
# that has no bfloat16 kernel either.
PLAIN_HEADS = (CornerHead, CenterNetHead, GridHead, TOODHead)
# Other convolutions compute with their weights first, some in ways that need contiguous weights.
CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d, wrappers.Conv2d, wrappers.ConvTranspose2d)
# Their number of RoIs varies between images, and compiling them gained nothing.
ROI_PARTS = (BBoxHead, FCNMaskHead)

DTYPES = {'bf16': torch.bfloat16, 'fp16': torch.float16}
AUTO = 'auto'
CPU_INFO = Path('/proc/cpuinfo')
# Names of the instructions for bfloat16 in Linux, for x86 and ARM.
CPU_FLAGS = {'avx512_bf16', 'amx_bf16', 'bf16'}
# Ampere. Older NVIDIA GPUs emulate bfloat16.
MIN_CUDA_CAPABILITY = (8, 0)
# Numbers of glibc's M_MMAP_THRESHOLD and M_TRIM_THRESHOLD, and their highest values, in bytes.
MALLOC_LIMITS = {-3: 2**30, -1: 2**31 - 1}


def keep_freed_memory() -> None:
    """Let this process reuse the memory of freed tensors, for faster inference on a CPU.

    By default, glibc returns the memory of a large tensor to the system, which clears it for the
    next one. After this call, the process keeps it until it ends. Without glibc, nothing changes.
    """
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None) if sys.platform == 'linux' else None
    if mallopt is not None:
        for number, limit in MALLOC_LIMITS.items():
            mallopt(number, limit)


def accelerate(
    model: nn.Module,
    *,
    channels_last: bool = True,
    compile: bool = True,
    dtype: str | torch.dtype | None = None,
    train_dtype: str | torch.dtype | None = None,
) -> nn.Module:
    """Make a detector faster, in place.

    Names and values of the weights do not change, so checkpoints load and save as before. Nothing
    derived from the weights is kept, so they may change at any time. Anchors, box decoding, scores,
    losses and NMS stay in float32. In training, ``channels_last`` and ``train_dtype`` have an
    effect, and RoIAlign on the CPU is faster. A second call replaces the settings of the first;
    with all options off, the detector runs as in MMDetection.

    Args:
        model: A detector of MMDetection, as returned by ``init_detector``, or one of its RoI heads;
            may be wrapped for distributed training or test-time augmentation.
        channels_last: Whether convolution weights and maps are stored as (N, H, W, C).
        compile: Whether inference compiles backbone, neck and dense heads with ``torch.compile``,
            each on its first image. Image sizes are symbolic in the compiled code. Before torch
            2.6, nothing is compiled, with a warning.
        dtype: Precision of convolutions and matrix products at inference: float32 if None,
            ``'bf16'``, or ``'fp16'`` on a GPU. ``'auto'`` uses bfloat16 if the device is known to
            have instructions for it, else float32.
        train_dtype: Their precision in training: None, ``'bf16'``, or ``'auto'`` for bfloat16 on a
            CPU that has instructions for it. Weights and gradients stay in float32. On a GPU,
            MMEngine's ``AmpOptimWrapper`` is the usual way; it also has float16, and scales the
            loss.

    Returns:
        The model.

    Raises:
        ValueError: If a precision is unknown or unsupported on this device, or if the model has no
            part to make faster, or one with a forward of its own, as of torch.compile.

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
    train_precision = choose_dtype(train_dtype, model, 'train_dtype')
    detector = unwrap_model(model)
    parts = list(_find_parts(detector))
    if not parts:
        reject('accelerate', 'model', type(model), 'a detector with a backbone, or a RoI head')
    for module in model.modules():
        restore_forward(module)
    _set_layout(detector, channels_last)
    if not (channels_last or compile or precision or train_precision):
        return model
    for module in (detector, *(part for part, _, _ in parts)):
        if 'forward' in vars(module):
            allowed = 'without torch.compile and activation_checkpointing of these parts'
            reject('accelerate', 'model', type(module), allowed)
    for module in _mmcv_operators(detector):
        kind = RoIAlignForward if type(module) is RoIAlign else ContiguousForward
        module.forward = kind(module)
    for head in _plain_heads(detector):
        head.forward = PlainForward(head, train_precision)
    for module, may_compile, low_outputs in parts:
        # Only the image is converted; all later maps follow the layout of the weights.
        module.forward = PartForward(
            module,
            channels_last=channels_last and module is getattr(detector, 'backbone', None),
            compile=compile and may_compile,
            dtype=precision,
            train_dtype=train_precision,
            low_outputs=low_outputs,
        )
    return model


def unwrap_model(model: nn.Module) -> nn.Module:
    """Unwrap a detector from distributed training and test-time augmentation."""
    while isinstance(getattr(model, 'module', None), nn.Module):
        model = model.module
    return model


def _find_parts(model: nn.Module) -> Iterator[tuple[nn.Module, bool, bool]]:
    """Find the parts to make faster, and whether each may be compiled and give low precision.

    RoIs are pooled from float32, because mmcv rounds their corners to the type of the features.
    """
    children = dict(model.named_children())
    features = [children.pop(name) for name in FEATURE_PARTS if name in children]
    children.pop('data_preprocessor', None)
    only_dense_heads = all(isinstance(child, BaseDenseHead) for child in children.values())
    for part in features:
        yield part, True, part is not features[-1] or only_dense_heads
    for module in model.modules():
        if isinstance(module, PLAIN_HEADS):
            continue
        if isinstance(module, BaseDenseHead):
            yield module, True, False
        elif isinstance(module, DoubleConvFCBBoxHead):
            # Its layers one by one: detection calls each head, not their common `forward`.
            layers = [*module.conv_branch, *module.nonlocal_blocks, *module.fc_branch]
            for layer in (module.res_block, *layers):
                yield layer, False, True
            for layer in module.modules():
                if isinstance(layer, nn.Linear) and layer not in layers:
                    yield layer, False, False
        elif isinstance(module, ROI_PARTS):
            yield module, False, False


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
    """List the layers of ``mmcv.ops`` in a model, and those derived from them."""
    return [
        module
        for module in model.modules()
        if any(each.__module__.startswith('mmcv.ops') for each in type(module).__mro__)
    ]


def choose_dtype(
    dtype: str | torch.dtype | None, model: nn.Module, argument: str = 'dtype'
) -> torch.dtype | None:
    """Convert a precision of :func:`accelerate` to a type for autocast, None for float32.

    Raises:
        ValueError: If the precision is unknown, or float16 on a CPU or in training.
    """
    if dtype is None:
        return None
    allowed = {'bf16': torch.bfloat16} if argument == 'train_dtype' else DTYPES
    if dtype not in (AUTO, *allowed, *allowed.values()):
        reject('accelerate', argument, dtype, f'None or one of {[AUTO, *allowed]}')
    devices = {parameter.device for parameter in model.parameters()}
    kinds = {device.type for device in devices}
    are_fast = bool(devices) and all(map(has_bfloat16, devices))
    if dtype == AUTO:
        # Trained in bfloat16 by default, detectors have been compared on a CPU only.
        is_tested = argument != 'train_dtype' or 'cuda' not in kinds
        return torch.bfloat16 if are_fast and is_tested else None
    precision = DTYPES[dtype] if isinstance(dtype, str) else dtype
    if kinds == {'cpu'} and precision == torch.float16:
        raise ValueError("accelerate: dtype='fp16' needs a GPU; on a CPU, dtype='bf16' works.")
    is_known = kinds == {'cuda'} or (kinds == {'cpu'} and CPU_INFO.is_file())
    if precision == torch.bfloat16 and is_known and not are_fast:
        warnings.warn(
            f'accelerate: this {"CPU" if kinds == {"cpu"} else "GPU"} has no instructions for '
            f"bfloat16, so {argument}='bf16' is likely slower than float32; {argument}='auto' uses "
            'it only where they exist.',
            stacklevel=3,
        )
    return precision


def has_bfloat16(device: torch.device) -> bool:
    """Return whether a GPU, or a CPU on Linux, is known to have instructions for bfloat16."""
    if device.type == 'cuda':
        return torch.cuda.get_device_capability(device) >= MIN_CUDA_CAPABILITY
    if device.type != 'cpu' or not CPU_INFO.is_file():
        return False
    return not CPU_FLAGS.isdisjoint(CPU_INFO.read_text().split())
