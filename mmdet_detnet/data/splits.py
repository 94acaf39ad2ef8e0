"""Splits for training, validation and test: from the dataset or random; kept in a file."""

import csv
import random
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from .records import SPLITS, LabeledImage

SHARES = {'train': 0.70, 'val': 0.15, 'test': 0.15}

Split = dict[Path, str]


def choose_splits(
    images: Sequence[LabeledImage], folder: Path, seed: int = 0, group_by: str | None = None
) -> tuple[Split, str]:
    """Use the dataset's own splits, and draw missing ones at random.

    Args:
        images: The images.
        folder: Folder that names for ``group_by`` are relative to.
        seed: Seed of the random splits.
        group_by: Regular expression; images whose names have the same first group (or whole match,
            without groups) stay together.

    Returns:
        The split of each image, except those outside the dataset's own, and where it is from.

    Raises:
        ValueError: If the expression does not match an image, nothing is drawn for it to apply to,
            or there are too few images.
    """
    named = {image.split for image in images} - {''}
    # Images next to a folder of test or validation images are for training.
    other = 'train' if named and 'train' not in named else ''
    own = {image.path: split for image in images if (split := image.split or other)}
    present = set(own.values())
    if present >= {'train', 'val'}:
        if group_by is not None:
            raise ValueError(
                f'--group-by {group_by!r} applies to splits drawn at random, but the dataset has '
                'its own training and validation images.'
            )
        words = "the dataset's own"
    elif present >= {'train', 'test'}:
        part = [image for image in images if own.get(image.path) == 'train']
        own |= _draw(part, folder, seed, group_by, {**SHARES, 'test': 0})
        words = f"the dataset's own, and validation drawn from training (seed {seed})"
    else:
        own = _draw(images, folder, seed, group_by, SHARES)
        shares = f'{SHARES["train"]:.0%}, {SHARES["val"]:.0%} and {SHARES["test"]:.0%}'
        words = f'drawn: {shares} of the images (seed {seed})'
    for split in ('train', 'val'):
        if split not in own.values():
            groups = '' if group_by is None else f' in the groups of --group-by {group_by!r}'
            raise ValueError(f'{len(images)} images{groups} are too few: none is left for {split}.')
    return own, words


def _draw(
    images: Sequence[LabeledImage],
    folder: Path,
    seed: int,
    group_by: str | None,
    shares: dict[str, float],
) -> Split:
    groups: dict[str, list[LabeledImage]] = defaultdict(list)
    for image in images:
        name = image.path.relative_to(folder).as_posix()
        groups[name if group_by is None else _match_group(name, group_by)].append(image)
    counts = [
        Counter(box.label for each in group for box in each.boxes) for group in groups.values()
    ]
    drawn = draw_stratified(counts, [*map(len, groups.values())], shares, seed)
    pairs = zip(groups.values(), drawn, strict=True)
    return {image.path: split for group, split in pairs for image in group}


def _match_group(name: str, group_by: str) -> str:
    try:
        match = re.search(group_by, name)
    except re.error as error:
        raise ValueError(f'--group-by {group_by!r} is invalid: {error}.') from error
    if match is None:
        raise ValueError(f'--group-by {group_by!r} does not match the image {name}.')
    return match[1] if match.re.groups else match[0]


def draw_stratified(
    counts: Sequence[Counter[str]], sizes: Sequence[int], shares: dict[str, float], seed: int
) -> list[str]:
    """Split groups so that each class is divided by the given fractions as far as possible.

    Iterative stratification (Sechidis et al., 2011): starting with the rarest class, assign each of
    its groups to the split that lacks most of it.

    Args:
        counts: Boxes per class for each group.
        sizes: Number of images of each group.
        shares: Fraction of each split, relative to their sum.
        seed: Seed of the order.
    """
    whole = sum(shares.values())
    total: Counter[str] = Counter()
    groups_of = defaultdict(list)
    order = list(range(len(counts)))
    random.Random(seed).shuffle(order)
    for group in order:
        total.update(counts[group])
        for label in ('', *+counts[group]):  # those with boxes
            groups_of[label].append(group)
    wanted = {'': sum(sizes), **total}
    lacking = {
        split: {label: number * share / whole for label, number in wanted.items()}
        for split, share in shares.items()
        if share
    }
    drawn: dict[int, str] = {}
    for label in [*sorted(total, key=lambda each: (total[each], each)), '']:
        # Large groups first, so that small ones can even out the rest.
        of_label = [group for group in groups_of[label] if group not in drawn]
        for group in sorted(of_label, key=lambda g: -sizes[g]):
            split = max(lacking, key=lambda part: (lacking[part][label], lacking[part]['']))
            drawn[group] = split
            lacking[split][''] -= sizes[group]
            for name, number in counts[group].items():
                lacking[split][name] -= number
    return [drawn[group] for group in range(len(counts))]


def read_splits(file: Path, images: Sequence[LabeledImage], folder: Path) -> Split:
    """Read the splits of an earlier call; raise ValueError for a missing image or unknown split."""
    with file.open(newline='', encoding='utf-8', errors='surrogateescape') as stream:
        known = {row['image']: row['split'] for row in csv.DictReader(stream)}
    wrong = {*known.values()} - {'', *SPLITS}
    if wrong:
        raise ValueError(f'{file} has the split {sorted(wrong)[0]!r}, not one of {SPLITS}.')
    names = {image.path: image.path.relative_to(folder).as_posix() for image in images}
    new = [name for name in names.values() if name not in known]
    if new:
        raise ValueError(
            f'{len(new)} images are not in {file}, the first is {new[0]}. Add them there, or '
            'split all images again with --resplit.'
        )
    return {path: known[name] for path, name in names.items() if known[name]}


def write_splits(file: Path, images: Sequence[LabeledImage], split: Split, folder: Path) -> None:
    """Write a table with the split of each image, empty for images without one."""
    # A file name need not be valid UTF-8.
    with file.open('w', newline='', encoding='utf-8', errors='surrogateescape') as stream:
        table = csv.writer(stream)
        table.writerow(('image', 'split'))
        for image in images:
            name = image.path.relative_to(folder).as_posix()
            table.writerow((name, split.get(image.path, '')))
