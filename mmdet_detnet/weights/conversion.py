"""Renaming foreign weights tensor by tensor, with nothing left over on either side."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmdet_detnet.models.backbones.weight_report import WeightReport

# Enough of a long list of keys to see what kind of file it is.
KEYS_SHOWN = 6


@dataclass(frozen=True)
class Counterpart:
    """What becomes of one tensor of a foreign file.

    Attributes:
        own: Its key in the network here; None if the tensor is not used.
        shape: The shape that it has in the foreign file; None if any will do.
        rearrange: How its values are put into our order; None if they are in it already.
        optional: Whether the file may lack it.
    """

    own: str | None
    shape: tuple[int, ...] | None
    rearrange: Callable[[Tensor], Tensor] | None = None
    optional: bool = False


Layout = Mapping[str, Counterpart]


@dataclass(frozen=True)
class WeightSource:
    """One kind of foreign file.

    Attributes:
        title: What the file is, as a noun phrase.
        usage: What a config needs for the weights to mean what they meant there.
        recognizes: Tells from the keys of a state dict whether it is of this kind.
        make_layout: Lists every tensor that such a state dict has, by its foreign key. Raises
            ValueError if not even the size of the network can be read from the state dict.
        container: Key under which a training's checkpoint holds the state dict, if the kind has
            such checkpoints.
    """

    title: str
    usage: str
    recognizes: Callable[[Mapping[str, Tensor]], bool]
    make_layout: Callable[[Mapping[str, Tensor]], Layout]
    container: str | None = None

    def unwrap(self, content: Mapping) -> Mapping[str, Tensor]:
        """Take the state dict out of a training's checkpoint.

        Args:
            content: What the file holds: a state dict, bare or in its container.

        Returns:
            The state dict.
        """
        inner = content.get(self.container) if self.container else None
        return inner if isinstance(inner, Mapping) else content


@dataclass(frozen=True)
class Conversion:
    """Converted weights and how they came about.

    Attributes:
        weights: The converted state dict.
        report: What happened to every tensor.
        lines: The same tensor by tensor, with both names and shapes.
        usage: What a config needs for the weights to mean what they meant where they come from.
    """

    weights: dict[str, Tensor]
    report: WeightReport
    lines: list[str]
    usage: str


def convert_state(state: Mapping[str, Tensor], source: WeightSource) -> Conversion:
    """Rename, rearrange and drop tensors; refuse a state dict that is not exactly as expected.

    Args:
        state: The foreign state dict.
        source: What kind it is of.

    Returns:
        The converted weights.

    Raises:
        ValueError: If there is a key that the file should not have, one that it lacks, or a
            tensor of another shape; every such key is named, up to a few of each kind.
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
    """List the shape of every tensor of a network's state dict, without making the tensors.

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
    # torch counts batches since 0.4.1; some published files are older.
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
