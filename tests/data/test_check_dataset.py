"""Small datasets with one defect each: it is reported, and nothing else is."""

import cv2
import numpy as np
import pytest
from PIL import Image
from small_dataset import (
    HEIGHT,
    WIDTH,
    add_box,
    add_category,
    add_image,
    both,
    names,
    put,
    remove,
)

from mmdet_detnet.data.images import read_image


def test_sound_data_set_has_no_problems(content, check, tmp_path):
    status, report = check(content, '--classes', 'cat', 'dog', with_picture=True)
    assert (status, names(report)) == (0, [])
    assert (report['images'], report['used_images'], report['kept_boxes']) == (2, 2, 4)
    assert cv2.imread(str(tmp_path / 'out/data_boxes.png')).shape == (540, 1440, 3)


@pytest.mark.parametrize(
    ('defect', 'change'),
    [
        ('missing-area', remove('annotations', 'area')),
        ('missing-iscrowd', remove('annotations', 'iscrowd')),
        ('missing-height', remove('images', 'height')),
        ('bad-name', add_category(3, None)),
        ('bad-bbox', add_box(bbox=[1, 2, 3])),
        ('bad-bbox', add_box(bbox=[1, 2, 3, float('nan')])),
        ('bad-bbox', add_box(bbox='1 2 3 4')),
        ('bad-id', add_box(id=None)),
        ('bad-width', add_image(3, 'c.png', width='100')),
        ('duplicate-image-id', add_image(1, 'c.png')),
        ('duplicate-annotation-id', add_box(id=1)),
        ('duplicate-category-id', add_category(1, 'cow')),
        ('duplicate-category-name', both(add_category(3, 'cat'), add_box(category=3))),
        ('unknown-image', add_box(image_id=7)),
        ('unknown-category', add_box(category_id=7)),
        ('degenerate-box', add_box(bbox=[20, 20, 0.5, 40])),
        ('degenerate-box', add_box(bbox=[20, 20, 40, -3])),
        ('area-not-positive', add_box(area=0)),
        ('box-outside-image', add_box(bbox=[WIDTH, 20, 40, 40])),
        ('missing-image', both(add_image(3, 'absent.png'), add_box(image_id=3))),
        ('image-size', put('images', 'width', WIDTH + 1)),
    ],
)
def test_problem_is_reported_alone(content, check, defect, change):
    change(content)
    status, report = check(content)
    assert status == 1
    assert names(report) == [defect]


@pytest.mark.parametrize(
    ('defect', 'change'),
    [
        ('annotation-id-0', add_box(id=0)),
        ('duplicate-file-name', both(add_image(3, 'b.png'), add_box(image_id=3))),
        ('ignored-annotation', add_box(ignore=1)),
        ('box-over-edge', add_box(bbox=[-1, 20, 40, 40])),
        ('class-without-boxes', add_category(3, 'cow')),
        ('image-without-boxes', lambda content: content['annotations'].__delitem__(slice(2, 4))),
    ],
)
def test_warning_is_reported_alone_and_does_not_fail(content, check, defect, change):
    change(content)
    status, report = check(content)
    assert (status, names(report)) == (0, [defect])


def test_box_may_touch_the_edge_by_rounding(content, check):
    add_box(bbox=[60.0001, 40, 40, 40.0001])(content)
    assert names(check(content)[1]) == []


def test_data_set_without_boxes_is_a_problem(content, check):
    content['annotations'] = []
    status, report = check(content, with_picture=True)
    assert (status, names(report)) == (1, ['no-boxes'])


@pytest.mark.parametrize('share_left', [0, 0.5, 0.95])
def test_truncated_image_is_reported(content, check, tmp_path, share_left):
    file = tmp_path / 'images/a.png'
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share_left * len(whole))])
    status, report = check(content, '--num-workers', 1)
    assert (status, names(report)) == (1, ['undecodable-image'])
    assert report['problems'][0]['examples'][0].startswith('a.png (')


def test_truncated_image_is_reported_where_opencv_lets_it_pass(tmp_path, monkeypatch):
    """OpenCV 4.8 makes up the pixels that a truncated JPEG lacks."""
    file = tmp_path / 'a.jpg'
    # The thumbnail of a camera has a mark of its end, too.
    thumbnail = Image.Exif()
    thumbnail[0x010E] = 'a thumbnail \xff\xd9'
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    Image.fromarray(noise).save(file, exif=thumbnail)
    monkeypatch.setattr('mmcv.imfrombytes', lambda content: noise)
    assert read_image(file).error == ''
    file.write_bytes(file.read_bytes()[:-1000])
    assert 'truncated' in read_image(file).error


def test_rotation_by_exif_changes_the_size(content, check, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn by 90 degrees to show
    Image.new('RGB', (WIDTH, HEIGHT)).save(tmp_path / 'images/b.png', exif=exif)
    status, report = check(content)
    assert (status, names(report)) == (1, ['image-size'])
    assert 'b.png is 80 x 100, not 100 x 80 (mmdet applies' in report['problems'][0]['examples'][0]


def test_similar_name_is_offered_for_a_class_of_the_config(content, check):
    status, report = check(content, '--classes', 'cat', 'Dog')
    assert (status, names(report)[:2]) == (1, ['class-not-in-file', 'category-not-in-classes'])
    assert report['problems'][0]['examples'] == ["'Dog' (the file has 'dog')"]
    assert report['problems'][1]['examples'] == ["'dog' (2 boxes)"]


def test_category_may_be_left_out_on_purpose(content, check):
    assert check(content, '--classes', 'dog')[0] == 1
    status, report = check(content, '--classes', 'dog', '--allow-subset')
    assert status == 0
    assert names(report) == ['category-not-in-classes']
    assert [row['class'] for row in report['classes']] == ['dog']


def test_unused_category_without_boxes_is_a_warning(content, check):
    add_category(3, 'cow')(content)
    assert names(check(content, '--classes', 'cat', 'dog')[1]) == ['unused-category']


@pytest.mark.parametrize(
    ('content', 'complaint'),
    [
        ('{"images": [', 'is not valid JSON'),
        ('[]', 'must contain an object with the lists images, annotations, categories'),
        ('{"images": [], "annotations": []}', 'no list of objects "categories"'),
        ('{"images": {}, "annotations": [], "categories": []}', 'no list of objects "images"'),
        ('{"images": [1], "annotations": [], "categories": []}', 'no list of objects "images"'),
    ],
)
def test_malformed_file_gives_one_sentence(check, tmp_path, capsys, content, complaint):
    (tmp_path / 'images').mkdir()
    assert check(content) == (1, None)
    (line,) = capsys.readouterr().err.splitlines()
    assert complaint in line
    assert str(tmp_path / 'data.json') in line


@pytest.mark.parametrize(
    'options',
    [
        ('--num-workers', '0'),
        ('--config', 'absent.py'),
        ('--config', 'absent.py', '--classes', 'cat'),
        ('--classes',),
    ],
)
def test_bad_usage_has_status_2(content, check, options):
    with pytest.raises(SystemExit) as stop:
        check(content, *options)
    assert stop.value.code == 2
