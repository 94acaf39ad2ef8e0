"""Checkpoints of another detector."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from mmdet_detnet.config import raise_problems

NUM_EXAMPLES = 3
# State that is not learned; older files lack some of it.
NOT_LEARNED = ('num_batches_tracked', 'mean', 'std')


def find_weight_faults(model: nn.Module, state: Mapping[str, Tensor], source: str) -> list[str]:
    """Compare a model's weights with a checkpoint's, by name and shape.

    Args:
        model: The model, not wrapped.
        state: Weights of the checkpoint.
        source: Name of the checkpoint.

    Returns:
        At most three sentences: on different shapes, missing keys and surplus keys.
    """
    own = {key: value.shape for key, value in model.state_dict().items()}
    loaded = {
        str(key).removeprefix('module.'): value.shape
        for key, value in state.items()
        if isinstance(value, Tensor)
    }
    other = [
        f'{key} {tuple(loaded[key])} instead of {tuple(shape)}'
        for key, shape in own.items()
        if key in loaded and loaded[key] != shape
    ]
    return [
        *_describe(f'{source} has other shapes than the config', other),
        *_describe(f'{source} lacks weights of the config', _learned(own.keys() - loaded.keys())),
        *_describe(f'{source} has weights besides', _learned(loaded.keys() - own.keys())),
    ]


def check_checkpoint(model: nn.Module, checkpoint: str | Path) -> None:
    """Reject the checkpoint file of another model.

    Args:
        model: The model, not wrapped.
        checkpoint: Checkpoint file.

    Raises:
        ValueError: If keys or shapes differ.
    """
    content = CheckpointLoader.load_checkpoint(str(checkpoint), 'cpu')
    state = content.get('state_dict', content)
    state = state if isinstance(state, Mapping) else {}
    raise_problems(find_weight_faults(model, state, str(checkpoint)))


def _learned(keys: set[str]) -> list[str]:
    return sorted(key for key in keys if key.rpartition('.')[2] not in NOT_LEARNED)


def _describe(what: str, keys: Sequence[str]) -> list[str]:
    if not keys:
        return []
    more = f' and {len(keys) - NUM_EXAMPLES} more' if len(keys) > NUM_EXAMPLES else ''
    return [f'{what}: {", ".join(keys[:NUM_EXAMPLES])}{more}.']
