"""Rename third-party weights tensor by tensor, with none left over on either side."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmdet_detnet.models.resnet import WeightReport

# Number of keys shown, enough to recognize the kind of file.
KEYS_SHOWN = 6


@dataclass(frozen=True)
class Counterpart:
    """Conversion of one tensor of a third-party file.

    Attributes:
        own: Its key in our network; None if the tensor is not used.
        shape: Its shape in the file; None for any.
        rearrange: Converts its values to our order; None to keep them.
        optional: Whether the file may omit it.
    """

    own: str | None
    shape: tuple[int, ...] | None
    rearrange: Callable[[Tensor], Tensor] | None = None
    optional: bool = False


Layout = Mapping[str, Counterpart]


@dataclass(frozen=True)
class WeightSource:
    """One kind of third-party file.

    Attributes:
        title: Description of the file, as a noun phrase.
        usage: Settings that a config needs to reproduce the original model.
        recognizes: Tells whether a state dict is of this kind, from its keys.
        make_layout: Lists all tensors of such a state dict by their original key. Raises ValueError
            if the size of the network cannot be determined.
        container: Key of the state dict in a training checkpoint, if there are such checkpoints.
    """

    title: str
    usage: str
    recognizes: Callable[[Mapping[str, Tensor]], bool]
    make_layout: Callable[[Mapping[str, Tensor]], Layout]
    container: str | None = None

    def unwrap(self, content: Mapping) -> Mapping[str, Tensor]:
        """Extract the state dict of a training checkpoint.

        Args:
            content: Content of the file: a state dict, bare or in its container.

        Returns:
            The state dict.
        """
        inner = content.get(self.container) if self.container else None
        return inner if isinstance(inner, Mapping) else content


@dataclass(frozen=True)
class Conversion:
    """Converted weights, with a report.

    Attributes:
        weights: The converted state dict.
        report: What happened to each tensor.
        lines: The same per tensor, with both names and shapes.
        usage: Settings that a config needs to reproduce the original model.
    """

    weights: dict[str, Tensor]
    report: WeightReport
    lines: list[str]
    usage: str


def convert_state(state: Mapping[str, Tensor], source: WeightSource) -> Conversion:
    """Rename, rearrange and drop tensors; reject a state dict that is not exactly as expected.

    Args:
        state: The original state dict.
        source: The kind of file.

    Returns:
        The converted weights.

    Raises:
        ValueError: If keys are unexpected or missing, or shapes differ; names a few keys of each
            kind.
    """
    layout = source.make_layout(state)
    _refuse_surprises(state, layout, source.title)
    weights, lines = {}, []
    for key, counterpart in layout.items():
        if key not in state:
            continue
        line = f'{key} {tuple(state[key].shape)}'
        if counterpart.own is None:
            lines.append(f'{line} not used')
            continue
        value = state[key] if counterpart.rearrange is None else counterpart.rearrange(state[key])
        weights[counterpart.own] = value
        lines.append(f'{line} -> {counterpart.own} {tuple(value.shape)}')
    report = WeightReport(
        source.title,
        loaded=list(weights),
        initialized=[c.own for c in layout.values() if c.own is not None and c.own not in weights],
        dropped=[key for key, c in layout.items() if c.own is None and key in state],
    )
    return Conversion(weights, report, lines, source.usage)


def shapes_of(build: Callable[[], nn.Module]) -> dict[str, tuple[int, ...]]:
    """List the shapes of a network's state dict without creating the tensors.

    Args:
        build: Builds the network.

    Returns:
        The shapes, by key.
    """
    with torch.device('meta'):
        state = build().state_dict()
    return {key: tuple(value.shape) for key, value in state.items()}


def first_dimension(state: Mapping[str, Tensor], key: str) -> int:
    """Read the number of outputs of a layer.

    Args:
        state: A state dict.
        key: Key of the layer's weight.

    Returns:
        The length of its first dimension.

    Raises:
        ValueError: If there is no such tensor, or it has no dimension.
    """
    shape = getattr(state.get(key), 'shape', ())
    if not shape:
        raise ValueError(f'the file has no tensor {key}.')
    return shape[0]


def _refuse_surprises(state: Mapping[str, Tensor], layout: Layout, title: str) -> None:
    unknown = [key for key in state if key not in layout]
    # torch has counted batches since 0.4.1; some published files are older.
    absent = [
        key
        for key, counterpart in layout.items()
        if key not in state and not counterpart.optional and not key.endswith('num_batches_tracked')
    ]
    differing = [
        f'{key} {_shape_text(state[key])} instead of {counterpart.shape}'
        for key, counterpart in layout.items()
        if key in state and not _fits(state[key], counterpart)
    ]
    problems = [
        f'{name}: {", ".join(keys[:KEYS_SHOWN])}{_more(keys)}'
        for name, keys in (('unknown', unknown), ('missing', absent), ('shape', differing))
        if keys
    ]
    if problems:
        raise ValueError(f'this is not {title}. {"; ".join(problems)}.')


def _fits(value: object, counterpart: Counterpart) -> bool:
    if not isinstance(value, Tensor):
        return False
    return counterpart.shape is None or tuple(value.shape) == counterpart.shape


def _shape_text(value: object) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__


def _more(keys: list[str]) -> str:
    return f' and {len(keys) - KEYS_SHOWN} more' if len(keys) > KEYS_SHOWN else ''
