"""Values, headers and equal pictures of image files."""

import json
from contextlib import nullcontext

import cv2
import numpy as np
import pytest
from mmcv.transforms import Compose
from mmdet.datasets import CocoDataset
from mmdet.visualization import DetLocalVisualizer
from mmengine.config import Config
from mmengine.structures import InstanceData
from PIL import Image
from small_dataset import make_content, names

from mmdet_detnet import config_path
from mmdet_detnet.data.check import check_annotations, check_dataset, check_training_data
from mmdet_detnet.data.image_rules import ANY_DEPTH, find_shared_pictures, find_small_values
from mmdet_detnet.data.images import read_header, read_image, read_images
from mmdet_detnet.data.training_config import TrainingConfig

CUSTOM = 'custom/faster-rcnn_detnet59-slim_fpn_custom.py'


def draw_picture(seed, width=200, height=150):
    """Draw smooth shades with a few boxes, as hashes of pictures are made for."""
    rng = np.random.default_rng(seed)
    shades = rng.integers(0, 256, (4, 5, 3), np.uint8)
    picture = cv2.resize(shades, (width, height), interpolation=cv2.INTER_CUBIC)
    for left, top in rng.integers(0, 100, (6, 2)).tolist():
        color = rng.integers(0, 256, 3).tolist()
        cv2.rectangle(picture, (left, top), (left + 40, top + 30), color, thickness=-1)
    return picture


def write_values(folder, largest, dtype, number=3):
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    paths = [folder / f'{dtype}_{index}.png' for index in range(number)]
    for path in paths:
        cv2.imwrite(str(path), rng.integers(0, largest + 1, (40, 50), dtype))
    return paths


@pytest.mark.parametrize(
    ('largest', 'dtype', 'high'),
    [(4095, 'uint16', 4095), (1000, 'uint16', 1023), (255, 'uint16', 255), (15, 'uint8', 15)],
)
def test_values_in_a_small_part_of_the_range_are_scaled(tmp_path, largest, dtype, high):
    (path, *_) = paths = write_values(tmp_path / 'images', largest, dtype)
    small = find_small_values(paths)
    assert (small.low, small.high) == (0, high)
    load = dict(type='LoadImageFromFile', color_type=ANY_DEPTH)
    values = Compose([load, small.transform])({'img_path': str(path)})['img']
    assert values.shape == (40, 50, 3)
    assert (values.min(), values.max()) == pytest.approx((0, 255 * largest / high), abs=1)


def test_window_of_values_is_scaled_where_bits_do_not_explain_it(tmp_path):
    """A thermal camera: 7000 to 8500 of 65535."""
    path = tmp_path / 'a.png'
    values = np.random.default_rng(0).integers(7000, 8501, (80, 100), np.uint16)
    cv2.imwrite(str(path), values)
    small = find_small_values([path])
    assert (small.low, small.high) == pytest.approx((7000, 8500), abs=5)


@pytest.mark.parametrize(('largest', 'dtype'), [(255, 'uint8'), (65535, 'uint16'), (100, 'uint8')])
def test_values_in_a_large_part_of_the_range_are_left(tmp_path, largest, dtype):
    assert find_small_values(write_values(tmp_path / 'images', largest, dtype)) is None


def test_plain_images_are_not_scaled(tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), np.zeros((20, 20), np.uint8))
    assert find_small_values([tmp_path / 'a.png', tmp_path / 'absent.png']) is None


def test_one_scale_does_not_fit_images_of_8_and_16_bits(tmp_path):
    paths = write_values(tmp_path / 'images', 4095, 'uint16')
    paths += write_values(tmp_path / 'images', 255, 'uint8')
    (problem,) = find_small_values(paths).problems()
    assert not problem.is_warning
    assert 'convert all to 8 bits' in problem.message


def test_12_bits_of_16_are_a_problem_unless_the_config_scales_them(content, check, tmp_path):
    for name in 'ab':
        values = np.random.default_rng(0).integers(0, 4096, (80, 100), np.uint16)
        cv2.imwrite(str(tmp_path / f'images/{name}.png'), values)
    status, result = check(content)
    assert (status, names(result)) == (1, ['values-use-small-part'])
    scaled = TrainingConfig(scales_values=True)
    assert check_annotations(tmp_path / 'data.json', scaled, tmp_path / 'images').problems == []


@pytest.mark.parametrize('quality', [50, 95])
def test_picture_is_recognized_resized_and_encoded_again(tmp_path, quality):
    picture = draw_picture(0)
    cv2.imwrite(str(tmp_path / 'a.png'), picture)
    smaller = cv2.resize(picture, (120, 90), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(tmp_path / 'b.jpg'), smaller, [cv2.IMWRITE_JPEG_QUALITY, quality])
    for number in range(1, 20):
        cv2.imwrite(str(tmp_path / f'{number}.png'), draw_picture(number))
    splits = {'train': ['a.png', *(f'{n}.png' for n in range(1, 10))], 'test': ['b.jpg']}
    splits['test'] += [f'{n}.png' for n in range(10, 20)]
    (problem,) = find_shared_pictures(
        {
            split: {tmp_path / name: read_image(tmp_path / name).thumbnail for name in members}
            for split, members in splits.items()
        }
    )
    assert problem.is_warning
    assert problem.examples == ['a.png (train) and b.jpg (test)']


def test_plain_pictures_are_not_the_same(tmp_path):
    splits = {}
    for split, value in (('train', 0), ('test', 1)):
        cv2.imwrite(str(tmp_path / f'{split}.png'), np.full((30, 30, 3), value, np.uint8))
        path = tmp_path / f'{split}.png'
        splits[split] = {path: read_image(path).thumbnail}
    assert find_shared_pictures(splits) == []


def test_file_in_two_splits_is_found_without_decoding(tmp_path):
    (problem,) = find_shared_pictures({'a': {tmp_path: None}, 'b': {tmp_path: None}})
    assert problem.name == 'picture-in-two-splits'


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
    assert [each.name for each in check.all_problems] == ['picture-in-two-splits']


def test_header_of_a_png_is_read_without_its_pixels(tmp_path, monkeypatch):
    Image.new('RGB', (30, 20)).save(tmp_path / 'a.png')
    monkeypatch.setattr('PIL.ImageFile.ImageFile.load', lambda image: 1 / 0)
    assert read_header(tmp_path / 'a.png').size == (30, 20)


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


@pytest.mark.parametrize('is_drawn', [False, True])
def test_classes_beyond_the_palette_have_a_color_or_a_warning(tmp_path, is_drawn):
    """COCO's palette, which CocoDataset keeps, has 80 colors."""
    base = CUSTOM if is_drawn else 'detnet/retinanet_detnet59_fpn_1x_coco.py'
    config = Config.fromfile(config_path(base))
    classes = tuple(f'class {number}' for number in range(90))
    categories = [{'id': number, 'name': name} for number, name in enumerate(classes)]
    (tmp_path / 'a.json').write_text(json.dumps({**make_content(), 'categories': categories}))
    data = dict(data_root='', ann_file=str(tmp_path / 'a.json'), metainfo=dict(classes=classes))
    config.train_dataloader.dataset.update(data)
    config.val_dataloader = None
    (check,) = check_training_data(config)
    warnings = {each.name: each.count for each in check.warnings}
    assert warnings.get('class-without-color') == (None if is_drawn else 10)

    visualizer = DetLocalVisualizer(
        **{key: value for key, value in config.visualizer.items() if 'color' in key}
    )
    last = InstanceData(bboxes=np.array([[0, 0, 9, 9]]), labels=np.array([89]), scores=[1.0])
    with nullcontext() if is_drawn else pytest.raises(AssertionError, match='palette'):
        palette = CocoDataset.METAINFO['palette']
        visualizer._draw_instances(np.zeros((20, 20, 3), np.uint8), last, classes, palette)
