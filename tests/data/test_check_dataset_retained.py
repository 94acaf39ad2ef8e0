"""What the report counts is what mmdet's CocoDataset keeps."""

import json
import random
from collections import Counter

import pytest
from mmdet.datasets import CocoDataset
from small_dataset import add_box, add_category, add_image, make_annotation, make_content, names

from mmdet_detnet.data.annotation_rules import AnnotationFile, Boxes, select_kept


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


def test_retained_boxes_are_those_of_mmdet(content, check, tmp_path):
    classes = ('cat', 'dog')
    random_content = make_random_content()
    dataset = build_dataset(random_content, tmp_path, metainfo=dict(classes=classes))
    instances = [each for index in range(len(dataset)) for each in dataset[index]['instances']]
    file = AnnotationFile(**random_content)
    kept = select_kept(file, Boxes.of_file(file), classes, {})
    assert sorted(corners(each['bbox']) for each in kept.boxes.records) == sorted(
        each['bbox'] for each in instances
    )
    labels = Counter(classes[each['bbox_label']] for each in instances)
    crowds = Counter(classes[each['bbox_label']] for each in instances if each['ignore_flag'])
    rows = check(random_content, '--classes', *classes)[1]['classes']
    assert {row['class']: row['kept'] for row in rows} == dict(labels)
    assert {row['class']: row['crowd'] for row in rows} == dict(crowds)
    assert 40 < len(instances) < 400


def corners(box):
    left, top, width, height = box
    return [left, top, left + width, top + height]


@pytest.mark.parametrize('filter_cfg', [{}, dict(filter_empty_gt=True), dict(min_size=32)])
def test_images_left_out_are_those_of_mmdet(content, tmp_path, filter_cfg):
    random_content = make_random_content()
    options = dict(metainfo=dict(classes=('cat', 'dog')), filter_cfg=filter_cfg)
    dataset = build_dataset(random_content, tmp_path, **options)
    file = AnnotationFile(**random_content)
    images = select_kept(file, Boxes.of_file(file), ('cat', 'dog'), filter_cfg).images
    assert [image['id'] for image in images] == [
        dataset[index]['img_id'] for index in range(len(dataset))
    ]
    assert len(images) < 5 or not filter_cfg


@pytest.mark.parametrize(
    ('area', 'expected'),
    [(1023, 'small'), (1024, 'medium'), (9215, 'medium'), (9216, 'large')],
)
def test_size_is_of_the_area_in_the_file(content, check, area, expected):
    content['annotations'] = [make_annotation(1, 1, 1, [0, 0, 40, 40])]
    content['annotations'][0]['area'] = area
    row = check(content)[1]['classes'][0]
    counts = {name: row[name] for name in ('small', 'medium', 'large')}
    assert counts == {'small': 0, 'medium': 0, 'large': 0, expected: 1}
