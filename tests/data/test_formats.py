"""Every format gives the same images and boxes, and says what it leaves out."""

import json

import pytest
from folders import (
    CAT,
    PANDA,
    WRITERS,
    boxes,
    problems,
    read,
    splits,
    write_createml,
    write_csv,
    write_image,
    write_labelme,
    write_text,
    write_voc,
    yolo_row,
)

from mmdet_detnet.data.formats import read_folder
from mmdet_detnet.data.options import Options


@pytest.mark.parametrize('name', WRITERS)
def test_format_is_recognised_and_read(name, tmp_path):
    WRITERS[name](tmp_path)
    found, labeled = read_folder(Options(tmp_path))
    assert found == name
    assert boxes(labeled) == {'a.png': [CAT, PANDA], 'b.png': []}
    assert labeled.all_classes() == ['cat', 'red panda']


@pytest.mark.parametrize('name', ['coco', 'labelme', 'createml'])
def test_json_file_is_parsed_once(name, tmp_path, monkeypatch):
    WRITERS[name](tmp_path)
    loads, parsed = json.loads, []
    monkeypatch.setattr(json, 'loads', lambda text: parsed.append(text) or loads(text))
    read(tmp_path)
    assert len(parsed) == len([*tmp_path.rglob('*.json')])


def test_folders_are_splits(tmp_path):
    for split in ('train', 'valid'):
        write_image(tmp_path / split / f'images/{split}.png')
        write_text(tmp_path / split / f'labels/{split}.txt', yolo_row(0, CAT[1]))
    # Roboflow's paths lead nowhere.
    write_text(tmp_path / 'data.yaml', 'train: ../train/images\nval: ../valid/images\nnames: [cat]')
    assert splits(read(tmp_path)) == {'train': 'train', 'valid': 'val'}


def write_shapes(folder, *shapes):
    """Write LabelMe's file of b.png, with shapes of type and points."""
    write_labelme(folder)
    content = json.loads((folder / 'b.json').read_text())
    content['shapes'] = [{'label': 'cat', 'shape_type': k, 'points': p} for k, p in shapes]
    (folder / 'b.json').write_text(json.dumps(content))


@pytest.mark.parametrize(
    ('kind', 'points', 'box'),
    [
        ('circle', [[50, 40], [50, 50]], (40, 30, 20, 20)),
        ('mask', [[10, 10], [30, 40]], (10, 10, 20, 30)),
        ('rotation', [[60, 10], [80, 15], [75, 40], [55, 35]], (55, 10, 25, 30)),
        ('oriented_rectangle', [[60, 10], [80, 15], [75, 40], [55, 35]], (55, 10, 25, 30)),
        (None, [[5, 5], [15, 5], [15, 20]], (5, 5, 10, 15)),
    ],
)
def test_shape_of_labelme_has_its_enclosing_box(kind, points, box, tmp_path):
    write_shapes(tmp_path, (kind, points))
    assert boxes(read(tmp_path))['b.png'] == [('cat', box)]


def test_other_shapes_of_labelme_are_counted_as_what_they_are(tmp_path):
    write_shapes(tmp_path, ('point', [[5, 5]]), ('cuboid', [[5, 5]] * 8), ('polygon', [[1, 1]] * 2))
    found = problems(read(tmp_path))
    assert found['shape-without-area'].examples == ['b.json (point)', 'b.json (polygon)']
    assert found['shape-not-read'].examples == ['b.json (cuboid)']


def test_images_in_two_annotation_files_are_an_error(tmp_path):
    write_createml(tmp_path)
    (tmp_path / 'again.json').write_text((tmp_path / 'annotations.json').read_text())
    with pytest.raises(ValueError, match=r'again\.json and .*annotations\.json.*--annotations'):
        read(tmp_path)


def test_partners_that_are_missing_are_counted(tmp_path):
    write_voc(tmp_path)
    (tmp_path / 'pictures/a.png').unlink()
    write_image(tmp_path / 'pictures/c.png')
    labeled = read(tmp_path)
    assert list(boxes(labeled)) == ['b.png']
    assert problems(labeled)['image-not-found'].count == 1
    assert problems(labeled)['image-not-annotated'].examples == ['pictures/c.png']


def test_picture_in_an_unknown_format_is_not_missing(tmp_path):
    write_voc(tmp_path)
    (tmp_path / 'pictures/a.png').rename(tmp_path / 'pictures/a.heic')
    found = problems(read(tmp_path))
    assert found['image-not-supported'].examples == ['pictures/a.heic']
    assert 'image-not-found' not in found


def test_image_is_looked_for_next_to_its_annotation_first(tmp_path):
    for split in ('train', 'test'):
        write_labelme(tmp_path / split)
    places = [str(image.path.relative_to(tmp_path)) for image in read(tmp_path).images]
    assert sorted(places) == ['test/a.png', 'test/b.png', 'train/a.png', 'train/b.png']


def test_two_images_of_one_name_are_an_error(tmp_path):
    write_csv(tmp_path / 'one')
    write_image(tmp_path / 'two/a.png')
    (tmp_path / 'one/boxes.csv').rename(tmp_path / 'boxes.csv')
    with pytest.raises(ValueError, match=r"'a\.png' may be .*--images"):
        read(tmp_path)
    assert len(read(tmp_path, images=tmp_path / 'one').images) == 2


def test_linked_folder_of_images_is_read_once(tmp_path):
    write_voc(tmp_path / 'data')
    (tmp_path / 'data/pictures').rename(tmp_path / 'elsewhere')
    (tmp_path / 'data/pictures').symlink_to(tmp_path / 'elsewhere')
    (tmp_path / 'data/again').symlink_to(tmp_path / 'elsewhere')
    (tmp_path / 'data/all').symlink_to(tmp_path / 'data')
    (tmp_path / 'elsewhere/up').symlink_to(tmp_path)
    assert boxes(read(tmp_path / 'data')) == {'a.png': [CAT, PANDA], 'b.png': []}


def test_several_formats_are_an_error_until_one_is_chosen(tmp_path):
    write_voc(tmp_path)
    write_text(tmp_path / 'boxes.csv', 'filename,xmin,ymin,xmax,ymax,class\na.png,1,1,9,9,dog\n')
    with pytest.raises(ValueError, match=r'voc \(2 files\), csv \(1 files\).*--format'):
        read(tmp_path)
    assert read(tmp_path, format_name='csv').all_classes() == ['dog']


def test_no_annotations_are_an_error(tmp_path):
    write_image(tmp_path / 'a.png')
    with pytest.raises(ValueError, match='no annotations in a known format'):
        read(tmp_path)


@pytest.mark.parametrize(('name', 'text'), [('a.json', '{'), ('a.xml', '<annotation>')])
def test_damaged_file_is_named(name, text, tmp_path):
    write_image(tmp_path / 'a.png')
    write_text(tmp_path / name, text)
    with pytest.raises(ValueError, match=name):
        read(tmp_path)


KITTI = 'Car 0.00 0 -1.58 10.0 10.0 30.0 40.0 1.65 1.67 3.64 -0.65 1.71 46.70 -1.59\n'
LABEL_STUDIO = '[{"id": 1, "data": {"image": "a.png"}, "annotations": [{"id": 1, "result": []}]}]'
FOREIGN = {
    'annotations.xml': ('<?xml version="1.0"?><annotations><version>1.1</version>', 'CVAT'),
    'via.json': ('{"a.png1": {"regions": [{"shape_attributes": {"name": "rect"}}]}}', 'VIA'),
    'via_project.json': ('{"_via_settings": {}, "_via_img_metadata": {}}', 'VIA'),
    'export.json': (LABEL_STUDIO, 'Label Studio'),
    'min.json': ('[{"image": "a.png", "label": [{"rectanglelabels": ["cat"]}]}]', 'Label Studio'),
    'a.png.json': ('{"objects": [{"classTitle": "cat"}], "size": {"width": 9}}', 'Supervisely'),
    'export.ndjson': ('{"data_row": {"id": "x"}}', 'Labelbox'),
    'bdd.json': ('[{"name": "a", "labels": [{"box2d": {"x1": 1}}]}]', 'BDD100K'),
    'label_2/a.txt': (KITTI, 'KITTI'),
    'dota/a.txt': ('imagesource:X\ngsd:0.1\n1.0 1.0 9 1 9 9 1 9 small-vehicle 0\n', 'DOTA'),
    'train.txt': ('images/a b.png 10,20,40,60,0 1,2,3,4,1\n', 'keras-yolo3'),
    'gt/gt.txt': ('1,1,912,484,97,109,0,7,1\n', 'MOT'),
    'cats.tfrecord-00000-of-00001': ('', 'TFRecord'),
    'SegmentationClass/a.png': ('', 'masks'),
}


@pytest.mark.parametrize('name', FOREIGN)
def test_format_that_is_not_read_is_named_with_what_to_export(name, tmp_path):
    write_image(tmp_path / 'images/a.png')
    text, tool = FOREIGN[name]
    write_text(tmp_path / name, text)
    with pytest.raises(ValueError, match=f'{name}: .*{tool}.*does not read'):
        read(tmp_path)
