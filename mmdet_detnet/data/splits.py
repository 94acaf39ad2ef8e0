"""Splits for training, validation and test: from the dataset or random; kept in a file."""

import csv
import random
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from .records import SPLITS, LabeledImage

SHARES = {'train': 0.70, 'val': 0.15, 'test': 0.15}
HEADER = ('image', 'split')

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
            without groups) stay together. None for no grouping.

    Returns:
        The split of each image, missing for images outside the dataset's own splits, and words for
        where it is from.

    Raises:
        ValueError: If the expression does not match an image, or there are too few images.
    """
    own = {image.path: image.split for image in images if image.split}
    present = set(own.values())
    shares = f'{SHARES["train"]:.0%}, {SHARES["val"]:.0%} and {SHARES["test"]:.0%}'
    if present >= {'train', 'val'}:
        words = "the dataset's own"
    elif present >= {'train', 'test'}:
        part = [image for image in images if image.split == 'train']
        own.update(_draw(part, folder, seed, group_by, {**SHARES, 'test': 0}))
        words = f"the dataset's own, and validation drawn from training (seed {seed})"
    else:
        own = _draw(images, folder, seed, group_by, SHARES)
        words = f'drawn: {shares} of the images (seed {seed})'
    for split in SPLITS[:2]:
        if split not in own.values():
            raise ValueError(f'{len(images)} images are too few: none are left for {split}.')
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
        groups[_group_name(name, group_by)].append(image)
    counts = [
        Counter(box.label for each in group for box in each.boxes) for group in groups.values()
    ]
    drawn = draw_stratified(counts, [len(group) for group in groups.values()], shares, seed)
    pairs = zip(groups.values(), drawn, strict=True)
    return {image.path: split for group, split in pairs for image in group}


def _group_name(name: str, group_by: str | None) -> str:
    if group_by is None:
        return name
    try:
        match = re.search(group_by, name)
    except re.error as error:
        raise ValueError(
            f'--group-by {group_by!r} is not a regular expression: {error}.'
        ) from error
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
        shares: Fraction of each split, relative to their sum, which is at most 1.
        seed: Seed of the order.

    Returns:
        The split of each group.
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
    lacking = {
        split: {
            '': sum(sizes) * share / whole,
            **{label: number * share / whole for label, number in total.items()},
        }
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
    """Read the splits written by an earlier call.

    Raises:
        ValueError: If an image is missing in the file, or a split is unknown.
    """
    with file.open(newline='', encoding='utf-8', errors='surrogateescape') as stream:
        known = {row['image']: row['split'] for row in csv.DictReader(stream)}
    wrong = {split for split in known.values() if split not in ('', *SPLITS)}
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
        table.writerow(HEADER)
        for image in images:
            name = image.path.relative_to(folder).as_posix()
            table.writerow((name, split.get(image.path, '')))


def apply_splits(images: Sequence[LabeledImage], split: Split) -> list[LabeledImage]:
    """Set the split of each image; drop images without one."""
    return [replace(each, split=split[each.path]) for each in images if each.path in split]
