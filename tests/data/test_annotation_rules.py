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

from mmdet_detnet.data.annotation_rules import AnnotationFile, Boxes, select_kept

HUGE = int('9' * 400)
PROBLEMS = [
    ('missing-area', remove('annotations', 'area')),
    ('missing-iscrowd', remove('annotations', 'iscrowd')),
    ('missing-height', remove('images', 'height')),
    ('bad-name', add_category(3, None)),
    ('bad-name', add_category(3, '')),
    ('bad-name', add_category(3, ['a'])),
    ('bad-bbox', add_box(bbox=[1, 2, 3])),
    ('bad-bbox', add_box(bbox='1 2 3 4')),
    ('bad-bbox', add_box(bbox=[1, 2, 3, float('nan')])),
    ('bad-bbox', add_box(bbox=[float('nan'), 2, 3, 4])),
    ('bad-bbox', add_box(bbox=[0, 0, float('inf'), 40])),
    ('bad-bbox', add_box(bbox=[-1e30, 0, 40, 40])),
    ('bad-bbox', add_box(bbox=[HUGE, 0, 40, 40], area=100)),
    ('bad-bbox', add_box(bbox=[None, 0, 40, 40])),
    ('bad-bbox', add_box(bbox=[[0], 0, 40, 40])),
    ('bad-bbox', add_box(bbox=[True, 0, 40, 40])),
    ('bad-area', add_box(area=HUGE)),
    ('bad-area', add_box(area='1600')),
    ('bad-area', add_box(area=float('nan'))),
    ('bad-id', add_box(id=None)),
    ('bad-id', add_box(id=HUGE)),
    ('bad-id', add_box(id=[1])),
    ('bad-id', add_box(id=1.5)),
    ('bad-image_id', add_box(image_id={'a': 1})),
    ('bad-category_id', add_box(category_id=[1])),
    ('bad-iscrowd', add_box(iscrowd=2)),
    ('bad-iscrowd', add_box(iscrowd='yes')),
    ('bad-width', add_image(3, 'c.png', width='100')),
    ('bad-width', add_image(3, 'c.png', width=HUGE)),
    ('bad-width', add_image(3, 'c.png', width=0)),
    ('bad-height', add_image(3, 'c.png', height=float('nan'))),
    ('bad-height', add_image(3, 'c.png', height=2**20 + 1)),
    ('bad-size', add_image(3, 'c.png', width=10**6, height=10**6)),
    ('extreme-proportions', add_image(3, 'c.png', width=2, height=10**5)),
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
    ('image-size', put('images', 'width', WIDTH + 1)),
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


@pytest.mark.parametrize(('defect', 'change'), PROBLEMS)
def test_problem_is_reported_alone(content, check, defect, change):
    change(content)
    status, report = check(content)
    assert (status, names(report)) == (1, [defect])


@pytest.mark.parametrize(('defect', 'change'), WARNINGS)
def test_warning_is_reported_alone_and_does_not_fail(content, check, defect, change):
    change(content)
    status, report = check(content)
    assert (status, names(report)) == (0, [defect])


def test_box_may_touch_the_edge_by_rounding(content, check):
    add_box(bbox=[60.0001, 40, 40, 40.0001])(content)
    assert names(check(content)[1]) == []


def test_corners_in_place_of_sizes_are_said(content, check):
    corners_for_sizes(content)
    status, report = check(content)
    assert (status, names(report)[0]) == (1, 'corners-as-size')


def test_boxes_over_the_edge_are_not_taken_for_corners(content, check):
    """One box of three reaches over the edge, and all but it could be corners."""
    content['annotations'] = [
        make_annotation(1, 1, 1, [0, 0, 40, 40]),
        make_annotation(2, 1, 2, [60, 40, 45, 40]),
        make_annotation(3, 2, 2, [10, 10, 40, 60]),
    ]
    status, report = check(content)
    assert (status, names(report)) == (0, ['box-over-edge'])


def test_similar_name_is_offered_for_a_class_of_the_config(content, check):
    status, report = check(content, '--classes', 'cat', 'Dog')
    assert (status, names(report)[:2]) == (1, ['class-not-in-file', 'category-not-in-classes'])
    assert report['problems'][0]['examples'] == ["'Dog' (the file has 'dog')"]
    assert report['problems'][1]['examples'] == ["'dog' (2 boxes)"]


def test_category_may_be_left_out_on_purpose(content, check):
    status, report = check(content, '--classes', 'cat', '--allow-subset')
    assert (status, names(report)) == (0, ['category-not-in-classes'])


def test_unused_category_without_boxes_is_a_warning(content, check):
    add_category(3, 'cow')(content)
    assert names(check(content, '--classes', 'cat', 'dog')[1]) == ['unused-category']


def build_dataset(content, tmp_path, **options):
    """Build mmdet's own dataset."""
    file = tmp_path / 'reference.json'
    file.write_text(json.dumps(content))
    return CocoDataset(ann_file=str(file), pipeline=[], data_prefix=dict(img=''), **options)


def test_order_of_classes_changes_the_names_of_labels(content, check, tmp_path):
    status, report = check(content, '--classes', 'dog', 'cat')
    assert (status, names(report)) == (1, ['class-order'])
    dataset = build_dataset(content, tmp_path, metainfo=dict(classes=('dog', 'cat')))
    first_box = dataset[0]['instances'][0]
    assert content['annotations'][0]['category_id'] == 1  # a cat
    assert dataset.metainfo['classes'][first_box['bbox_label']] == 'dog'


def make_random_content():
    """Many boxes, most of them defective in some of the ways that CocoDataset minds."""
    rng = random.Random(0)
    content = make_content()
    add_category(5, 'cow')(content)
    add_image(3, 'c.png')(content)
    add_image(4, 'c.png', width=31)(content)
    add_image(5, 'c.png')(content)
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


def test_retained_boxes_are_those_of_mmdet(check, content, tmp_path):
    classes = ('cat', 'dog')
    random_content = make_random_content()
    dataset = build_dataset(random_content, tmp_path, metainfo=dict(classes=classes))
    instances = [each for index in range(len(dataset)) for each in dataset[index]['instances']]
    file = AnnotationFile(**random_content)
    kept = select_kept(file, Boxes.of_file(file), classes, {})
    ends = [[x, y, x + width, y + height] for x, y, width, height in kept.boxes.boxes.tolist()]
    assert sorted(ends) == sorted(each['bbox'] for each in instances)
    labels = Counter(classes[each['bbox_label']] for each in instances)
    crowds = Counter(classes[each['bbox_label']] for each in instances if each['ignore_flag'])
    rows = check(random_content, '--classes', *classes)[1]['classes']
    assert {row['class']: row['kept'] for row in rows} == dict(labels)
    assert {row['class']: row['crowd'] for row in rows} == dict(crowds)
    assert 40 < len(instances) < 400


@pytest.mark.parametrize('filter_cfg', [{}, dict(filter_empty_gt=True), dict(min_size=32)])
def test_images_left_out_are_those_of_mmdet(tmp_path, filter_cfg):
    random_content = make_random_content()
    options = dict(metainfo=dict(classes=('cat', 'dog')), filter_cfg=filter_cfg)
    dataset = build_dataset(random_content, tmp_path, **options)
    file = AnnotationFile(**random_content)
    images = select_kept(file, Boxes.of_file(file), ('cat', 'dog'), filter_cfg).images
    assert [image['id'] for image in images] == [
        dataset[index]['img_id'] for index in range(len(dataset))
    ]
    assert len(images) < 5 or not filter_cfg


def test_size_is_of_the_area_in_the_file(content, check):
    for annotation, area in zip(content['annotations'], (1023, 1024, 9215, 9216), strict=True):
        annotation.update(area=area, category_id=1)
    row = check(content)[1]['classes'][0]
    assert [row[name] for name in ('small', 'medium', 'large')] == [1, 2, 1]
