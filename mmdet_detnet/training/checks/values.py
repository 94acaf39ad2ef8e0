"""Options whose value has the wrong type or makes no sense."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from mmdet_detnet.models.arguments import is_number

from .faults import fault
from .walk import walk_dicts, walk_values

# Parts of a config that MMDetection uses; the rest is free.
PARTS = (
    'model',
    'optim_wrapper',
    'param_scheduler',
    'train_cfg',
    'val_cfg',
    'test_cfg',
    'auto_scale_lr',
    'train_dataloader',
    'val_dataloader',
    'test_dataloader',
    'default_hooks',
    'custom_hooks',
)
MEANT_OTHERWISE = ('True', 'true', 'False', 'false', 'None')
# Strings that may look like numbers.
TEXT_OPTIONS = ('ann_file', 'attention_type', 'data_root', 'dataset_version', 'img', 'type')


class Range(NamedTuple):
    """The range of numbers that make sense.

    Attributes:
        allows: Tells whether a number is in the range.
        words: The range in words.
    """

    allows: Callable[[float], bool]
    words: str


POSITIVE = Range(lambda value: value > 0, 'above 0')
NOT_NEGATIVE = Range(lambda value: value >= 0, 'at least 0')
SHARE = Range(lambda value: 0 <= value <= 1, 'in 0 to 1')

RANGES: dict[str, Range] = {
    **dict.fromkeys(
        (
            'base_batch_size',
            'base_channels',
            'base_sizes',
            'batch_size',
            'conv_out_channels',
            'fc_out_channels',
            'feat_channels',
            'featmap_strides',
            'finest_scale',
            'iou_threshold',
            'lr',
            'max_epochs',
            'max_iters',
            'max_norm',
            'num_classes',
            'num_outs',
            'num_stages',
            'octave_base_scale',
            'out_channels',
            'pad_size_divisor',
            'ratios',
            'reg_roi_scale_factor',
            'roi_feat_size',
            'scales',
            'scales_per_octave',
            'start_factor',
            'std',
            'strides',
            'target_stds',
            'val_interval',
        ),
        POSITIVE,
    ),
    **dict.fromkeys(
        ('loss_weight', 'num_workers', 'stacked_convs', 'weight_decay'),
        NOT_NEGATIVE,
    ),
    **dict.fromkeys(
        ('min_pos_iou', 'momentum', 'neg_iou_thr', 'pos_fraction', 'pos_iou_thr', 'score_thr'),
        SHARE,
    ),
}


def find_value_faults(config: Mapping) -> list[str]:
    """Find strings instead of numbers or booleans, NaN, infinity and nonsensical numbers."""
    parts = {name: config[name] for name in PARTS if config.get(name) is not None}
    faults = [
        fault(path, value, words)
        for path, key, value in walk_values(parts)
        if (words := _what_is_allowed(key, value))
    ]
    return faults + _find_crossed_thresholds(parts) + _find_empty_lists(parts)


def _what_is_allowed(key: str, value: object) -> str:
    """Say what is allowed, or nothing if the value is valid."""
    if isinstance(value, str):
        return _what_a_text_means(value, key)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return ''
    if not is_number(value):
        return 'a finite number'
    range_ = RANGES.get(key)
    return '' if range_ is None or range_.allows(value) else range_.words


def _what_a_text_means(text: str, key: str) -> str:
    if key in TEXT_OPTIONS:
        return ''
    if text in MEANT_OTHERWISE:
        return f'{text.capitalize()} without quotation marks'
    try:
        float(text)
    except ValueError:
        return 'a number' if key in RANGES else ''
    return 'a number without quotation marks'


def _find_crossed_thresholds(config: Mapping) -> list[str]:
    """Find assigners that let a box be positive and negative at once."""
    faults = []
    for path, options in walk_dicts(config):
        low, high = options.get('neg_iou_thr'), options.get('pos_iou_thr')
        if isinstance(low, (int, float)) and isinstance(high, (int, float)) and low > high:
            faults.append(fault(f'{path}.neg_iou_thr', low, f'at most pos_iou_thr = {high}'))
    return faults


def _find_empty_lists(config: Mapping) -> list[str]:
    return [
        fault(f'{path}.{key}', value, 'at least one number')
        for path, options in walk_dicts(config)
        for key, value in options.items()
        if key in RANGES and isinstance(value, (list, tuple)) and len(value) == 0
    ]
