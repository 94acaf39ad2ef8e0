"""Ground truth and detections of MMDetection's datasets, as in COCO."""

import json

import pytest
from coco_cases import BOX
from mmdet.datasets import CocoDataset, VOCDataset

from mmdet_detnet.evaluation.detections import read_ground_truth


def make_dataset(folder, annotations, classes=('cat', 'dog'), **options):
    content = dict(
        images=[dict(id=i, file_name=f'{i}.jpg', width=200, height=200) for i in (5, 6)],
        categories=[dict(id=3, name='dog'), dict(id=8, name='cat'), dict(id=9, name='cow')],
        annotations=[dict(image_id=5, bbox=BOX, area=1600, **each) for each in annotations],
    )
    (folder / 'truth.json').write_text(json.dumps(content))
    return CocoDataset(
        ann_file=str(folder / 'truth.json'),
        data_prefix=dict(img='images/'),
        metainfo=dict(classes=classes),
        test_mode=True,
        pipeline=[],
        **options,
    )


def test_ground_truth_has_the_classes_of_the_labels_and_ids_from_1(tmp_path):
    annotations = [
        dict(id=0, category_id=8, iscrowd=0),
        dict(id=1, category_id=9, iscrowd=0),  # of a class that the detector does not have
        dict(id=2, category_id=3, iscrowd=1),
    ]
    dataset = make_dataset(tmp_path, annotations)
    truth = read_ground_truth(dataset)
    # mmdet's labels follow the file: label 0 is the dog, whatever the config says.
    assert list(truth.classes.items()) == [(3, 'dog'), (8, 'cat')]
    assert dataset.get_data_info(0)['instances'][0]['bbox_label'] == 1
    found = [(each['id'], each['category_id'], each['iscrowd']) for each in truth.annotations]
    assert found == [(1, 8, 0), (2, 3, 1)]
    assert [(each['id'], each['path']) for each in truth.images] == [
        (5, 'images/5.jpg'),
        (6, 'images/6.jpg'),
    ]


def test_only_the_images_of_the_dataset_count(tmp_path):
    dataset = make_dataset(tmp_path, [dict(id=1, category_id=8, iscrowd=0)], indices=[1])
    truth = read_ground_truth(dataset)
    assert ([each['id'] for each in truth.images], truth.annotations) == ([6], [])


def test_class_that_the_file_lacks_is_named(tmp_path):
    dataset = make_dataset(tmp_path, [], classes=('cat', 'yak'))
    with pytest.raises(ValueError, match=r"truth\.json has no categories \['yak'\]"):
        read_ground_truth(dataset)


def test_other_datasets_are_refused():
    with pytest.raises(ValueError, match='must be a CocoDataset, got VOCDataset'):
        read_ground_truth(VOCDataset(ann_file='x', lazy_init=True))
