"""Every format gives the same images and boxes, and says what it leaves out."""

import json

import pytest
from folders import (
    CAT,
    PANDA,
    WRITERS,
    write_csv,
    write_image,
    write_labelme,
    write_text,
    write_voc,
    write_yolo,
    yolo_row,
)

from mmdet_detnet.data.formats import read_folder


def boxes(labeled):
    """Read the boxes of each image, by the image's name."""
    return {
        image.path.name: [(box.label, pytest.approx(box.box)) for box in image.boxes]
        for image in labeled.images
    }


def problems(labeled):
    return {problem.name: problem for problem in labeled.problems}


@pytest.mark.parametrize('name', WRITERS)
def test_format_is_recognised_and_read(name, tmp_path):
    WRITERS[name](tmp_path)
    found, labeled = read_folder(tmp_path)
    assert found == name
    assert boxes(labeled) == {'a.png': [CAT, PANDA], 'b.png': []}
    assert labeled.all_classes() == ['cat', 'red panda']


@pytest.mark.parametrize('name', ['coco', 'labelme', 'createml'])
def test_json_file_is_parsed_once(name, tmp_path, monkeypatch):
    WRITERS[name](tmp_path)
    loads, parsed = json.loads, []
    monkeypatch.setattr(json, 'loads', lambda text: parsed.append(text) or loads(text))
    read_folder(tmp_path)
    assert len(parsed) == len([*tmp_path.rglob('*.json')])


def test_lists_of_voc_are_its_splits(tmp_path):
    write_voc(tmp_path)
    for split, name in (('train', 'b'), ('val', 'a')):
        write_text(tmp_path / f'ImageSets/Main/{split}.txt', f'{name}\n')
    _, labeled = read_folder(tmp_path)
    assert {image.path.stem: image.split for image in labeled.images} == {'a': 'val', 'b': 'train'}


def test_folders_are_splits(tmp_path):
    for split in ('train', 'valid'):
        write_image(tmp_path / split / f'images/{split}.png')
        write_text(tmp_path / split / f'labels/{split}.txt', yolo_row(0, CAT[1]))
    # Roboflow's paths lead nowhere.
    write_text(tmp_path / 'data.yaml', 'train: ../train/images\nval: ../valid/images\nnames: [cat]')
    _, labeled = read_folder(tmp_path)
    splits = {image.path.stem: image.split for image in labeled.images}
    assert splits == {'train': 'train', 'valid': 'val'}


def test_lists_of_yolo_are_its_splits(tmp_path):
    write_yolo(tmp_path)
    write_text(tmp_path / 'one.txt', './images/b.png\n')
    write_text(tmp_path / 'two.txt', './images/a.png\n')
    write_text(tmp_path / 'data.yaml', 'train: one.txt\nval: two.txt\nnames: [cat, red panda]')
    _, labeled = read_folder(tmp_path)
    assert {image.path.stem: image.split for image in labeled.images} == {'a': 'val', 'b': 'train'}


def test_one_folder_for_two_splits_is_split_again(tmp_path):
    write_yolo(tmp_path)
    write_text(tmp_path / 'data.yaml', 'train: images\nval: images\nnames: [cat, red panda]')
    _, labeled = read_folder(tmp_path)
    assert problems(labeled)['doubled-split'].examples == ['images']
    assert {image.split for image in labeled.images} == {''}


def test_polygon_of_yolo_is_box_and_mask(tmp_path):
    write_image(tmp_path / 'a.png')
    write_text(tmp_path / 'a.txt', '0 0.1 0.1 0.3 0.1 0.3 0.5 0.1 0.5')
    write_text(tmp_path / 'classes.txt', 'cat\n')
    ((box,),) = [image.boxes for image in read_folder(tmp_path)[1].images]
    assert box.box == pytest.approx((10, 8, 20, 32))
    assert box.segmentation == [pytest.approx([10, 8, 30, 8, 30, 40, 10, 40])]
    assert box.area == pytest.approx(640)


@pytest.mark.parametrize('row', ['2 0.5 0.5 0.1 0.1', '0 0.5 0.5 0.1 0.1 0.9', '0 0.5 0.5 0.1 x'])
def test_wrong_row_of_yolo_is_an_error_with_file_and_line(row, tmp_path):
    write_yolo(tmp_path)
    rows = [yolo_row(0, CAT[1])] * 5
    write_text(tmp_path / 'labels/b.txt', ''.join(rows) + row)
    with pytest.raises(ValueError, match=r'b\.txt, line 6: .*class from 0 to 1'):
        read_folder(tmp_path)


def test_yolo_without_names_of_classes(tmp_path):
    write_yolo(tmp_path)
    (tmp_path / 'data.yaml').unlink()
    with pytest.raises(ValueError, match='no names of classes'):
        read_folder(tmp_path)


@pytest.mark.parametrize(
    'table',
    [
        'image_id,x_min,y_min,x_max,y_max,label\na.png,10,20,40,60,cat\n',
        'path,x,y,w,h,class name\nold/a.png,10,20,30,40,cat\n',
        'image,bbox,category\na.png,"[10, 20, 30, 40]",cat\n',
        'a.png,10,20,40,60,cat\n',
        'ImageID,LabelName,XMin,XMax,YMin,YMax\na,cat,0.1,0.4,0.25,0.75\n',
        'Filename,Left,Top,Width,Height,Class\na.png,10,20,30,40,cat\n',
    ],
)
def test_header_of_csv(table, tmp_path):
    write_image(tmp_path / 'a.png')
    write_text(tmp_path / 'boxes.csv', table)
    assert boxes(read_folder(tmp_path)[1]) == {'a.png': [CAT]}


def test_rows_of_csv_without_a_class_are_objects(tmp_path):
    write_image(tmp_path / 'a.png')
    write_text(tmp_path / 'boxes.csv', 'image_id,bbox\na,"[10, 20, 30, 40]"\n')
    _, labeled = read_folder(tmp_path)
    assert boxes(labeled) == {'a.png': [('object', CAT[1])]}
    assert problems(labeled)['row-without-class'].count == 1


def test_wrong_number_in_csv_is_an_error(tmp_path):
    write_csv(tmp_path)
    table = tmp_path / 'boxes.csv'
    table.write_text(table.read_text().replace(',10,20,', ',ten,20,'))
    with pytest.raises(ValueError, match=r"boxes\.csv.*'ten'"):
        read_folder(tmp_path)


def test_column_of_csv_is_the_split(tmp_path):
    write_image(tmp_path / 'a.png')
    write_text(tmp_path / 'boxes.csv', 'image,bbox,class,split\na,"[1, 1, 5, 5]",cat,valid\n')
    assert read_folder(tmp_path)[1].images[0].split == 'val'


def test_shapes_of_labelme_without_area_are_counted(tmp_path):
    write_labelme(tmp_path)
    content = json.loads((tmp_path / 'b.json').read_text())
    circle = {'label': 'cat', 'points': [[50, 40], [50, 50]], 'shape_type': 'circle'}
    point = {'label': 'cat', 'points': [[5, 5]], 'shape_type': 'point'}
    content['shapes'] = [circle, point]
    (tmp_path / 'b.json').write_text(json.dumps(content))
    _, labeled = read_folder(tmp_path)
    assert boxes(labeled)['b.png'] == [('cat', (40, 30, 20, 20))]
    assert problems(labeled)['shape-without-area'].examples == ['b.json (point)']


def test_annotations_of_coco_that_point_nowhere_are_counted(tmp_path):
    WRITERS['coco'](tmp_path)
    file = tmp_path / 'instances.json'
    content = json.loads(file.read_text())
    content['annotations'] += [{**content['annotations'][0], 'id': 7, 'category_id': 9}]
    content['annotations'] += [{**content['annotations'][0], 'id': 8, 'image_id': 9}]
    file.write_text(json.dumps(content))
    _, labeled = read_folder(tmp_path)
    assert boxes(labeled)['a.png'] == [CAT, PANDA]
    assert problems(labeled)['annotation-not-read'].count == 2


def test_box_of_a_mask_alone(tmp_path):
    WRITERS['coco'](tmp_path)
    file = tmp_path / 'instances.json'
    content = json.loads(file.read_text())
    del content['annotations'][0]['bbox']
    content['annotations'][0]['segmentation'] = [[10, 20, 40, 20, 40, 60, 10, 60]]
    file.write_text(json.dumps(content))
    assert boxes(read_folder(tmp_path)[1])['a.png'] == [CAT, PANDA]


def test_partners_that_are_missing_are_counted(tmp_path):
    write_voc(tmp_path)
    (tmp_path / 'pictures/a.png').unlink()
    write_image(tmp_path / 'pictures/c.png')
    _, labeled = read_folder(tmp_path)
    assert list(boxes(labeled)) == ['b.png']
    found = problems(labeled)
    assert found['image-not-found'].count == 1
    assert found['image-not-annotated'].examples == ['pictures/c.png']


def test_image_is_looked_for_beside_its_annotation_first(tmp_path):
    for split in ('train', 'test'):
        write_labelme(tmp_path / split)
    _, labeled = read_folder(tmp_path)
    places = [str(image.path.relative_to(tmp_path)) for image in labeled.images]
    assert sorted(places) == ['test/a.png', 'test/b.png', 'train/a.png', 'train/b.png']


def test_two_images_of_one_name_are_an_error(tmp_path):
    write_csv(tmp_path / 'one')
    write_image(tmp_path / 'two/a.png')
    (tmp_path / 'one/boxes.csv').rename(tmp_path / 'boxes.csv')
    with pytest.raises(ValueError, match=r"'a\.png' may be .*--images"):
        read_folder(tmp_path)
    assert len(read_folder(tmp_path, images=tmp_path / 'one')[1].images) == 2


def test_several_formats_are_an_error_until_one_is_chosen(tmp_path):
    write_voc(tmp_path)
    write_text(tmp_path / 'boxes.csv', 'filename,xmin,ymin,xmax,ymax,class\na.png,1,1,9,9,dog\n')
    with pytest.raises(ValueError, match=r'voc \(2 files\), csv \(1 files\).*--format'):
        read_folder(tmp_path)
    assert read_folder(tmp_path, format_name='csv')[1].all_classes() == ['dog']


def test_no_annotations_are_an_error(tmp_path):
    write_image(tmp_path / 'a.png')
    with pytest.raises(ValueError, match='no annotations in a known format'):
        read_folder(tmp_path)


@pytest.mark.parametrize(('name', 'text'), [('a.json', '{'), ('a.xml', '<annotation>')])
def test_damaged_file_is_named(name, text, tmp_path):
    write_image(tmp_path / 'a.png')
    write_text(tmp_path / name, text)
    with pytest.raises(ValueError, match=name):
        read_folder(tmp_path)
