"""What only a config shows: classes that differ, and weights that it expects but does not get."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmdet_detnet.config import MAPPINGS

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
PRETRAINED = ('Pretrained', 'PretrainedInit')


def problem(place: str, value: object, allowed: str) -> str:
    """Describe in one sentence what is wrong at a dotted path of a config or model."""
    return f'{place} must be {allowed}, got {value!r}.'


def find_config_problems(config: Mapping) -> list[str]:
    """Check a config before anything is built from it."""
    return [*_check_classes(config), *_check_pretrained(config)]


def find_random_frozen_stages(config: Mapping) -> list[str]:
    """Find backbone stages that would be frozen at random weights; at most one sentence."""
    backbone = part(config, 'model', 'backbone')
    frozen = backbone.get('frozen_stages', -1)
    if not isinstance(frozen, int) or frozen < 0 or backbone.get('pretrained'):
        return []
    if any(config.get(name) for name in ('load_from', 'resume')):
        return []
    if any(_builds_pretrained(options) for _, options in _walk(part(config, 'model'), 'model')):
        return []
    allowed = '-1 unless init_cfg or load_from names the weights to freeze'
    return [problem('model.backbone.frozen_stages', frozen, allowed)]


def innermost_dataset(dataset: Mapping) -> Mapping:
    """Find, in the config of a dataset that repeats, joins or mixes others, the first of these."""
    while dataset.get('dataset') or dataset.get('datasets'):
        dataset = dataset.get('dataset') or dataset['datasets'][0]
    return dataset


def part(config: object, *names: str) -> Mapping:
    """Get a part of a config; empty if there is none or it is already built."""
    for name in names:
        config = config.get(name) if isinstance(config, MAPPINGS) else None
    return config if isinstance(config, Mapping) else {}


def _check_classes(config: Mapping) -> list[str]:
    """Check the class names of each dataset, and that all datasets share them."""
    classes: dict[str, Any] = {}
    for loader in LOADERS:
        dataset = innermost_dataset(part(config, loader, 'dataset'))
        names = part(dataset, 'metainfo').get('classes')
        if names is not None:
            classes[f'{loader}.dataset.metainfo.classes'] = names
    problems = [
        problem(place, names, "unique class names, ('name', ...)")
        for place, names in classes.items()
        if not _are_names(names)
    ]
    if problems or not classes:
        return problems
    (first_place, first), *others = classes.items()
    return [
        problem(place, list(names), f'those of {first_place}, {list(first)}')
        for place, names in others
        if list(names) != list(first)
    ]


def _are_names(names: object) -> bool:
    if not isinstance(names, Sequence) or isinstance(names, str) or not names:
        return False
    return all(isinstance(name, str) for name in names) and max(Counter(names).values()) == 1


def _check_pretrained(config: Mapping) -> list[str]:
    """Find ``Pretrained`` without a checkpoint, which would start from random weights."""
    return [
        problem(f'{path}.checkpoint', options.get('checkpoint'), 'a path or URL of weights')
        for path, options in _walk(part(config, 'model'), 'model')
        if _builds_pretrained(options)
        and not (isinstance(options.get('checkpoint'), str) and options['checkpoint'])
    ]


def _builds_pretrained(options: Mapping) -> bool:
    kind = options.get('type', '')
    name = kind if isinstance(kind, str) else getattr(kind, '__name__', '')
    return name.split('.')[-1] in PRETRAINED


def _walk(value: object, path: str) -> Iterator[tuple[str, Mapping]]:
    """List the dictionaries of a config with their dotted paths, outer ones first."""
    if isinstance(value, Mapping):
        yield path, value
        for key, each in value.items():
            yield from _walk(each, f'{path}.{key}')
    elif isinstance(value, (list, tuple)):
        for index, each in enumerate(value):
            yield from _walk(each, f'{path}.{index}')
