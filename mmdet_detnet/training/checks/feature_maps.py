"""Compare strides and levels of anchors and RoI extractors with the actual feature maps."""

from collections.abc import Sequence
from typing import TypeGuard

from mmdet.models.necks import FPN, PAFPN
from mmdet.models.roi_heads.roi_extractors.base_roi_extractor import BaseRoIExtractor
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from mmdet_detnet.config import raise_problems

from .config_checks import problem

# Necks that take the backbone's maps in the order of their `in_channels`.
ORDERED_NECKS = (FPN, PAFPN)
# Heads that take the neck's maps; mask heads may take others.
HEADS = ('rpn_head', 'bbox_head')
GENERATORS = ('prior_generator', 'approx_anchor_generator', 'square_anchor_generator')
# Other extractors may not pool from the neck's maps.
EXTRACTORS = ('bbox_roi_extractor', 'mask_roi_extractor', 'grid_roi_extractor')


class FeatureMapCheck:
    """Watches the first batch in a detector, and raises before a head receives wrong maps.

    Args:
        detector: A module with a ``backbone`` and optionally a ``neck``.
        name: Its name in the model, followed by a dot; empty for the model itself.
    """

    def __init__(self, detector: nn.Module, name: str = '') -> None:
        self.detector = detector
        self.name = name
        self.image_size = (0, 0)
        backbone, neck = detector.backbone, getattr(detector, 'neck', None)
        self.handles: list[RemovableHandle] = [
            backbone.register_forward_pre_hook(self._note_image),
            backbone.register_forward_hook(self._check_backbone),
        ]
        if neck is not None:
            self.handles.append(neck.register_forward_hook(self._check_neck))

    def remove(self) -> None:
        """Stop watching."""
        for handle in self.handles:
            handle.remove()
        self.handles.clear()

    def _note_image(self, backbone: nn.Module, inputs: tuple) -> None:
        if inputs and isinstance(inputs[0], Tensor):
            self.image_size = tuple(inputs[0].shape[-2:])

    def _check_backbone(self, backbone: nn.Module, inputs: tuple, maps: object) -> None:
        neck = getattr(self.detector, 'neck', None)
        if neck is None:
            self._check_neck(backbone, inputs, maps)
        elif type(neck) in ORDERED_NECKS and _are_maps(maps):
            channels = [each.shape[1] for each in maps]
            if list(neck.in_channels) != channels:
                allowed = f'{channels}, the channels of the maps that the backbone gives'
                raise_problems([problem(f'{self.name}neck.in_channels', neck.in_channels, allowed)])

    def _check_neck(self, neck: nn.Module, inputs: tuple, maps: object) -> None:
        if _are_maps(maps) and all(self.image_size):
            raise_problems(find_map_problems(self.detector, maps, self.image_size, self.name))


def find_map_problems(
    detector: nn.Module, maps: Sequence[Tensor], image_size: tuple[int, int], name: str = ''
) -> list[str]:
    """Compare strides, levels and channels of the heads with the neck's maps (N, C, h, w).

    ``image_size`` is the batch's height and width in pixels, ``name`` a prefix of module names.
    """
    problems = []
    for module_name, module in detector.named_modules():
        place = f'{name}{module_name}'
        path = module_name.split('.')
        for attribute in GENERATORS:
            strides = getattr(getattr(module, attribute, None), 'strides', None)
            if strides is not None and path[0] in HEADS:
                problems += _check_levels(f'{place}.{attribute}', strides, maps, image_size)
                problems += _check_channels(place, getattr(module, 'in_channels', None), maps)
        if isinstance(module, BaseRoIExtractor) and set(path) & {*EXTRACTORS}:
            strides = module.featmap_strides
            pooled = maps[: len(strides)]
            problems += _check_levels(f'{place}.featmap_strides', strides, pooled, image_size)
            problems += _check_channels(place, module.out_channels, pooled, 'out_channels')
    return problems


def _check_levels(
    place: str, strides: Sequence, maps: Sequence[Tensor], image_size: tuple[int, int]
) -> list[str]:
    if len(strides) != len(maps):
        allowed = f'{len(maps)}, as many as there are feature maps'
        return [problem(f'the number of levels of {place}', len(strides), allowed)]
    if all(_fits(stride, each, image_size) for stride, each in zip(strides, maps, strict=True)):
        return []
    real = [round(image_size[1] / each.shape[-1], 1) for each in maps]
    allowed = f'{real}, by the sizes of the feature maps'
    return [problem(f'the strides of {place}', list(strides), allowed)]


def _fits(stride: float | Sequence[float], feature_map: Tensor, size: tuple[int, int]) -> bool:
    """Tell whether a map has the size that a stride gives, with any rounding."""
    across, down = stride if isinstance(stride, Sequence) else (stride, stride)
    height, width = feature_map.shape[-2:]
    return abs(size[0] / down - height) <= 1 and abs(size[1] / across - width) <= 1


def _check_channels(
    place: str, channels: object, maps: Sequence[Tensor], option: str = 'in_channels'
) -> list[str]:
    real = sorted({each.shape[1] for each in maps})
    if not isinstance(channels, int) or real == [channels]:
        return []
    return [problem(f'{place}.{option}', channels, f'{real}, the channels of the feature maps')]


def _are_maps(maps: object) -> TypeGuard[Sequence[Tensor]]:
    if not isinstance(maps, (list, tuple)) or not maps:
        return False
    return all(isinstance(each, Tensor) and each.dim() == 4 for each in maps)
