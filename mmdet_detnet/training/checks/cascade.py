"""Cascades whose lists do not have one entry per stage."""

from collections.abc import Mapping

from .faults import fault
from .walk import part

STAGE_LISTS = (
    'bbox_head',
    'bbox_roi_extractor',
    'mask_head',
    'mask_roi_extractor',
    'stage_loss_weights',
)


def find_cascade_faults(config: Mapping) -> list[str]:
    """Compare the lists of a cascade with its number of stages.

    MMDetection stops without a message for some, and silently ignores surplus entries of others.
    """
    roi_head = part(config, 'model', 'roi_head')
    if 'stage_loss_weights' not in roi_head:
        return []
    num_stages = roi_head.get('num_stages')
    lists = {f'model.roi_head.{name}': roi_head.get(name) for name in STAGE_LISTS}
    lists['model.train_cfg.rcnn'] = part(config, 'model', 'train_cfg').get('rcnn')
    return [
        fault(f'the length of {place}', len(each), f'num_stages = {num_stages}')
        for place, each in lists.items()
        if isinstance(each, (list, tuple)) and len(each) != num_stages
    ]
