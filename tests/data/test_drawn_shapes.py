import json

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from mmdet_detnet.data.drawn_shapes import MAX_SIZE, MIN_SIZE, generate_shapes


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    return generate_shapes(tmp_path_factory.mktemp('shapes') / 'set', num_train=30, num_val=10)


def files_of(root):
    return {file.relative_to(root): file.read_bytes() for file in root.rglob('*.*')}


def test_same_seed_gives_the_same_bytes(tmp_path):
    first = generate_shapes(tmp_path / 'first', num_train=3, num_val=2, seed=7)
    second = generate_shapes(tmp_path / 'second', num_train=3, num_val=2, seed=7)
    assert files_of(first) == files_of(second)
    assert len(files_of(first)) == 3 + 2 + 2


def test_seeds_and_splits_give_different_images(tmp_path, root):
    other = generate_shapes(tmp_path / 'other', num_train=1, num_val=1, seed=1)
    images = [root / 'train/000000.png', root / 'val/000000.png', other / 'train/000000.png']
    assert len({image.read_bytes() for image in images}) == 3


def test_larger_set_begins_with_the_smaller_one(tmp_path, root):
    small = generate_shapes(tmp_path / 'small', num_train=3, num_val=1)
    for index in range(3):
        name = f'train/{index:06d}.png'
        assert (small / name).read_bytes() == (root / name).read_bytes()


def test_boxes_and_areas_are_those_of_the_masks(root):
    coco = COCO(root / 'annotations/train.json')
    assert len(coco.imgs) == len({each['image_id'] for each in coco.anns.values()}) == 30
    assert {each['name'] for each in coco.cats.values()} == {'circle', 'square', 'triangle'}
    assert {each['category_id'] for each in coco.anns.values()} == {1, 2, 3}
    for annotation in coco.anns.values():
        rows, columns = np.nonzero(coco.annToMask(annotation))
        left, top, width, height = annotation['bbox']
        assert (left, top) == (columns.min(), rows.min())
        assert (left + width, top + height) == (columns.max() + 1, rows.max() + 1)
        assert annotation['area'] == len(rows)


def test_masks_cover_pixels_of_one_color_and_not_each_other(root):
    coco = COCO(root / 'annotations/train.json')
    for image_id, image_info in coco.imgs.items():
        image = cv2.imread(str(root / 'train' / image_info['file_name']))
        masks = [coco.annToMask(a).astype(bool) for a in coco.imgToAnns[image_id]]
        assert sum(masks).max() == 1
        for mask in masks:
            # The pixel noise has a standard deviation of 12; background pixels would add to it.
            assert image[mask].std(axis=0).max() < 16


def test_sizes_are_in_range(root):
    for split in ('train', 'val'):
        data = json.loads((root / f'annotations/{split}.json').read_text())
        sizes = np.array([annotation['bbox'][2:] for annotation in data['annotations']])
        assert sizes.min() >= MIN_SIZE == 12
        assert sizes.max() <= MAX_SIZE == 72


def test_complete_set_is_reused(tmp_path):
    root = generate_shapes(tmp_path / 'set', num_train=1, num_val=1)
    written = (root / 'annotations/train.json').stat().st_mtime_ns
    assert generate_shapes(root, num_train=1, num_val=1) == root
    assert (root / 'annotations/train.json').stat().st_mtime_ns == written


def test_other_parameters_are_refused(tmp_path):
    root = generate_shapes(tmp_path / 'set', num_train=1, num_val=1, seed=0)
    with pytest.raises(FileExistsError, match="wanted .*'seed': 1"):
        generate_shapes(root, num_train=1, num_val=1, seed=1)


def test_incomplete_set_is_refused(tmp_path):
    root = generate_shapes(tmp_path / 'set', num_train=2, num_val=1)
    (root / 'train/000001.png').unlink()
    with pytest.raises(FileExistsError, match='with 1 images'):
        generate_shapes(root, num_train=2, num_val=1)


def test_foreign_folder_is_refused(tmp_path):
    (tmp_path / 'holiday.jpg').touch()
    with pytest.raises(FileExistsError, match='train split is missing'):
        generate_shapes(tmp_path)


def test_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr('mmdet_detnet.data.drawn_shapes.cv2.imwrite', lambda *_: False)
    with pytest.raises(OSError, match='Cannot write'):
        generate_shapes(tmp_path / 'set')
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('arguments', [{'num_train': 0}, {'num_val': 0}, {'seed': -1}])
def test_bad_number_is_named(tmp_path, arguments):
    ((name, value),) = arguments.items()
    with pytest.raises(ValueError, match=f'{name}={value}'):
        generate_shapes(tmp_path / 'set', **arguments)
