"""Folders in the format of Pascal VOC, as small as they can be."""

import json
import sys

import cv2
import numpy as np
import pytest
from dataset_converters import voc_to_coco
from mmdet.datasets import XMLDataset

from mmdet_detnet.analysis.dataset import convert_voc

SIZE = '<size><width>100</width><height>80</height><depth>3</depth></size>'


def make_object(name, corners, extra='<difficult>0</difficult>'):
    sides = zip(('xmin', 'ymin', 'xmax', 'ymax'), corners, strict=True)
    box = ''.join(f'<{side}>{value}</{side}>' for side, value in sides)
    return f'<object><name>{name}</name>{extra}<bndbox>{box}</bndbox></object>'


@pytest.fixture
def write(tmp_path):
    """Write one annotation with its image, and add it to a split."""
    for folder in ('Annotations', 'JPEGImages', 'ImageSets/Main'):
        (tmp_path / folder).mkdir(parents=True)

    def write(name, *parts, split='train', suffix='.jpg'):
        text = f'<annotation>{"".join(parts)}</annotation>'
        (tmp_path / f'Annotations/{name}.xml').write_text(text)
        pixels = np.full((80, 100, 3), 200, np.uint8)
        cv2.imwrite(str(tmp_path / f'JPEGImages/{name}{suffix}'), pixels)
        with (tmp_path / f'ImageSets/Main/{split}.txt').open('a') as file:
            file.write(f'{name}\n')

    return write


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run the command line; return its exit status, what it wrote and what it said."""

    def run(*options):
        out = tmp_path / 'annotations/out.json'
        monkeypatch.setattr(sys, 'argv', ['voc_to_coco.py', str(tmp_path), str(out), *options])
        try:
            status = voc_to_coco.main() or 0
        except SystemExit as stop:
            status = stop.code
        said = capsys.readouterr()
        return status, json.loads(out.read_text()) if out.exists() else None, said

    return run


def test_pixels_counted_from_1_become_edges_from_0(write, tmp_path):
    write('a', SIZE, make_object('cat', (1, 1, 100, 80)), make_object('cat', (11, 21, 11, 30)))
    content, dropped = convert_voc(tmp_path)
    assert content == {
        'images': [{'id': 1, 'file_name': 'a.jpg', 'width': 100, 'height': 80}],
        'annotations': [
            {
                'id': 1,
                'image_id': 1,
                'category_id': 1,
                'bbox': [0, 0, 100, 80],
                'area': 8000,
                'iscrowd': 0,
            },
            {
                'id': 2,
                'image_id': 1,
                'category_id': 1,
                'bbox': [10, 20, 1, 10],
                'area': 10,
                'iscrowd': 0,
            },
        ],
        'categories': [{'id': 1, 'name': 'cat'}],
    }
    assert dropped == []


def test_positions_from_0_stay(write, tmp_path):
    write('a', SIZE, make_object('cat', (0, 10.5, 20, 40)))
    content, _ = convert_voc(tmp_path, zero_based=True)
    assert content['annotations'][0]['bbox'] == [0, 10.5, 20, 29.5]


def test_every_split_has_the_same_categories(write, tmp_path):
    write('a', SIZE, make_object('dog', (1, 1, 9, 9)))
    write('b', SIZE, make_object('cat', (1, 1, 9, 9)), split='val')
    train, val = (convert_voc(tmp_path, split)[0] for split in ('train', 'val'))
    assert train['categories'] == [{'id': 1, 'name': 'cat'}, {'id': 2, 'name': 'dog'}]
    assert train['categories'] == val['categories']
    assert [image['file_name'] for image in val['images']] == ['b.jpg']
    assert train['annotations'][0]['category_id'] == 2


def test_given_classes_keep_their_order(write, tmp_path):
    write('a', SIZE, make_object('cat', (1, 1, 9, 9)))
    content, _ = convert_voc(tmp_path, classes=['dog', 'cat'])
    assert [category['name'] for category in content['categories']] == ['dog', 'cat']
    assert content['annotations'][0]['category_id'] == 2


def test_difficult_is_a_crowd_and_may_be_left_out(write, tmp_path):
    difficult = make_object('cat', (1, 1, 9, 9), '<difficult>1</difficult>')
    write('a', SIZE, difficult, make_object('cat', (1, 1, 9, 9), ''))
    content, _ = convert_voc(tmp_path)
    assert [annotation['iscrowd'] for annotation in content['annotations']] == [1, 0]


@pytest.mark.parametrize('size', ['', SIZE.replace('100', '0')])
def test_missing_size_is_the_images(write, tmp_path, size):
    write('a', size, suffix='.png')
    image = convert_voc(tmp_path, classes=['cat'])[0]['images'][0]
    assert image == {'id': 1, 'file_name': 'a.png', 'width': 100, 'height': 80}


def test_boxes_without_extent_are_dropped_and_named(write, run):
    write('a', SIZE, make_object('cat', (20, 20, 10, 30)), make_object('cat', (1, 1, 9, 9)))
    status, content, said = run('--split', 'train')
    assert (status, len(content['annotations'])) == (0, 1)
    assert 'dropped, without width or height: 1' in said.out
    assert 'a.xml: cat (20.0, 20.0, 10.0, 30.0)' in said.out
    assert 'images: 1, boxes: 1, difficult: 0' in said.out


def test_coordinate_0_asks_for_zero_based(write, run):
    write('a', SIZE, make_object('cat', (0, 5, 9, 9)))
    assert '--zero-based' in run()[2].out
    assert '--zero-based' not in run('--zero-based')[2].out


def break_xml(folder):
    (folder / 'Annotations/a.xml').write_text('<annotation>')


@pytest.mark.parametrize(
    ('damage', 'options', 'complaint'),
    [
        (lambda folder: (folder / 'Annotations/a.xml').unlink(), ('--classes', 'cat'), 'a.xml'),
        (lambda folder: (folder / 'JPEGImages/a.jpg').unlink(), (), 'JPEGImages/a'),
        (lambda folder: (folder / 'JPEGImages/a.png').touch(), (), 'a.png'),
        (break_xml, (), 'a.xml is not valid XML'),
        (lambda folder: None, ('--classes', 'dog'), "a.xml: unknown class 'cat'"),
        (lambda folder: None, ('--split', 'val'), 'val.txt'),
        (lambda folder: (folder / 'ImageSets/Main/train.txt').write_text(''), (), 'train.txt has'),
        (lambda folder: (folder / 'ImageSets/Main/train.txt').write_text('a\na'), (), "'a' twice"),
    ],
)
def test_error_names_the_file(write, run, tmp_path, damage, options, complaint):
    write('a', SIZE, make_object('cat', (1, 1, 9, 9)))
    damage(tmp_path)
    status, content, said = run('--split', 'train', *options)
    assert (status, content) == (1, None)
    assert complaint in said.err


@pytest.mark.parametrize(
    ('part', 'complaint'),
    [
        (make_object('', (1, 1, 9, 9)), 'a.xml: an object has no <name>'),
        (make_object('cat', ('', 1, 9, 9)), 'a.xml: an object has no <bndbox/xmin>'),
        (make_object('cat', ('one', 1, 9, 9)), "a.xml: could not convert string to float: 'one'"),
    ],
)
def test_damaged_object_names_the_file(write, tmp_path, part, complaint):
    write('a', SIZE, part)
    with pytest.raises(ValueError, match=complaint):
        convert_voc(tmp_path)


def test_boxes_begin_where_mmdets_reader_has_them(write, tmp_path):
    objects = [make_object('cat', (3, 5, 40, 60)), make_object('dog', (50, 9, 100, 80))]
    write('a', SIZE, *objects)
    dataset = XMLDataset(
        ann_file=str(tmp_path / 'ImageSets/Main/train.txt'),
        data_prefix=dict(sub_data_root=str(tmp_path)),
        metainfo=dict(classes=('cat', 'dog')),
        pipeline=[],
    )
    content, _ = convert_voc(tmp_path)
    for annotation, instance in zip(content['annotations'], dataset[0]['instances'], strict=True):
        assert annotation['category_id'] == instance['bbox_label'] + 1
        assert annotation['bbox'][:2] == instance['bbox'][:2]
        # mmdet's reader takes the last pixel's near edge for the end of the box.
        assert annotation['bbox'][2] == instance['bbox'][2] - instance['bbox'][0] + 1


@pytest.mark.parametrize('value', ['nan', 'inf', '-inf', 'NaN', '1e400'])
def test_corner_that_is_no_number_is_refused(write, run, value):
    write('a', SIZE, make_object('cat', (1, 1, value, 20)))
    status, content, said = run()
    assert (status, content) == (1, None)
    assert f"<bndbox/xmax> must be a finite number, got '{value}'." in said.err


@pytest.mark.parametrize(
    ('text', 'is_crowd'), [('1', 1), ('true', 1), (' True ', 1), ('0', 0), ('false', 0), ('', 0)]
)
def test_difficult_objects_become_crowds_however_they_are_marked(write, run, text, is_crowd):
    write('a', SIZE, make_object('cat', (1, 1, 9, 9), extra=f'<difficult>{text}</difficult>'))
    _, content, _ = run()
    assert content['annotations'][0]['iscrowd'] == is_crowd


def test_unknown_mark_is_refused(write, run):
    write('a', SIZE, make_object('cat', (1, 1, 9, 9), extra='<difficult>maybe</difficult>'))
    status, _, said = run()
    assert status == 1
    assert "<difficult> must be one of ['0', '1', 'false', 'true', 'no', 'yes'], got" in said.err
