"""Modules of a built detector that do not match."""

from collections.abc import Iterator

import torch
from mmdet.models.dense_heads import AnchorHead, RPNHead
from mmdet.models.losses import (
    BoundedIoULoss,
    CIoULoss,
    DIoULoss,
    EIoULoss,
    GIoULoss,
    IoULoss,
    SIoULoss,
)
from mmdet.models.roi_heads.bbox_heads import BBoxHead
from mmdet.models.task_modules.prior_generators import AnchorGenerator
from torch import nn
from torch.nn.modules.utils import _pair

from .faults import fault

IOU_LOSSES = (BoundedIoULoss, CIoULoss, DIoULoss, EIoULoss, GIoULoss, IoULoss, SIoULoss)


def find_module_faults(model: nn.Module) -> list[str]:
    """Check all anchors, losses and RoI heads of a model."""
    faults = []
    for name, module in model.named_modules():
        faults += _check_anchors(name, module)
        faults += _check_iou_loss(name, module)
        if isinstance(getattr(module, 'bbox_roi_extractor', None), nn.Module):
            faults += _check_roi_head(name, module)
    return faults


def _check_anchors(name: str, head: nn.Module) -> list[str]:
    """Compare the anchors of all levels; equal levels would be trained and detected twice."""
    generator = getattr(head, 'prior_generator', None)
    if not isinstance(generator, AnchorGenerator):
        return []
    anchors = generator.base_anchors
    return [
        f'{name}.anchor_generator must give every level anchors of its own, but those of levels '
        f'{first} and {second} are equal, {generator.base_sizes[second]} pixels: set base_sizes.'
        for second in range(len(anchors))
        for first in range(second)
        if anchors[first].shape == anchors[second].shape
        and torch.equal(anchors[first], anchors[second])
    ][:1]


def _check_iou_loss(name: str, head: nn.Module) -> list[str]:
    """Find IoU losses applied to deltas, in heads with the option `reg_decoded_bbox`."""
    # Other subclasses, such as ATSSHead, always decode themselves.
    has_option = _takes_loss_from(head, 'loss_by_feat', AnchorHead, RPNHead) or _takes_loss_from(
        head, 'loss', BBoxHead
    )
    if not has_option or head.reg_decoded_bbox or not isinstance(head.loss_bbox, IOU_LOSSES):
        return []
    allowed = f'True with {type(head.loss_bbox).__name__}'
    return [fault(f'{name}.reg_decoded_bbox', head.reg_decoded_bbox, allowed)]


def _takes_loss_from(head: nn.Module, method: str, *bases: type) -> bool:
    """Tell whether a head's loss is that of a base class, or ours, which calls it."""
    if not isinstance(head, bases) or not hasattr(head, 'loss_bbox'):
        return False
    owner = next(each for each in type(head).__mro__ if method in vars(each))
    return owner in bases or owner.__module__.startswith('mmdet_detnet.')


def _check_roi_head(name: str, roi_head: nn.Module) -> list[str]:
    if getattr(roi_head, 'with_shared_head', False):
        return []
    return [
        each
        for place, head, extractor in _pairs(name, roi_head)
        for each in _check_pair(place, head, extractor)
    ]


def _pairs(name: str, roi_head: nn.Module) -> Iterator[tuple[str, nn.Module, nn.Module]]:
    """List the box heads with their extractors."""
    heads, extractors = roi_head.bbox_head, roi_head.bbox_roi_extractor
    if not isinstance(heads, nn.ModuleList):
        yield f'{name}.bbox_head', heads, extractors
        return
    for index, (head, extractor) in enumerate(zip(heads, extractors, strict=False)):
        yield f'{name}.bbox_head.{index}', head, extractor


def _check_pair(place: str, head: nn.Module, extractor: nn.Module) -> list[str]:
    # SABLHead is a BBoxHead by name only.
    if not isinstance(head, BBoxHead) or not hasattr(head, 'in_channels'):
        return []
    faults = []
    size = _pair(getattr(extractor.roi_layers[0], 'output_size', head.roi_feat_size))
    if _pair(head.roi_feat_size) != size:
        allowed = f"{size}, the output_size of the RoI extractor's layer"
        faults.append(fault(f'{place}.roi_feat_size', head.roi_feat_size, allowed))
    if head.in_channels != extractor.out_channels:
        allowed = f"{extractor.out_channels}, the RoI extractor's out_channels"
        faults.append(fault(f'{place}.in_channels', head.in_channels, allowed))
    return faults
