import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from mmdet_detnet.data.drawn_shapes import MAX_SIZE, MIN_SIZE, generate_shapes


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    return generate_shapes(tmp_path_factory.mktemp('shapes') / 'set', num_train=30, num_val=10)


def test_images_depend_on_their_number_and_the_seed_alone(tmp_path, root):
    small = generate_shapes(tmp_path / 'small', num_train=3, num_val=1)
    for index in range(3):
        name = f'train/{index:06d}.png'
        assert (small / name).read_bytes() == (root / name).read_bytes()
    again = generate_shapes(tmp_path / 'again', num_train=3, num_val=1)
    annotations = [folder / 'annotations/train.json' for folder in (small, again)]
    assert annotations[0].read_bytes() == annotations[1].read_bytes()
    other = generate_shapes(tmp_path / 'other', num_train=1, num_val=1, seed=1)
    images = [root / 'train/000000.png', root / 'val/000000.png', other / 'train/000000.png']
    assert len({image.read_bytes() for image in images}) == 3


def test_boxes_and_areas_are_those_of_masks_of_one_color(root):
    coco = COCO(root / 'annotations/train.json')
    assert len(coco.imgs) == len({each['image_id'] for each in coco.anns.values()}) == 30
    assert {each['name'] for each in coco.cats.values()} == {'circle', 'square', 'triangle'}
    assert {each['category_id'] for each in coco.anns.values()} == {1, 2, 3}
    for image_id, image_info in coco.imgs.items():
        image = cv2.imread(str(root / 'train' / image_info['file_name']))
        annotations = coco.imgToAnns[image_id]
        masks = [coco.annToMask(each).astype(bool) for each in annotations]
        assert sum(mask.astype(int) for mask in masks).max() == 1
        for annotation, mask in zip(annotations, masks, strict=True):
            # The pixel noise has a standard deviation of 12; background pixels would add to it.
            assert image[mask].std(axis=0).max() < 16
            rows, columns = np.nonzero(mask)
            left, top, width, height = annotation['bbox']
            assert (left, top) == (columns.min(), rows.min())
            assert (left + width, top + height) == (columns.max() + 1, rows.max() + 1)
            assert annotation['area'] == len(rows)
            assert MIN_SIZE <= min(width, height) <= max(width, height) <= MAX_SIZE


def test_same_set_is_reused_and_anything_else_refused(tmp_path):
    root = generate_shapes(tmp_path / 'set', num_train=1, num_val=1)
    written = (root / 'annotations/train.json').stat().st_mtime_ns
    assert generate_shapes(root, num_train=1, num_val=1) == root
    assert (root / 'annotations/train.json').stat().st_mtime_ns == written
    with pytest.raises(FileExistsError, match="wanted .*'seed': 1"):
        generate_shapes(root, num_train=1, num_val=1, seed=1)
    with pytest.raises(FileExistsError, match='is not empty'):
        generate_shapes(tmp_path)
    (root / 'val/000000.png').unlink()
    with pytest.raises(FileExistsError, match=r'it has \[1, 0\] images'):
        generate_shapes(root, num_train=1, num_val=1)


def test_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr('mmdet_detnet.data.drawn_shapes.cv2.imwrite', lambda *_: False)
    with pytest.raises(OSError, match='Cannot write'):
        generate_shapes(tmp_path / 'set')
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(('name', 'value'), [('num_train', 0), ('num_val', 0), ('seed', -1)])
def test_bad_number_is_named(tmp_path, name, value):
    with pytest.raises(ValueError, match=f'{name}={value}'):
        generate_shapes(tmp_path / 'set', **{name: value})
