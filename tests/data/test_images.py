"""Values, headers and equal pictures of image files."""

import json

import cv2
import numpy as np
import pytest
from mmcv.transforms import Compose
from PIL import Image
from small_dataset import make_content, names

from mmdet_detnet.data.check import check_annotations, check_dataset
from mmdet_detnet.data.image_rules import ANY_DEPTH, find_shared_pictures, find_small_values
from mmdet_detnet.data.images import read_image, read_images
from mmdet_detnet.data.records import Problems
from mmdet_detnet.data.training_config import TrainingConfig


def draw_picture(seed, width=200, height=150):
    """Draw smooth shades with a few boxes, as hashes of pictures are made for."""
    rng = np.random.default_rng(seed)
    shades = rng.integers(0, 256, (4, 5, 3), np.uint8)
    picture = cv2.resize(shades, (width, height), interpolation=cv2.INTER_CUBIC)
    for left, top in rng.integers(0, 100, (6, 2)).tolist():
        color = rng.integers(0, 256, 3).tolist()
        cv2.rectangle(picture, (left, top), (left + 40, top + 30), color, thickness=-1)
    return picture


def write_values(folder, lowest, largest, dtype):
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    paths = [folder / f'{dtype}_{index}.png' for index in range(3)]
    for path in paths:
        cv2.imwrite(str(path), rng.integers(lowest, largest + 1, (80, 100), dtype))
    return paths


@pytest.mark.parametrize(
    ('lowest', 'largest', 'dtype', 'window'),
    [
        (0, 4095, 'uint16', (0, 4095)),
        (0, 1000, 'uint16', (0, 1023)),
        (0, 255, 'uint16', (0, 255)),
        (0, 15, 'uint8', (0, 15)),
        (7000, 8500, 'uint16', (7000, 8500)),  # a thermal camera
    ],
)
def test_values_in_a_small_part_of_the_range_are_scaled(tmp_path, lowest, largest, dtype, window):
    (path, *_) = paths = write_values(tmp_path / 'images', lowest, largest, dtype)
    small = find_small_values(paths)
    low, high = window
    assert (small.low, small.high) == pytest.approx(window, abs=5 if lowest else 0)
    load = dict(type='LoadImageFromFile', color_type=ANY_DEPTH)
    values = Compose([load, small.transform])({'img_path': str(path)})['img']
    assert values.shape == (80, 100, 3)
    assert (values.min(), values.max()) == pytest.approx((0, 255 * largest / high), abs=2)


@pytest.mark.parametrize(
    ('largest', 'dtype'), [(255, 'uint8'), (65535, 'uint16'), (100, 'uint8'), (0, 'uint8')]
)
def test_other_values_are_left(tmp_path, largest, dtype):
    paths = write_values(tmp_path / 'images', 0, largest, dtype)
    assert find_small_values([*paths, tmp_path / 'absent.png']) is None


def test_one_scale_does_not_fit_images_of_8_and_16_bits(tmp_path):
    paths = write_values(tmp_path / 'images', 0, 4095, 'uint16')
    paths += write_values(tmp_path / 'images', 0, 255, 'uint8')
    find_small_values(paths).report(problems := Problems())
    (problem,) = problems
    assert not problem.is_warning
    assert 'convert all to 8 bits' in problem.message


def test_12_bits_of_16_are_a_problem_unless_the_config_scales_them(content, check, tmp_path):
    for name in 'ab':
        values = np.random.default_rng(0).integers(0, 4096, (80, 100), np.uint16)
        cv2.imwrite(str(tmp_path / f'images/{name}.png'), values)
    (problem,) = check(content).problems
    assert problem.name == 'values-use-small-part'
    scaled = TrainingConfig(scales_values=True)
    assert check_annotations(tmp_path / 'data.json', scaled, tmp_path / 'images').problems == []


def find_shared(**splits):
    """Find pictures in two splits of files."""
    thumbnails = {
        split: {path: read_image(path).thumbnail for path in paths}
        for split, paths in splits.items()
    }
    return [each for problem in find_shared_pictures(thumbnails) for each in problem.examples]


@pytest.mark.parametrize('quality', [50, 95])
def test_picture_is_recognized_resized_and_encoded_again(tmp_path, quality):
    smaller = cv2.resize(draw_picture(0), (120, 90), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(tmp_path / 'b.jpg'), smaller, [cv2.IMWRITE_JPEG_QUALITY, quality])
    paths = [tmp_path / f'{number}.png' for number in range(20)]
    for number, path in enumerate(paths):
        cv2.imwrite(str(path), draw_picture(number))
    found = find_shared(train=paths[:10], test=[tmp_path / 'b.jpg', *paths[10:]])
    assert found == ['0.png (train) and b.jpg (test)']


def test_plain_pictures_are_not_the_same_but_one_file_is(tmp_path):
    paths = [tmp_path / 'train.png', tmp_path / 'test.png']
    for value, path in enumerate(paths):
        cv2.imwrite(str(path), np.full((30, 30, 3), value, np.uint8))
    assert find_shared(train=paths[:1], test=paths[1:]) == []
    assert find_shared(train=paths[:1], test=paths[:1]) != []


def test_check_compares_with_other_splits(content, tmp_path):
    """The images a and b are one picture."""
    files = [tmp_path / f'{split}.json' for split in ('train', 'test')]
    for file, number in zip(files, range(2), strict=True):
        split = make_content()
        split['images'] = split['images'][number : number + 1]
        image_id = split['images'][0]['id']
        split['annotations'] = [e for e in split['annotations'] if e['image_id'] == image_id]
        file.write_text(json.dumps(split))
    check = check_dataset(files[0], tmp_path / 'images', other_splits=files[1:])
    assert names(check) == ['picture-in-two-splits']
    assert not check.problems


def test_header_of_a_png_is_read_without_its_pixels(tmp_path, monkeypatch):
    Image.new('RGB', (30, 20)).save(tmp_path / 'a.png')
    monkeypatch.setattr('PIL.ImageFile.ImageFile.load', lambda image: 1 / 0)
    assert read_image(tmp_path / 'a.png', decode=False).size == (30, 20)


@pytest.mark.parametrize(
    ('limit', 'decode', 'is_found'), [(1, None, 0), (2, None, 1), (1, True, 1)]
)
def test_damage_is_looked_for_in_small_datasets_and_on_request(
    tmp_path, monkeypatch, limit, decode, is_found
):
    monkeypatch.setattr('mmdet_detnet.data.images.SMALL_DATASET', limit)
    cv2.imwrite(str(tmp_path / 'a.png'), draw_picture(0))
    (tmp_path / 'b.png').write_bytes((tmp_path / 'a.png').read_bytes()[:-3000])
    states = read_images([tmp_path / 'a.png', tmp_path / 'b.png'], decode)
    assert [bool(state.error) for state in states] == [False, bool(is_found)]
