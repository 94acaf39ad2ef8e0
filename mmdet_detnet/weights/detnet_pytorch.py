"""The ImageNet weights of guoruoqian/DetNet_pytorch, ``detnet59.pth``.

That file is a bare state dict, written by a torch older than 0.4, of a network whose layers are
ours but for two names: the projection shortcuts of the new stages are called ``extra_conv``, and a
classifier ``fc`` follows the backbone. It expects RGB images normalised by ImageNet's mean and
standard deviation, and the stride in the 3x3 convolutions (``style='pytorch'``).
"""

from collections.abc import Mapping

from torch import Tensor

from .report import WeightReport

SOURCE_NAME = 'guoruoqian/DetNet_pytorch'
FOREIGN_SHORTCUT = '.extra_conv.'
OWN_SHORTCUT = '.downsample.'
PROJECTED_BLOCKS = ('layer4.0', 'layer5.0')
CLASSIFIER_SHAPES = {'fc.weight': (1000, 1024), 'fc.bias': (1000,)}
# Enough of a long list of keys to see what kind of file it is.
KEYS_SHOWN = 6


def is_detnet_pytorch(state: Mapping[str, Tensor]) -> bool:
    """Tell whether a state dict has that repository's names of the projection shortcuts.

    Args:
        state: A state dict.

    Returns:
        True if it has.
    """
    return any(FOREIGN_SHORTCUT in key for key in state)


def convert_detnet_pytorch(
    state: Mapping[str, Tensor], own_shapes: Mapping[str, tuple[int, ...]]
) -> tuple[dict[str, Tensor], WeightReport]:
    """Rename the weights to those of :class:`mmdet_detnet.models.DetNet` of depth 59.

    Args:
        state: The content of ``detnet59.pth``.
        own_shapes: Shape of every tensor of ``DetNet(depth=59).state_dict()``, by key.

    Returns:
        The renamed state dict, without the classifier, and what happened to every tensor.

    Raises:
        ValueError: If there is a key that the file should not have, one that it lacks, or a
            tensor of another shape; every such key is named, up to a few of each kind.
    """
    expected = {_foreign_name(key): shape for key, shape in own_shapes.items()}
    expected.update(CLASSIFIER_SHAPES)
    _refuse_surprises(state, expected)
    converted = {
        key: state[_foreign_name(key)] for key in own_shapes if _foreign_name(key) in state
    }
    report = WeightReport(
        f'{SOURCE_NAME} detnet59.pth',
        loaded=list(converted),
        initialised=[key for key in own_shapes if key not in converted],
        dropped=list(CLASSIFIER_SHAPES),
    )
    return converted, report


def _foreign_name(key: str) -> str:
    if key.startswith(PROJECTED_BLOCKS):
        return key.replace(OWN_SHORTCUT, FOREIGN_SHORTCUT)
    return key


def _refuse_surprises(state: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]]) -> None:
    unknown = [key for key in state if key not in expected]
    # torch counts batches since 0.4.1; the published file is older.
    absent = [
        key for key in expected if key not in state and not key.endswith('num_batches_tracked')
    ]
    differing = [
        f'{key} {tuple(state[key].shape)} instead of {tuple(shape)}'
        for key, shape in expected.items()
        if key in state and tuple(getattr(state[key], 'shape', ())) != tuple(shape)
    ]
    problems = [
        f'{title}: {", ".join(keys[:KEYS_SHOWN])}{_more(keys)}'
        for title, keys in (('unknown', unknown), ('missing', absent), ('shape', differing))
        if keys
    ]
    if problems:
        raise ValueError(
            f'this is not the detnet59.pth of {SOURCE_NAME} (a state dict of the ImageNet '
            f'classifier). {"; ".join(problems)}.'
        )


def _more(keys: list[str]) -> str:
    return f' and {len(keys) - KEYS_SHOWN} more' if len(keys) > KEYS_SHOWN else ''
