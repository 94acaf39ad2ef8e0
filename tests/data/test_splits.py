"""Splits: the dataset's own, drawn with the classes balanced, and kept in a file."""

from collections import Counter
from pathlib import Path

import pytest

from mmdet_detnet.data.records import LabeledBox, LabeledImage
from mmdet_detnet.data.splits import (
    SHARES,
    choose_splits,
    draw_stratified,
    read_splits,
    write_splits,
)

ROOT = Path('/data')


def make_image(name, split=''):
    return LabeledImage(ROOT / name, [LabeledBox('cat', (0, 0, 9, 9))], split=split)


def make_images(number, split=''):
    return [make_image(f'{index}.png', split) for index in range(number)]


def count(splits):
    return dict(Counter(splits.values()))


@pytest.mark.parametrize('seed', [0, 1, 2])
def test_a_rare_class_is_in_each_split(seed):
    counts = [Counter(cat=3, panda=int(number < 20)) for number in range(200)]
    drawn = draw_stratified(counts, [1] * 200, SHARES, seed=seed)
    pandas = Counter(split for split, each in zip(drawn, counts, strict=True) if each['panda'])
    assert pandas == {'train': 14, 'val': 3, 'test': 3}
    assert Counter(drawn) == {'train': 140, 'val': 30, 'test': 30}


def test_seed_decides():
    first, again, other = (choose_splits(make_images(40), ROOT, seed)[0] for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert count(first) == count(other) == {'train': 28, 'val': 6, 'test': 6}


def test_images_of_a_group_stay_together():
    images = [make_image(f'video{number % 10}_{number}.png') for number in range(100)]
    splits, _ = choose_splits(images, ROOT, group_by=r'video(\d)')
    groups = {(path.stem.split('_')[0], split) for path, split in splits.items()}
    assert len(groups) == 10
    assert count(splits) == {'train': 70, 'val': 20, 'test': 10}


@pytest.mark.parametrize(
    ('pattern', 'message'),
    [
        ('(', 'is invalid: missing'),
        ('cow', 'does not match the image 0'),
        (None, '1 images are too few: none is left for val'),
    ],
)
def test_wrong_pattern_or_too_few_images_are_an_error(pattern, message):
    with pytest.raises(ValueError, match=message):
        choose_splits([make_image('0.png')], ROOT, group_by=pattern)


def test_own_splits_are_used_and_leave_nothing_to_group():
    images = [make_image('0.png', 'train'), make_image('1.png', 'val'), make_image('2.png')]
    splits, words = choose_splits(images, ROOT)
    assert splits == {ROOT / '0.png': 'train', ROOT / '1.png': 'val'}
    assert words == "the dataset's own"
    with pytest.raises(ValueError, match='--group-by .* has its own training and validation'):
        choose_splits(images, ROOT, group_by='(.)')


def test_missing_splits_are_drawn_from_training():
    images = [*make_images(17, 'train'), make_image('x.png', 'test')]
    splits, words = choose_splits(images, ROOT)
    assert count(splits) == {'train': 14, 'val': 3, 'test': 1}
    assert splits[ROOT / 'x.png'] == 'test'
    assert 'validation drawn from training' in words
    splits, words = choose_splits([*make_images(17), make_image('x.png', 'test')], ROOT)
    assert count(splits) == {'train': 14, 'val': 3, 'test': 1}
    assert 'validation drawn from training' in words
    splits, _ = choose_splits(make_images(20, 'train'), ROOT)
    assert count(splits) == {'train': 14, 'val': 3, 'test': 3}


def test_splits_are_read_as_they_were_written(tmp_path):
    images = [make_image('a b.png'), make_image('c,d.png'), make_image('e.png')]
    splits = {ROOT / 'a b.png': 'train', ROOT / 'c,d.png': 'val'}
    write_splits(tmp_path / 'splits.csv', images, splits, ROOT)
    assert read_splits(tmp_path / 'splits.csv', images, ROOT) == splits


@pytest.mark.parametrize(
    ('row', 'message'), [('a.png,train', r'new\.png.*--resplit'), ('new.png,holdout', "'holdout'")]
)
def test_new_image_or_unknown_split_is_an_error(tmp_path, row, message):
    (tmp_path / 'splits.csv').write_text(f'image,split\n{row}\n')
    with pytest.raises(ValueError, match=message):
        read_splits(tmp_path / 'splits.csv', [make_image('new.png')], ROOT)
