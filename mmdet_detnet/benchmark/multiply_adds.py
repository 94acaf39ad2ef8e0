"""Count parameters and multiply-adds from shapes alone, without computing anything."""

import inspect
from collections.abc import Callable
from functools import partial

import torch
from mmengine.config import Config
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from .comparisons import Workload
from .inference_split import BACKBONE, DENSE_HEAD, ROI_HEAD, dense_heads, module_list
from .timed_networks import build_detector
from .trained_scores import NUM_PROPOSALS

NUM_MASKS = 100
DIVISOR = 32
FLOPS_PER_GMAC = 2e9
META = torch.device('meta')


def build_without_weights(config: Config) -> nn.Module:
    """Build the detector of a config with tensors that have shapes but no memory."""
    with META:
        return build_detector(config, Workload(), META)


def count_parameters(module: nn.Module) -> int:
    """Count the parameters of a module, including frozen ones."""
    return sum(parameter.numel() for parameter in module.parameters())


def count_gmacs(
    detector: nn.Module, height: int, width: int, kind: str = 'detector'
) -> dict[str, float]:
    """Count the multiply-adds of convolutions and matrix products for one image.

    RoI heads are counted for 1000 proposals that pass through the whole head, and for 100 masks;
    shapes do not tell what a head skips.

    Args:
        detector: Output of :func:`build_without_weights`.
        height: Height of the image in pixels; padded to a multiple of 32.
        width: Width of the image in pixels; padded likewise.
        kind: ``'detector'``, or its ``'backbone'`` or ``'roi_head'`` alone.

    Returns:
        Multiply-adds of each part, in units of 1e9.
    """
    if kind == 'roi_head':
        return {ROI_HEAD: count_roi_gmacs(detector.roi_head)}
    padded = [-(-size // DIVISOR) * DIVISOR for size in (height, width)]
    image = torch.empty(1, 3, *padded, device=META)
    if kind == 'backbone':
        return {'backbone': _count(lambda: detector.backbone(image))}
    features: list[torch.Tensor] = []
    gmacs = {BACKBONE: _count(lambda: features.extend(detector.extract_feat(image)))}
    for head in dense_heads(detector):
        gmacs[DENSE_HEAD] = _count(partial(head, tuple(features)))
    if hasattr(detector, 'roi_head'):
        gmacs[ROI_HEAD] = count_roi_gmacs(detector.roi_head)
    return gmacs


def count_roi_gmacs(roi_head: nn.Module) -> float:
    """Count box heads for 1000 RoIs and mask heads for 100, in all stages of a cascade."""
    total = 0.0
    for name, number in (('bbox', NUM_PROPOSALS), ('mask', NUM_MASKS)):
        heads = module_list(getattr(roi_head, f'{name}_head', None))
        extractors = module_list(getattr(roi_head, f'{name}_roi_extractor', None))
        for head, extractor in zip(heads, extractors, strict=False):
            size = extractor.roi_layers[0].output_size
            regions = torch.empty(number, extractor.out_channels, *size, device=META)
            total += _count(partial(head, *_inputs(head, regions)))
    return total


def _inputs(head: nn.Module, regions: torch.Tensor) -> list[torch.Tensor]:
    """Repeat the features as the head needs them: Double-Head pools twice."""
    parameters = inspect.signature(head.forward).parameters.values()
    return [regions for parameter in parameters if parameter.default is inspect.Parameter.empty]


def _count(action: Callable[[], object]) -> float:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        action()
    return counter.get_total_flops() / FLOPS_PER_GMAC
