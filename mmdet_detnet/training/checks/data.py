"""Data sets of a config whose classes differ."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from .faults import fault
from .walk import part

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def find_data_faults(config: Mapping) -> list[str]:
    """Check the class names of each data set, and that all data sets share them."""
    classes = {
        f'{loader}.dataset.metainfo.classes': names
        for loader in LOADERS
        if (names := _read_classes(part(config, loader, 'dataset'))) is not None
    }
    faults = [
        fault(place, names, "unique class names, ('name', ...)")
        for place, names in classes.items()
        if not _are_names(names)
    ]
    return faults or _compare(classes)


def innermost_dataset(dataset: Mapping) -> Mapping:
    """Unwrap data sets that repeat, join or mix others; the first of several counts.

    Args:
        dataset: Config of a data set.

    Returns:
        Config of the data set that reads annotations.
    """
    while dataset.get('dataset') or dataset.get('datasets'):
        dataset = dataset.get('dataset') or dataset['datasets'][0]
    return dataset


def _read_classes(dataset: Mapping) -> Any:
    return part(innermost_dataset(dataset), 'metainfo').get('classes')


def _are_names(names: object) -> bool:
    if not isinstance(names, Sequence) or isinstance(names, str) or not names:
        return False
    return all(isinstance(name, str) for name in names) and max(Counter(names).values()) == 1


def _compare(classes: Mapping[str, Sequence[str]]) -> list[str]:
    (first_place, first), *others = [*classes.items()] or [('', ())]
    return [
        fault(place, list(names), f'those of {first_place}, {list(first)}')
        for place, names in others
        if list(names) != list(first)
    ]
