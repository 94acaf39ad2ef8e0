"""Small datasets with one defect each: it is reported, and nothing else is."""

import json
import random
from collections import Counter

import pytest
from mmdet.datasets import CocoDataset
from small_dataset import (
    WIDTH,
    add_box,
    add_category,
    add_image,
    both,
    corners_for_sizes,
    make_annotation,
    make_content,
    mark_all,
    names,
    put,
    remove,
)

from mmdet_detnet.data.annotation_rules import Boxes, select_kept

HUGE = int('9' * 400)
NAN, INF = float('nan'), float('inf')
PROBLEMS = [
    ('missing-area', remove('annotations', 'area')),
    ('missing-iscrowd', remove('annotations', 'iscrowd')),
    ('missing-height', remove('images', 'height')),
    *(('bad-name', add_category(3, name)) for name in (None, '', ['a'])),
    *(('bad-bbox', add_box(bbox=box)) for box in ([1, 2, 3], '1 2 3 4', [1, 2, 3, NAN])),
    *(('bad-bbox', add_box(bbox=[x, 0, 40, 40])) for x in (INF, -1e30, None, [0], True)),
    ('bad-bbox', add_box(bbox=[HUGE, 0, 40, 40], area=100)),
    *(('bad-area', add_box(area=area)) for area in (HUGE, '1600', NAN)),
    *(('bad-id', add_box(id=number)) for number in (None, HUGE, [1], 1.5)),
    ('bad-image_id', add_box(image_id={'a': 1})),
    ('bad-category_id', add_box(category_id=[1])),
    *(('bad-iscrowd', add_box(iscrowd=flag)) for flag in (2, 'yes')),
    *(('bad-width', add_image(3, 'c.png', width=width)) for width in ('100', HUGE, 0)),
    *(('bad-height', add_image(3, 'c.png', height=height)) for height in (NAN, 2**20 + 1)),
    ('bad-size', add_image(3, 'c.png', width=10**6, height=10**6)),
    ('bad-size', add_image(3, 'c.png', width=2, height=10**5)),
    ('bad-file_name', add_image(3, 7)),
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
    ('image-size', put('images', width=WIDTH + 1)),
    ('only-crowds', mark_all(iscrowd=1)),
    ('no-boxes', lambda content: content['annotations'].clear()),
]
WARNINGS = [
    ('annotation-id-0', add_box(id=0)),
    ('duplicate-file-name', both(add_image(3, 'b.png'), add_box(image_id=3))),
    ('ignored-annotation', add_box(ignore=1)),
    ('box-over-edge', add_box(bbox=[-1, 20, 40, 40])),
    ('class-without-boxes', add_category(3, 'cow')),
    ('image-without-boxes', lambda content: content['annotations'].__delitem__(slice(2, 4))),
]


@pytest.mark.parametrize(('defect', 'change'), [*PROBLEMS, *WARNINGS])
def test_defect_is_reported_alone(content, check, defect, change):
    change(content)
    report = check(content)
    assert names(report) == [defect]
    assert report.all_problems[0].is_warning == ((defect, change) in WARNINGS)


def test_box_may_touch_the_edge_by_rounding_but_not_have_corners_for_sizes(content, check):
    add_box(bbox=[60.0001, 40, 40, 40.0001])(content)
    assert names(check(content)) == []
    corners_for_sizes(content)
    assert names(check(content))[0] == 'corners-as-size'


def test_boxes_over_the_edge_are_not_taken_for_corners(content, check):
    """One box of three reaches over the edge, and all but it could be corners."""
    content['annotations'] = [
        make_annotation(1, 1, 1, [0, 0, 40, 40]),
        make_annotation(2, 1, 2, [60, 40, 45, 40]),
        make_annotation(3, 2, 2, [10, 10, 40, 60]),
    ]
    assert names(check(content)) == ['box-over-edge']


def test_classes_are_compared_with_the_categories(content, check):
    report = check(content, classes=['cat', 'Dog'])
    assert names(report) == ['class-not-in-file', 'category-not-in-classes']
    report = check(content, classes=['cat'], allow_subset=True)
    assert [warning.name for warning in report.warnings] == ['category-not-in-classes']
    add_category(3, 'cow')(content)
    report = check(content, classes=['cat', 'dog'])
    assert [warning.name for warning in report.warnings] == ['unused-category']


def build_dataset(content, tmp_path, classes, **options):
    """Build mmdet's own dataset."""
    file = tmp_path / 'reference.json'
    file.write_text(json.dumps(content))
    options = dict(metainfo=dict(classes=classes), data_prefix=dict(img=''), **options)
    return CocoDataset(ann_file=str(file), pipeline=[], **options)


def test_order_of_classes_changes_the_names_of_labels(content, check, tmp_path):
    report = check(content, classes=['dog', 'cat'])
    assert [problem.name for problem in report.problems] == ['class-order']
    first_box = build_dataset(content, tmp_path, ('dog', 'cat'))[0]['instances'][0]
    assert content['annotations'][0]['category_id'] == 1  # a cat
    assert first_box['bbox_label'] == 0  # a dog


def make_random_content():
    """Many boxes, most of them defective in some of the ways that CocoDataset minds."""
    rng = random.Random(0)
    content = make_content()
    add_category(5, 'cow')(content)
    for number, width in ((3, WIDTH), (4, 31), (5, WIDTH)):
        add_image(number, 'c.png', width)(content)
    add_box(category=5, image=5)(content)
    for number in range(10, 3000):
        box = [rng.choice([-40, -39.5, 0, 59, 99.5, 100]), rng.choice([-1, 0, 50, 79, 80])]
        box += [rng.choice([0.9, 1, 33, 40, -1]), rng.choice([0.5, 1, 32, 97])]
        annotation = make_annotation(number, rng.choice([1, 2, 4]), rng.choice([1, 2, 5, 7]), box)
        annotation['area'] = rng.choice([0, -1, 1e-9, box[2] * box[3]])
        annotation['iscrowd'] = rng.choice([0, 0, 1])
        annotation['ignore'] = rng.choice([False, False, True])
        content['annotations'].append(annotation)
    return content


@pytest.mark.parametrize('filter_cfg', [{}, dict(filter_empty_gt=True), dict(min_size=32)])
def test_boxes_and_images_are_those_of_mmdet(check, content, tmp_path, filter_cfg):
    classes = ('cat', 'dog')
    content = make_random_content()
    dataset = build_dataset(content, tmp_path, classes, filter_cfg=filter_cfg)
    kept = select_kept(content, Boxes.of_file(content), classes, filter_cfg)
    image_ids = [dataset[index]['img_id'] for index in range(len(dataset))]
    assert [image['id'] for image in kept.images] == image_ids
    assert len(image_ids) < 5 or not filter_cfg
    if filter_cfg:
        return
    instances = [each for index in range(len(dataset)) for each in dataset[index]['instances']]
    ends = [[x, y, x + width, y + height] for x, y, width, height in kept.boxes.boxes.tolist()]
    assert sorted(ends) == sorted(each['bbox'] for each in instances)
    assert 40 < len(instances) < 400
    rows = check(content, classes=classes).rows
    labels = Counter(classes[each['bbox_label']] for each in instances)
    crowds = Counter(classes[each['bbox_label']] for each in instances if each['ignore_flag'])
    assert {row['class']: row['kept'] for row in rows} == dict(labels)
    assert {row['class']: row['crowd'] for row in rows} == dict(crowds)


def test_size_is_of_the_area_in_the_file(content, check):
    for annotation, area in zip(content['annotations'], (1023, 1024, 9215, 9216), strict=True):
        annotation.update(area=area, category_id=1)
    row = check(content).rows[0]
    assert [row[name] for name in ('small', 'medium', 'large')] == [1, 2, 1]
