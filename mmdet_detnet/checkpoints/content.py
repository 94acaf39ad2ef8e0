"""The parts of a checkpoint besides weights: plain values in the file, objects in memory."""

import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

from .stand_ins import ArrayStandIn, build_history

WEIGHTS = ('state_dict', 'ema_state_dict', 'optimizer')
HISTORY_KEYS = {'log_history', 'count_history', 'max_length'}
# What mmengine notes of the files that it removes later: their names, or steps in their names.
BEST_FILE = re.compile(r'best_.+\.\w+')
STEP = re.compile(r'\d+(_iter_\d+)?')


def make_plain(checkpoint: dict[str, Any]) -> None:
    """Replace, in place, everything that torch would not load with ``weights_only``.

    A HistoryBuffer becomes a dictionary of its arguments, with tensors for its two arrays. NumPy
    scalars become Python numbers, NumPy arrays lists, and configs dictionaries. mmengine without
    this package can also resume from such a file, except for the log history.

    Args:
        checkpoint: The checkpoint to save. Weights and optimizer state are not changed.
    """
    for key in checkpoint.keys() - set(WEIGHTS):
        checkpoint[key] = _plain(checkpoint[key])


def restore(checkpoint: dict[str, Any]) -> None:
    """Undo :func:`make_plain` for the message hub, and drop what mmengine would execute or remove.

    Works in place. mmengine's ``Runner.resume`` executes ``checkpoint['meta']['config']`` as
    Python. Since 0.2, it writes ``cfg`` instead, which it does not execute. A resumed run removes
    the files and folders that ``message_hub`` names as outdated checkpoints; only names that
    mmengine gives to checkpoints remain.

    Args:
        checkpoint: The loaded checkpoint.

    Raises:
        ValueError: If the history of a scalar is not two vectors of equal length.
    """
    for key in ('meta', 'message_hub'):
        if key in checkpoint:
            checkpoint[key] = _with_arrays(checkpoint[key], {})
    meta, hub = checkpoint.get('meta'), checkpoint.get('message_hub')
    if isinstance(meta, dict):
        meta.pop('config', None)
    if isinstance(hub, dict) and isinstance(hub.get('log_scalars'), dict):
        hub['log_scalars'] = {k: _restored(value) for k, value in hub['log_scalars'].items()}
    if isinstance(hub, dict) and isinstance(hub.get('runtime_info'), dict):
        _drop_other_files(hub['runtime_info'])


def _drop_other_files(info: dict[str, Any]) -> None:
    for key in [key for key in info if str(key).startswith('best_ckpt')]:
        name = os.path.basename(info[key]) if isinstance(info[key], str) else ''
        if not BEST_FILE.fullmatch(name):
            del info[key]
    steps = info.get('keep_ckpt_ids')
    if steps is not None:
        info['keep_ckpt_ids'] = [
            step
            for step in (steps if isinstance(steps, list) else ())
            if isinstance(step, int | str) and STEP.fullmatch(str(step))
        ]


def _plain(value: object) -> object:
    if isinstance(value, HistoryBuffer):
        log_history, count_history = (
            torch.tensor(np.asarray(part, dtype=np.float64)) for part in value.data
        )
        return dict(
            log_history=log_history, count_history=count_history, max_length=value.max_length
        )
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return (list if isinstance(value, list) else tuple)(map(_plain, value))
    return value


def _restored(value: object) -> object:
    if not isinstance(value, dict) or value.keys() != HISTORY_KEYS:
        return value
    log_history, count_history = value['log_history'], value['count_history']
    if not isinstance(log_history, torch.Tensor) or not isinstance(count_history, torch.Tensor):
        raise ValueError('a HistoryBuffer whose history is not a tensor')
    return build_history(
        log_history.cpu().numpy(), count_history.cpu().numpy(), value['max_length']
    )


def _with_arrays(value: object, done: dict[int, object]) -> object:
    """Replace stand-ins by arrays; each object once, however often the file refers to it."""
    if id(value) in done:
        return done[id(value)]
    done[id(value)] = value
    if isinstance(value, ArrayStandIn):
        done[id(value)] = value.array
    elif isinstance(value, tuple):
        done[id(value)] = tuple(_with_arrays(item, done) for item in value)
    elif isinstance(value, dict):
        for key, item in value.items():
            value[key] = _with_arrays(item, done)
    elif isinstance(value, list):
        value[:] = [_with_arrays(item, done) for item in value]
    return done[id(value)]
