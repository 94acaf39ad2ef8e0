"""Keys of ``--cfg-options`` without effect."""

import inspect
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from mmengine.runner import Runner
from torch.utils.data import DataLoader

from .walk import MAPPINGS

# Read by mmengine and MMDetection's scripts, besides the arguments of the Runner.
RUN_KEYS = {
    *inspect.signature(Runner.__init__).parameters,
    'activation_checkpointing',
    'auto_scale_lr',
    'compile',
    'custom_imports',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'runner_type',
    'sync_bn',
    'tta_model',
    'tta_pipeline',
}
LOADER_KEYS = {*inspect.signature(DataLoader.__init__).parameters, 'num_batch_per_epoch'}
# Parts that accept any key.
FREE_PARTS = ('env_cfg', 'metainfo', 'init_kwargs', 'default_hooks', 'randomness', 'dist_cfg')


def find_override_faults(config: Mapping, options: Mapping[str, object]) -> list[str]:
    """Find keys that are not in the config and that nothing would read.

    A new key is fine if a class is built from its dictionary: the class checks it.

    Args:
        config: The config before the options are merged.
        options: The options by dotted key.
    """
    return [fault for key in options if (fault := _check_key(config, key.split('.'), key))]


def find_value(config: Mapping, key: str) -> Any:
    """Find the value of a dotted key; None if there is none."""
    node: Any = config
    for name in key.split('.'):
        node = _descend(node or {}, name)
    return node


def _check_key(config: Mapping, names: list[str], key: str) -> str:
    if names[0] in config and names[0] not in RUN_KEYS:
        return (
            f'--cfg-options {key}: {names[0]} is a variable of the config file, and what was '
            'computed from it would not change; set the options where it is used, or write a '
            'config.'
        )
    node: Any = config
    for depth, name in enumerate(names):
        known = _known_names(node, names[:depth])
        if known is not None and name not in known:
            return _describe(key, '.'.join(names[: depth + 1]), known)
        if known is None and name not in (node or {}):
            return ''
        node = _descend(node, name)
    return ''


def _known_names(node: Any, path: list[str]) -> Iterable[str] | None:
    """List the allowed next names; None if all are."""
    if node is None:
        return None
    if isinstance(node, (list, tuple)):
        return [str(index) for index in range(len(node))]
    if not isinstance(node, MAPPINGS):
        return []
    if not path:
        return {*node, *RUN_KEYS}
    if 'type' in node or path[-1] in FREE_PARTS:
        return None
    if len(path) == 1 and path[0].endswith('_dataloader'):
        return {*node, *LOADER_KEYS}
    return [*node]


def _descend(node: Any, name: str) -> Any:
    if isinstance(node, (list, tuple)):
        return node[int(name)]
    return node.get(name)


def _describe(key: str, missing: str, known: Iterable[str]) -> str:
    *parent, name = missing.split('.')
    similar = get_close_matches(name, known, n=1)
    hint = f'did you mean {".".join([*parent, *similar])}?' if similar else 'nothing would read it.'
    return f'--cfg-options {key}: the config has no {missing}; {hint}'
