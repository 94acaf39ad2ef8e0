"""What becomes of folders of annotations: boxes, splits, warnings and errors.

A case is a format, whose dataset `folders` writes, and what is different in it: files by name.
"""

import json
import math
import os
import unicodedata
from pathlib import Path

import pytest
from folders import (
    CAT,
    IMAGE,
    PANDA,
    WRITERS,
    boxes,
    coco_file,
    labelme_shapes,
    problems,
    read,
    splits,
    voc_file,
    voc_object,
    voc_objects,
    write_changes,
)
from mmdet.datasets import XMLDataset

from mmdet_detnet.data.formats import read_folder
from mmdet_detnet.data.images import list_files
from mmdet_detnet.data.options import Options
from mmdet_detnet.data.records import UNKNOWN_SIZE
from mmdet_detnet.files import stop_collector

UNICODE = ('utf-8-sig', 'utf-16')
OWL = ('owl', PANDA[1])
BOX = '0.5 0.5 0.4 0.4'
BOX_OF = ('cat', (30, 24, 40, 32))
CORNERS = '0.1 0.1 0.3 0.1 0.3 0.5 0.1 0.5'
KEYPOINTS = '0.35 0.35 2 0.65 0.35 2 0.65 0.65 2 0.35 0.65 2'
POSE = {'data.yaml': 'kpt_shape: [4, 3]\nnames: [cat]'}
TRIPLE, MOVED = [[5, 5], [15, 5], [15, 20]], [[25, 5], [35, 5], [35, 20]]
CORNER_PAIR = [[10, 20], [40, 60]]
QUADRILATERAL = [[60, 10], [80, 15], [75, 40], [55, 35]]
HEADER = 'image,x1,y1,x2,y2,class\n'
VIA_HEADER = 'filename,file_size,region_shape_attributes,region_attributes\n'
RECTANGLE = {'name': 'rect', 'x': 10, 'y': 20, 'width': 30, 'height': 40}
RING = [[10, 20, 40, 20, 40, 60, 10, 60]]
# Run lengths down the columns: up to (10, 20), then 30 columns of 40 pixels.
RUNS = {'size': [80, 100], 'counts': [10 * 80 + 20, *[40, 40] * 29, 40, 60 * 80 + 20]}
PACKED_RUNS = {'size': [80, 100], 'counts': 'di0X1X1' + 57 * '0' + r'\e4'}
TRIANGLE = {'name': 'polygon', 'all_points_x': [10, 40, 40], 'all_points_y': [20, 20, 60]}


def read_changed(folder, base, changes):
    """Write the dataset of a format with changes, and read it."""
    WRITERS[base](folder)
    write_changes(folder, changes)
    return read(folder)


def via_table(shape, attributes):
    texts = (json.dumps(each).replace('"', '""') for each in (shape, attributes))
    return VIA_HEADER + 'a.png,1,"{}","{}"\n'.format(*texts)


def createml_file(*annotations, name='annotations.json', keys=('image', 'annotations')):
    return {name: [dict(zip(keys, ('a.png', annotations), strict=True))]}


def voc_corners(left, top, right, bottom):
    """Change a.png to one object, with its corners as they are in the file."""
    return voc_objects(voc_object('cat', (left - 1, top - 1, right - left + 1, bottom - top + 1)))


def table(text):
    return {'boxes.csv': text}


@pytest.mark.parametrize('name', WRITERS)
def test_format_is_recognized_and_read_and_json_parsed_once(name, tmp_path, monkeypatch):
    WRITERS[name](tmp_path)
    loads, parsed = json.loads, []
    monkeypatch.setattr(json, 'loads', lambda text: parsed.append(text) or loads(text))
    found, labeled = read_folder(Options(tmp_path))
    assert found == name
    assert boxes(labeled) == {'a.png': [CAT, PANDA], 'b.png': []}
    assert labeled.all_classes() == ['cat', 'red panda']
    assert len(parsed) == len([*tmp_path.rglob('*.json')])


@pytest.mark.parametrize('name', WRITERS)
def test_no_file_stays_open_while_the_collector_is_stopped(name, tmp_path):
    WRITERS[name](tmp_path)
    before = len(os.listdir('/proc/self/fd'))
    with stop_collector():
        read(tmp_path)
        assert len(os.listdir('/proc/self/fd')) == before


TABLES = {
    'names with underscores': 'image_id,x_min,y_min,x_max,y_max,label\na.png,10,20,40,60,cat\n',
    'sizes': 'path,x,y,w,h,class name\nold/a.png,10,20,30,40,cat\n',
    'bbox': 'image,bbox,category\na.png,"[10, 20, 30, 40]",cat\n',
    'left and top': 'Filename,Left,Top,Width,Height,Class\na.png,10,20,30,40,cat\n',
    'centers, and the size of the image': 'image,width,height,cx,cy,w,h,class\n'
    'a.png,100,80,25,40,30,40,cat\n',
    'prefixes, and the size of the image': 'image,width,height,bbox_x,bbox_y,bbox_width,'
    'bbox_height,class\na.png,100,80,10,20,30,40,cat\n',
    'Open Images': 'ImageID,LabelName,XMin,XMax,YMin,YMax\na,cat,0.1,0.4,0.25,0.75\n',
    'LISA': 'Filename;Annotation tag;Upper left corner X;Upper left corner Y;Lower right corner X;'
    'Lower right corner Y;Origin file\nold/a.png;cat;10;20;40;60;a.avi\n',
    'Udacity': 'frame,xmin,xmax,ymin,ymax,class_id\na.png,10,40,20,60,cat\n',
    'keras-retinanet, background first': 'b.png,,,,,\na.png,10,20,40,60,cat\n',
    'SKU-110K': 'a.png,10,20,40,60,cat,100,80\n',
    'AutoML': 'TRAIN,gs://my/a.png,cat,0.1,0.25,,,0.4,0.75,,\nTEST,gs://my/b.png' + ',' * 9 + '\n',
    'AutoML without splits': 'gs://my/a.png,cat,0.1,0.25,0.4,0.25,0.4,0.75,0.1,0.75\n',
    'semicolons': 'Filename;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;Class\na.png;10;20;40;60;cat\n',
    'decimal commas': 'filename;xmin;ymin;xmax;ymax;class\na.png;10,0;20,0;40,0;60,0;cat\n',
    'tabs': 'filename\txmin\tymin\txmax\tymax\tclass\na.png\t10\t20\t40\t60\tcat\n',
    'pandas': f'{HEADER}b.png,nan,nan,nan,nan,nan\na.png,10,20,40,60,cat\n',
    'swapped corners': f'{HEADER}a.png,40,20,10,60,cat\n',
    'makesense.ai': 'cat,10,20,30,40,a.png,100,80\n',
    'spaces': f'{HEADER}  \na.png, 10, 20, 40, 60, "cat"\n',
    'VIA': via_table(RECTANGLE, {'type': 'cat'}),
    'VIA, polygon and checkbox': via_table(TRIANGLE, {'hue': 'red', 'class': {'cat': 1, 'dog': 0}}),
}
ELLIPSE = {'name': 'ellipse', 'cx': 25, 'cy': 40, 'rx': 20, 'ry': 15, 'theta': math.pi / 2}
TABLES['VIA, rotated ellipse'] = via_table(ELLIPSE, {'type': 'cat'})
CAT_CENTER = {'label': 'cat', 'coordinates': {'x': 25, 'y': 40, 'width': 30, 'height': 40}}
TWO_FOLDERS = f'{HEADER}one/a.png,10,20,40,60,cat\ntwo/a.png,50,10,70,30,red panda\n'
SPELLINGS = TWO_FOLDERS.replace('two/', 'C:\\data\\')
NUMBERED = table(f'{HEADER}a.png,10,20,40,60,1\n')
# About its center, the cat is turned by 90 degrees.
TURNED_CAT = ('cat', (5, 25, 40, 30))
# The boxes of a.png.
BOXES = [
    *(('csv', table(text), [CAT]) for text in TABLES.values()),
    ('csv', {**table(TWO_FOLDERS), 'one/a.png': IMAGE, 'a.png': None}, [CAT]),
    ('csv', {**table(SPELLINGS), 'one/a.png': IMAGE, 'a.png': None}, [CAT, PANDA]),
    ('csv', NUMBERED, [('1', CAT[1])]),
    ('csv', table(f'{HEADER}a.png,10,20,40,60,1.0\nb.png'), [('1', CAT[1])]),
    ('csv', {**NUMBERED, 'classes.txt': 'dog\ncat\n'}, [CAT]),
    ('csv', {**NUMBERED, 'data.yaml': 'names: {0: dog, 1: cat}'}, [CAT]),
    ('csv', {**NUMBERED, 'names.csv': 'id,name\n1,cat\n0,dog\n'}, [CAT]),
    ('csv', {**NUMBERED, 'names.csv': 'cat,1\ndog,0\n'}, [CAT]),
    ('csv', {**NUMBERED, 'metadata/classes.csv': '1,cat\n0,dog\n'}, [CAT]),
    # Files of macOS and of other programs.
    ('yolo', {'._data.yaml': b'\xff', '._a.names': b'\xff', 'ci.yml': 'a: ['}, [CAT, PANDA]),
    ('yolo', {'data.yaml': 'names: [yes, 01]'}, [('yes', CAT[1]), ('01', PANDA[1])]),
    ('yolo', {'data.yaml': '{nc: 2, names: [cat, red panda]}'}, [CAT, PANDA]),
    *(('yolo', {'labels/a.txt': f'0 {BOX}'.encode(name)}, [BOX_OF]) for name in UNICODE),
    *(('yolo', {'data.yaml': 'names: [cat, owl]'.encode(name)}, [CAT, OWL]) for name in UNICODE),
    # Ultralytics' file of a run, and a model's.
    ('yolo', {'args.yaml': 'val: true', 'a-pose.yaml': 'kpt_shape: [4, 3]'}, [CAT, PANDA]),
    ('yolo', {'labels/a.txt': f'0 {BOX} {KEYPOINTS}\n0 {BOX}', **POSE}, [BOX_OF] * 2),
    # A line without a name is a number without a name.
    ('yolo', {'labels/a.txt': f'1 {BOX}', 'labels/classes.txt': '\ncat\n'}, [BOX_OF]),
    ('labelme', labelme_shapes('circle', [[50, 40], [50, 50]]), [('cat', (40, 30, 20, 20))]),
    ('labelme', labelme_shapes('mask', [[10, 10], [30, 40]]), [('cat', (10, 10, 20, 30))]),
    ('labelme', labelme_shapes('rotation', QUADRILATERAL), [('cat', (55, 10, 25, 30))]),
    ('labelme', labelme_shapes('oriented_rectangle', QUADRILATERAL), [('cat', (55, 10, 25, 30))]),
    ('labelme', labelme_shapes(None, [[5, 5], [15, 5], [15, 20]]), [('cat', (5, 5, 10, 15))]),
    # Two parts of one object, but two boxes.
    ('labelme', labelme_shapes('polygon', TRIPLE, MOVED), [('cat', (5, 5, 30, 15))]),
    ('labelme', labelme_shapes('rectangle', CORNER_PAIR, CORNER_PAIR), [CAT, CAT]),
    ('createml', createml_file(CAT_CENTER, keys=('imagefilename', 'annotation')), [CAT]),
    ('coco', coco_file(bbox=None, segmentation=RING), [CAT, PANDA]),
    ('coco', coco_file(segmentation=[[]]), [CAT, PANDA]),
    ('coco', coco_file(bbox=None, segmentation=RUNS), [CAT, PANDA]),
    ('coco', coco_file(bbox=None, segmentation=PACKED_RUNS), [CAT, PANDA]),
    ('coco', coco_file(attributes={'rotation': 90.0}), [TURNED_CAT, PANDA]),
    ('coco', coco_file(attributes={'rotation': 90.0}, segmentation=RING), [CAT, PANDA]),
    *(('coco', coco_file(attributes=each), [CAT, PANDA]) for each in (None, {'rotation': 'x'})),
    ('coco', coco_file('images', file_name=None, coco_url='http://x/y/a.png'), [CAT, PANDA]),
    ('voc', voc_objects(voc_object(*CAT, rotation=90)), [TURNED_CAT]),
    # A mask with the name of the image.
    ('voc', {'masks/a.jpg': IMAGE, **voc_objects(voc_object(*CAT), name='a.png')}, [CAT]),
    # One that is also nearer.
    ('voc', {'annots/masks/a.jpg': IMAGE, **voc_objects(voc_object(*CAT), name='a.png')}, [CAT]),
    # As of the Stanford Dogs.
    ('voc', {'annots/a.xml': None, 'annots/a': voc_file(voc_object(*CAT)), 'README': 'x'}, [CAT]),
    ('voc', voc_corners(40, 60, 11, 21), [CAT]),
    ('voc', voc_corners(1, 1, 100, 80), [('cat', (0, 0, 100, 80))]),
    ('voc', voc_corners(11, 21, 11.5, 30), [('cat', (10, 20, 1.5, 10))]),
]


@pytest.mark.parametrize(('base', 'changes', 'expected'), BOXES)
def test_boxes(base, changes, expected, tmp_path):
    assert boxes(read_changed(tmp_path, base, changes))['a.png'] == expected


CROWDS = {'1': True, ' True ': True, 'yes': True, '1.0': True} | dict.fromkeys(
    ('0', 'false', '', '-1', 'Unspecified'), False
)


@pytest.mark.parametrize(('text', 'is_crowd'), CROWDS.items())
def test_difficult_objects_of_voc_are_crowds_however_they_are_marked(text, is_crowd, tmp_path):
    marked = voc_object(*CAT).replace('<difficult>0<', f'<difficult>{text}<')
    found = read_changed(tmp_path, 'voc', voc_objects(marked, voc_object(*CAT))).images[0].boxes
    assert [box.is_crowd for box in found] == [is_crowd, False]


def test_positions_may_count_from_0_in_voc_only(tmp_path):
    for name in ('voc', 'yolo'):
        WRITERS[name](tmp_path / name)
    (image, _) = read(tmp_path / 'voc', zero_based=True).images
    assert [box.box for box in image.boxes] == [(11, 21, 29, 39), (51, 11, 19, 19)]
    with pytest.raises(ValueError, match='--zero-based applies to Pascal VOC, .* in yolo'):
        read(tmp_path / 'yolo', zero_based=True)


def test_boxes_of_voc_begin_where_mmdets_reader_has_them(tmp_path):
    WRITERS['voc'](tmp_path)
    ours = read(tmp_path).images[0].boxes
    (tmp_path / 'annots').rename(tmp_path / 'Annotations')
    write_changes(tmp_path, {'train.txt': 'a\n'})
    dataset = XMLDataset(
        ann_file=str(tmp_path / 'train.txt'),
        data_prefix=dict(sub_data_root=str(tmp_path)),
        metainfo=dict(classes=('cat', 'red panda')),
        pipeline=[],
    )
    for box, theirs in zip(ours, dataset[0]['instances'], strict=True):
        left, top, right, _ = theirs['bbox']
        assert box.box[:2] == (left, top)
        # mmdet's reader takes the last pixel's near edge for the end of the box.
        assert box.box[2] == right - left + 1


def test_polygon_is_box_and_mask(tmp_path):
    changes = {'labels/a.txt': f'0 {CORNERS}\n0 0.1 0.1 0.3 0.1 0.3 0.5'}
    labeled = read_changed(tmp_path, 'yolo', changes)
    box = labeled.images[0].boxes[0]
    assert box.box == pytest.approx((10, 8, 20, 32))
    assert box.segmentation == [pytest.approx([10, 8, 30, 8, 30, 40, 10, 40])]
    assert box.area == pytest.approx(640)
    assert 'rotated-box' not in problems(labeled)


def test_sizes_and_areas_of_0_are_unknown(tmp_path):
    images = read_changed(tmp_path, 'coco', coco_file('images', width=0)).images
    assert [image.size for image in images] == [UNKNOWN_SIZE, (100, 80)]
    assert read_changed(tmp_path, 'coco', coco_file(area=0)).images[0].boxes[0].area is None


BOX_SIZE = 'image,xmin,ymin,xmax,ymax,width,height,class\na.png,10,20,40,60,30,40,cat\n'
RECTANGLE_OF = labelme_shapes('rectangle', CORNER_PAIR, imageWidth=200, imageHeight=160)
GIVEN_SIZES = [
    ('csv', {}, (100, 80)),
    ('csv', table(BOX_SIZE.replace('30,40', '200.0,160')), (200, 160)),
    ('csv', table(BOX_SIZE), UNKNOWN_SIZE),
    ('labelme', RECTANGLE_OF, (200, 160)),
    ('labelme', {}, UNKNOWN_SIZE),
]


@pytest.mark.parametrize(('base', 'changes', 'size'), GIVEN_SIZES)
def test_size_of_the_annotated_image_is_kept_for_the_check(base, changes, size, tmp_path):
    assert read_changed(tmp_path, base, changes).images[0].size == size


def test_ignored_objects_of_coco_are_crowds(tmp_path):
    found = read_changed(tmp_path, 'coco', coco_file(ignore=1)).images[0].boxes
    assert [box.is_crowd for box in found] == [True, False]


def test_accents_in_names_are_composed_as_on_macos_or_elsewhere(tmp_path):
    name = unicodedata.normalize('NFD', 'ü.png')
    write_changes(tmp_path, {name: IMAGE, 'boxes.csv': f'{HEADER}ü.png,10,20,40,60,cat\n'})
    assert boxes(read(tmp_path)) == {name: [CAT]}


def test_ids_of_open_images_get_their_names_and_groups_are_crowds(tmp_path):
    text = (
        'ImageID,LabelName,XMin,XMax,YMin,YMax,IsGroupOf,Usage\n'
        'a,/m/01yrx,0.1,0.4,0.25,0.75,-1,valid\na,/m/0bt9lr,0.1,0.4,0.25,0.75,1,valid\n'
    )
    changes = table(text) | {'class-descriptions.csv': '/m/01yrx,Cat\n/m/0bt9lr,Dog\n'}
    image = read_changed(tmp_path, 'csv', changes).images[0]
    assert [(box.label, box.is_crowd) for box in image.boxes] == [('Cat', False), ('Dog', True)]
    assert image.split == 'val'


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16', 'latin-1'])
def test_encoding_of_a_table_is_found_or_said(encoding, tmp_path):
    text = f'{HEADER}a.png,10,20,40,60,Käfer\n'
    labeled = read_changed(tmp_path, 'csv', table(text.encode(encoding)))
    assert labeled.all_classes() == ['Käfer']
    assert ('not-utf-8' in problems(labeled)) == (encoding == 'latin-1')


def lists(**texts):
    """Write lists of the splits as in Pascal VOC."""
    return {f'ImageSets/Main/{split}.txt': text for split, text in texts.items()}


NAMES = 'names: [cat, red panda]\n'
BOTH = f'{HEADER}a.png,10,20,40,60,cat\nb.png'
XMLS = ('annots/a.xml', 'annots/b.xml')
# The splits of a.png and b.png.
SPLITS = [
    ('voc', lists(trainval='b', test='a\n'), 'test train'),
    ('voc', lists(trainval='a\nb', train='b', val='a'), 'val train'),
    ('voc', {'annots/a.xml': None, 'annots/a.png.xml': voc_file(), **lists(val='a')}, 'val '),
    ('voc', {'train.txt': 'pictures/b.png annots/b.xml', 'val.txt': 'x\\a.png'}, 'val train'),
    ('voc', {'ImageSets/train.txt': 'b.png', 'ImageSets/val.txt': 'a.png'}, 'val train'),
    ('voc', {'trainval.txt': '#Image CLASS-ID\nb 1 1 1\n', 'test.txt': 'a 2 1 2'}, 'test train'),
    (
        'yolo',
        {
            'one.txt': './images/b.png\n',
            'two.txt': '/content/data/images/a.png\n',
            'data.yaml': f'{NAMES}train: one.txt\nval: two.txt',
        },
        'val train',
    ),
    ('yolo', {'data.yaml': f'{NAMES}train: images/a.png\nval: images'}, 'train val'),
    ('yolo', {'data.yaml': f'{NAMES}train: images/a.png\nval: null\ntest: null'}, 'train '),
    ('yolo', {'train.txt': 'data/images/b.png', 'valid.txt': 'images/a.png'}, 'val train'),
    ('csv', {'train.csv': f'{HEADER}a', 'val.csv': f'{HEADER}b', 'z.csv': BOTH}, 'train val'),
    # Roboflow's paths lead nowhere, those of another machine to the same folders.
    ('yolo', {'data.yaml': f'{NAMES}train: ../train/images\nval: ../valid/images'}, ' '),
    (
        'yolo',
        {'data.yaml': f'{NAMES}train: /x/images/b.png\nval: C:\\x\\images\\a.png'},
        'val train',
    ),
    ('yolo', {'data.yaml': f'{NAMES}val: images\ntest: images'}, 'val val'),
    ('yolo', {'a.yaml': NAMES, 'data.yaml': f'{NAMES}train: images/a.png'}, 'train '),
    # Only the annotations are in folders of splits.
    (
        'voc',
        {**dict.fromkeys(XMLS), 'train/a.xml': voc_file(), 'val/b.xml': voc_file()},
        'train val',
    ),
    ('yolo', {'labels/a.txt': None, 'labels/val/a.txt': f'0 {BOX}'}, 'val '),
    ('labelme', {'a.json': None, 'val/a.json': {'imagePath': 'a.png', 'shapes': []}}, ' val'),
    ('csv', {**table(None), 'trainSet1/x.csv': BOTH}, 'train train'),
    ('csv', {**table(None), 'ToyDevKit/x.csv': BOTH}, ' '),
]


@pytest.mark.parametrize(('base', 'changes', 'expected'), SPLITS)
def test_splits(base, changes, expected, tmp_path, monkeypatch):
    WRITERS[base](tmp_path / 'data')
    write_changes(tmp_path / 'data', changes)
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path / 'data', Path('data')):
        assert [*splits(read(folder)).values()] == expected.split(' ')


@pytest.mark.parametrize('name', WRITERS)
def test_folders_are_splits_and_have_images_of_the_same_names(name, tmp_path):
    for split in ('train', 'valid'):
        WRITERS[name](tmp_path / split)
    found = {
        (image.path.relative_to(tmp_path).parts[0], image.split) for image in read(tmp_path).images
    }
    assert found == {('train', 'train'), ('valid', 'val')}


@pytest.mark.parametrize('name', WRITERS)
def test_missing_image_is_not_that_of_another_folder(name, tmp_path):
    for split in ('train', 'valid', 'test'):
        WRITERS[name](tmp_path / split)
    (path,) = tmp_path.glob('valid/**/a.png')
    path.unlink()
    labeled = read(tmp_path)
    assert [image.split for image in labeled.images if image.boxes] == ['test', 'train']
    assert problems(labeled)['image-not-found'].count == 1


def test_one_root_of_voc_need_not_split_as_another(tmp_path):
    for year, names in (('VOC2007', ('a', 'b')), ('VOC2012', ('b', 'a'))):
        WRITERS['voc'](tmp_path / year)
        write_changes(tmp_path / year, lists(train=names[0], val=names[1]))
    images = read(tmp_path).images
    found = {(image.path.parts[-3], image.path.stem): image.split for image in images}
    assert [*found.values()] == ['train', 'val', 'val', 'train']


def coco_of(image, **annotation):
    """Write a COCO file of one image, with a cat."""
    fields = {'id': 0, 'image_id': 0, 'category_id': 1, 'bbox': CAT[1], **annotation}
    categories = [{'id': 1, 'name': 'cat'}]
    images = [{'id': 0, 'file_name': image}]
    return {'images': images, 'annotations': [fields], 'categories': categories}


def test_image_of_a_class_without_its_box_is_no_background(tmp_path):
    changes = coco_of('a.png')
    changes['images'] += [{'id': i, 'file_name': f'{i}.png'} for i in (1, 2)]
    changes['categories'].append({'id': 2, 'name': 'empty'})
    of_images = [{'id': i, 'image_id': i, 'category_id': i} for i in (1, 2)]
    changes['annotations'] += of_images
    write_changes(tmp_path, {f'{name}.png': IMAGE for name in 'a12'} | {'labels.json': changes})
    labeled = read(tmp_path)
    assert boxes(labeled) == {'a.png': [CAT], '2.png': []}
    assert problems(labeled)['image-without-its-box'].examples == ['1.png']


def test_instances_come_before_keypoints_and_captions(tmp_path):
    for split in ('train2017', 'val2017'):
        captions = {**coco_of('1.png'), 'annotations': [{'id': 0, 'image_id': 0, 'caption': 'A'}]}
        del captions['categories']
        changes = {
            f'images/{split}/1.png': IMAGE,
            f'annotations/captions_{split}.json': captions,
            f'annotations/instances_{split}.json': coco_of('1.png'),
            f'annotations/person_keypoints_{split}.json': coco_of('1.png', keypoints=[1, 1, 2]),
        }
        write_changes(tmp_path, changes)
    labeled = read(tmp_path)
    # The files tell images of one name apart.
    found = {image.path.parent.name: image.split for image in labeled.images}
    assert found == {'train2017': 'train', 'val2017': 'val'}
    assert problems(labeled)['file-not-read'].count == 4
    for file in tmp_path.glob('annotations/instances*'):
        file.unlink()
    assert boxes(read(tmp_path)) == {'1.png': [CAT]}


def test_classes_of_several_files_agree_by_their_names(tmp_path):
    for split, names in (('train', ['cat', 'dog']), ('valid', ['dog', 'cat'])):
        categories = [{'id': i, 'name': name} for i, name in enumerate(names)]
        content = {**coco_of(f'{split}.png'), 'categories': categories}
        write_changes(tmp_path / split, {'labels.json': content, f'{split}.png': IMAGE})
    found = {name: each[0][0] for name, each in boxes(read(tmp_path)).items()}
    assert found == {'train.png': 'dog', 'valid.png': 'cat'}


def test_each_file_of_yolo_is_read_with_the_nearest_names(tmp_path):
    for folder, names in (('one', '[cat, dog]'), ('two', '[dog, cat]')):
        labels = {f'images/{folder}.png': IMAGE, f'labels/{folder}.txt': f'0 {BOX}'}
        write_changes(tmp_path / folder / 'train', labels)
        write_changes(tmp_path / folder, {'data.yaml': f'names: {names}'})
    labeled = read(tmp_path)
    found = {name: each[0][0] for name, each in boxes(labeled).items()}
    assert found == {'one.png': 'cat', 'two.png': 'dog'}
    assert labeled.all_classes() == ['cat', 'dog']


ODD_MASKS = (['abcdef'], [[1, 2, 3]], [[1, 2, 'x', 4, 5, 6]], 'x', {'counts': 5, 'size': [1, 1]})
FAR = 'image,xmin,ymin,xmax,ymax,class\na,.1,.25,.4,.75,cat\nb,0.5,0.5,1.0002,1,cat\n'
HALVES = 'image,x1,y1,x2,y2,class,split\n'
NO_CLASS = 'image_id,bbox,source\na,"[1, 2, 3, 4]",x\nb,,x\n'
UNLABELED = {'images': [{'id': 1, 'file_name': 't.png'}], 'categories': []}
EMPTY = {**UNLABELED, 'annotations': []}
# The only warning, and its examples.
WARNINGS = [
    ('voc', voc_corners(0, 5, 9, 9), 'box-before-first-pixel', 'a.xml'),
    ('voc', voc_corners(9, 9, 5, 11), 'corners-swapped', 'a.xml'),
    ('voc', {'pictures/a.png': None}, 'image-not-found', '1.jpg (a.xml)'),
    ('voc', {'pictures/c.png': IMAGE}, 'image-not-annotated', 'pictures/c.png'),
    ('voc', {'train.txt': 'c\nd\n', 'val.txt': 'e\n'}, 'lists-not-used', 'train.txt'),
    ('voc', {'pictures/a.png': None, 'a.heic': ''}, 'image-not-supported', 'a.heic'),
    ('yolo', {'data.yaml': f'{NAMES}train: images\nval: images'}, 'doubled-split', 'images'),
    ('yolo', {'images/b.png': 'no image'}, 'undecodable-image', 'b.png (cannot'),
    ('yolo', {'labels/a.txt': f'0 {CORNERS}'}, 'rotated-box', 'labels/a.txt'),
    ('yolo', {'labels/classes.txt': 'owl\nelk\n'}, 'other-class-names', 'labels/classes.txt)'),
    ('yolo', {'data.yaml': 'names: [cat, cat]'}, 'class-name-twice', 'cat ('),
    ('yolo', {'test/t.png': IMAGE}, 'image-not-labeled', 'test/t.png'),
    ('yolo', {'test/t.png': IMAGE, 'test/t.txt': ''}, 'image-not-labeled', 'test/t.png'),
    ('yolo', {'labels/b.txt': None}, 'image-not-annotated', 'images/b.png'),
    ('labelme', labelme_shapes('polygon', TRIPLE, MOVED), 'polygons-joined', 'a.json (cat)'),
    ('labelme', labelme_shapes('point', [[5, 5]]), 'shape-not-read', 'a.json (point)'),
    ('labelme', labelme_shapes('cuboid', [[5, 5]] * 8), 'shape-not-read', 'a.json (cuboid)'),
    ('csv', table(FAR), 'fraction-clipped', 'b ('),
    (
        'csv',
        table(via_table(RECTANGLE, {}) + 'b.png,1,{},{}'),
        'row-without-class',
        'boxes.csv, line 2',
    ),
    ('coco', coco_file(attributes={'rotation': 5}), 'rotated-box', 'instances.json: 0'),
    ('csv', table(NO_CLASS), 'table-without-class', "boxes.csv (other columns: ['source'])"),
    ('csv', table(f'{HEADER}a.png,10,20,40,60,7\nb'), 'class-id-as-name', '7 (boxes.csv)'),
    ('csv', {'more.csv': f'{HEADER}a.png,1,2,3,4,cat'}, 'image-in-two-tables', 'a.png ('),
    ('csv', table(BOTH.replace('60', '6')), 'corners-swapped', 'boxes.csv, line 2'),
    ('coco', coco_file(category_id=9), 'annotation-not-read', 'instances.json: 0'),
    ('coco', coco_file(image_id=9), 'annotation-not-read', 'instances.json: 0'),
    *(('coco', coco_file(segmentation=m), 'mask-not-read', 'instances.json: 0') for m in ODD_MASKS),
    ('coco', coco_file('categories', name='red panda'), 'category-name-twice', 'red panda (inst'),
    ('coco', {'test/t.png': IMAGE, 'test/i.json': UNLABELED}, 'image-not-labeled', 'test/t.png'),
    ('coco', {'test/t.png': IMAGE, 'test/i.json': EMPTY}, 'image-not-labeled', 'test/t.png'),
    ('coco', {'test/i.json': UNLABELED}, 'image-not-found', 't.png (i.json)'),
    ('coco', {'more.json': coco_of('x.png')}, 'image-not-found', 'x.png (more.json)'),
]


@pytest.mark.parametrize(('base', 'changes', 'name', 'example'), WARNINGS)
def test_warning(base, changes, name, example, tmp_path):
    labeled = read_changed(tmp_path, base, changes)
    (problem,) = labeled.problems
    assert problem.name == name
    assert example in problem.examples[0]
    assert all(image.path.name in ('a.png', 'b.png') for image in labeled.images)


# The first one has ten billion names.
BOMB = 'a0: &a0 [x]\n' + ''.join(f'a{n}: &a{n} [{f"*a{n - 1}, " * 10}]\n' for n in range(1, 11))
WRONG_ROWS = (
    f'2 {BOX}',
    f'-1 {BOX}',
    f'0.0 {BOX}',
    '0,0.5,0.5,0.3,0.3',
    '0 0.5 0.5 0.3',
    f'0 {BOX} 0.9',
    '0 0.5 0.5 0.1 x',
    '0 0.5 0.5 0.1 nan',
    '0 320 240 50 50',
    f'0 {BOX} {KEYPOINTS}',  # of which no kpt_shape tells
)
XML = '<?xml version="1.0" encoding="{}"?><annotation/>'
NOT_YAML = 'is not a valid YAML file'
WORD_AS_NUMBER = {'label': 'cat', 'coordinates': {'x': 'ten', 'y': 1, 'width': 2, 'height': 2}}
TWO_IMAGES = {'one/a.png': IMAGE, 'two/a.png': IMAGE, 'a.png': None}
AMBIGUOUS = r'the image may be .*one/a\.png or .*two/a\.png\. .*--images'
AND_VAL = r'a\.png is in two splits: train in .*train\.csv, and val in .*val\.csv'
ERRORS = [
    *(
        ('yolo', {'labels/b.txt': f'0 {BOX}\n' * n + row}, rf'b\.txt, line {n + 1}: .*must be')
        for row in WRONG_ROWS
        for n in (0, 1, 6)
    ),
    *(
        ('yolo', {'labels/a.txt': f'0 {BOX}\n0{" 0.5" * n}', **POSE}, f'a.txt, line 2.*{n} numbers')
        for n in (3, 8, 15)
    ),
    ('yolo', {'data.yaml': None}, 'labels and the folders above it have no names of classes'),
    ('yolo', {'data.yaml': f'{BOMB}names: *a10\n'}, 'has no names of classes'),
    ('yolo', {'data.yaml': 'names: {0: cat, b: red panda}\n'}, 'data.yaml has no names of'),
    ('yolo', {'data.yaml': f'{NAMES}train: {{a: b}}\n'}, 'train must be a path or a list of paths'),
    ('yolo', {'data.yaml': f'{NAMES}kpt_shape: 4\n'}, "kpt_shape must be two numbers, got '4'"),
    # A list of one name, that nothing runs.
    ('yolo', {'data.yaml': 'names: !!python/object/apply:os.system [exit]\n'}, 'not one of 0 to 0'),
    ('yolo', {'data.yaml': 'names: ' + '[' * 10_000}, NOT_YAML),
    ('yolo', {'obj.names': 'dog\n'}, r'data\.yaml and .*obj\.names name the classes differently'),
    ('yolo', {'labels_old/a.txt': f'0 {BOX}'}, r'a\.png has two files of annotations'),
    ('voc', {'pictures/a.xml': voc_file()}, r'a\.png has .* in two places: .*annots/a.xml and'),
    ('voc', {'annots/b.xml': '<annotation>'}, r'b\.xml is not valid XML'),
    ('voc', {'annots/b.xml': XML.format('gbk')}, r'b\.xml is not valid XML: multi-byte'),
    ('voc', {'annots/b.xml': XML.format('Unicode')}, r'b\.xml is not valid XML: unknown enc'),
    ('voc', voc_objects(voc_object('', CAT[1])), r'a\.xml: an object has no <name>'),
    ('voc', voc_objects(voc_object(*CAT, x='one')), r"a\.xml: could not .*'one'"),
    ('voc', voc_objects(voc_object(*CAT, x='')), r'a\.xml: an object has no <bndbox/xmin'),
    ('voc', voc_objects(voc_object(*CAT, x='nan')), r"a\.xml: .*xmin> must be .* finite .*'nan'"),
    ('voc', voc_objects(voc_object(*CAT, 'maybe')), r'a\.xml: <difficult> must be one of'),
    *(
        ('voc', lists(**{name: 'a\nb', 'test': 'b'}), f"'b' is in two .*{name}.txt and")
        for name in ('train', 'trainval')
    ),
    *(
        ('csv', table(f'{HEADER}a,{x},1,2,3,cat'), rf"boxes\.csv, line 2: .*'{x}'")
        for x in ('ten', 'nan', '')
    ),
    ('csv', table(via_table(RECTANGLE, {'a': 'x', 'b': 'y'})), 'line 2: .*none of the attrib'),
    ('csv', table(f'{HEADER}a,0,0,9,9,"{"a" * 200_000}'), 'is not a valid CSV'),
    ('csv', {'train.csv': BOTH, 'val.csv': BOTH}, AND_VAL),
    ('csv', TWO_IMAGES, AMBIGUOUS),
    ('csv', table('a,10,20,40,60,cat\n' * 4000 + 'b,ten,20,40,60,cat'), r's\.csv begins with rows'),
    ('csv', table(None), 'no annotations in a known format.*it has no files'),
    ('csv', table('patientId,x,y'), 'no annotations in a known format.*it has 1 like boxes.csv'),
    ('csv', table(f'{HALVES}a,1,2,3,4,cat,train\na,1,2,3,5,cat,val'), 'two splits: train, val'),
    ('csv', {'a.xml': voc_file()}, r'voc \(1 files\), csv \(1 files\).*--format'),
    ('labelme', labelme_shapes('circle', 5), r'a\.json: damaged shape'),
    ('labelme', labelme_shapes('circle', [[0, 0], [9, 9]], label=None), r'a\.json: .*no label'),
    ('createml', createml_file({**CAT_CENTER, 'label': None}), r'annotations\.json: .*no label'),
    ('labelme', TWO_IMAGES, rf'a\.json: {AMBIGUOUS}'),
    ('createml', createml_file(WORD_AS_NUMBER), r's\.json: damaged record .*could not convert'),
    ('createml', createml_file(name='a.json'), r'a\.json and .*annotations\.json'),
    ('coco', coco_file(iscrowd='no'), r'instances\.json: 0: "iscrowd" must be 0 or 1'),
    ('coco', coco_file(iscrowd=2), r'instances\.json: 0: "iscrowd" must be 0 or 1'),
    ('coco', coco_file('images', id=1), r'instances\.json: the image id 1 is that of a\.png and b'),
    ('coco', coco_file('images', file_name=5), 'an image has no "id" or no "file_name"'),
    ('coco', coco_file('images', file_name='b.png'), r'instances\.json has .*b\.png twice'),
    ('coco', coco_file('categories', id=1), "the category id 1 is that of 'cat' and 'red panda'"),
    ('coco', {'instances.json': {**coco_of('a.png'), 'categories': []}}, 'no category has an "id"'),
    ('coco', {'more.json': coco_of('a.png')}, r'a\.png .*instances\.json and .*more\.json'),
    ('coco', {'instances.json': '{'}, r'instances\.json is not valid JSON'),
]


@pytest.mark.parametrize(('base', 'changes', 'message'), ERRORS)
def test_error(base, changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        read_changed(tmp_path, base, changes)


def test_wrong_rows_of_several_files_are_listed_and_counted(tmp_path):
    write_changes(tmp_path, {'data.yaml': 'names: [cat]'})
    for number in range(7):
        rows = f'0 {BOX}\n' if number == 2 else f'0 {BOX}\n8 {BOX}\n9 {BOX}\n'
        write_changes(tmp_path, {f'images/{number}.png': IMAGE, f'labels/{number}.txt': rows})
    with pytest.raises(ValueError) as error:
        read(tmp_path)
    *lines, last = str(error.value).splitlines()
    starts = [line.partition(': ')[0].rpartition('/')[2] for line in lines]
    assert starts == [f'{number}.txt, line 2' for number in (0, 1, 3, 4, 5)]
    assert last == 'In all, 12 rows of 6 files are wrong.'


def test_options_choose_a_format_and_the_images(tmp_path):
    WRITERS['csv'](tmp_path)
    write_changes(tmp_path, {'a.xml': voc_file(), 'other/a.png': IMAGE, 'other/b.png': IMAGE})
    labeled = read(tmp_path, format_name='csv', images=tmp_path / 'other')
    assert {image.path.parent.name for image in labeled.images} == {'other'}
    (tmp_path / 'boxes.csv').rename(tmp_path / 'val.csv')
    labeled = read(tmp_path / 'other', annotations=tmp_path / 'val.csv')
    assert splits(labeled) == {'a': 'val', 'b': 'val'}


@pytest.mark.parametrize('name', ['.', '..', '/', './', '../../../etc/passwd', '/etc/passwd'])
def test_name_that_is_no_image_is_not_found(name, tmp_path):
    write_changes(tmp_path, {'a.png': IMAGE, **table(f'{HEADER}{name},0,0,9,9,cat\n')})
    labeled = read(tmp_path)
    assert labeled.images == []
    assert [*problems(labeled)] == ['image-not-found', 'image-not-annotated']


def test_linked_folder_of_images_is_read_once(tmp_path):
    WRITERS['voc'](tmp_path / 'data')
    (tmp_path / 'data/pictures').rename(tmp_path / 'elsewhere')
    for name, target in (('pictures', 'elsewhere'), ('again', 'elsewhere'), ('all', 'data')):
        (tmp_path / 'data' / name).symlink_to(tmp_path / target)
    (tmp_path / 'elsewhere/up').symlink_to(tmp_path)
    assert boxes(read(tmp_path / 'data')) == {'a.png': [CAT, PANDA], 'b.png': []}


def test_pipe_is_no_file(tmp_path):
    os.mkfifo(tmp_path / 'a.json')
    os.symlink('/dev/zero', tmp_path / 'b.png')
    write_changes(tmp_path, {'c.png': IMAGE})
    assert list(list_files(tmp_path)) == [tmp_path / 'c.png']


KITTI = 'Car 0.00 0 -1.58 10.0 10.0 30.0 40.0 1.65 1.67 3.64 -0.65 1.71 46.70 -1.59\n'
LABEL_STUDIO = '[{"id": 1, "data": {"image": "a.png"}, "annotations": [{"id": 1, "result": []}]}]'
FOREIGN = {
    'annotations.xml': ('<?xml version="1.0"?><annotations><version>1.1</version>', 'CVAT'),
    'via3.csv': ('# Exported using VGG Image Annotator\n', 'VIA 3'),
    'vott.json': ('{"regions": [{"tags": [], "boundingBox": {"height": 9}}]}', 'VoTT'),
    'studio.csv': ('image,label\na.png,"[{""rectanglelabels"": [""cat""]}]"\n', 'Label Studio'),
    'annotation_train.odgt': ('{"ID": "a"}', 'odgt'),
    'via.json': ('{"a.png1": {"regions": [{"shape_attributes": {"name": "rect"}}]}}', 'VIA'),
    'export.json': (LABEL_STUDIO, 'Label Studio'),
    'min.json': ('[{"image": "a.png", "label": [{"rectanglelabels": ["cat"]}]}]', 'Label Studio'),
    'a.png.json': ('{"objects": [{"classTitle": "cat"}], "size": {"width": 9}}', 'Supervisely'),
    'export.ndjson': ('{"data_row": {"id": "x"}}', 'Labelbox'),
    'bdd.json': ('[{"name": "a", "labels": [{"box2d": {"x1": 1}}]}]', 'BDD100K'),
    'label_2/a.txt': (KITTI, 'KITTI'),
    'dota/a.txt': ('imagesource:X\ngsd:0.1\n1.0 1.0 9 1 9 9 1 9 small-vehicle 0\n', 'DOTA'),
    'train.txt': ('images/a b.png 10,20,40,60,0 1,2,3,4,1\n', 'keras-yolo3'),
    'annotations/a.txt': ('10,8,20,16,1,4,0,0\n', 'VisDrone'),
    'gt.txt': ('00001.ppm;983;388;1024;432;40\n', 'list of boxes'),
    'labels/plane_1.txt': ('plane_1.jpg\tplane\t10\t20\t40\t60\n', 'list of boxes'),
    'x/a.txt': ('# Compatible with PASCAL Annotation Version 1.00\nImage', "Pascal's text files"),
    'Cat/a.png.txt': ('% bbGt version=3\nCat 10 20 30 40 0 0 0 0 0 0 0\n', 'bbGt'),
    'xView_train.geojson': ('{"type": "FeatureCollection"}', 'GeoJSON'),
    'gt/gt.txt': ('1,1,912,484,97,109,0,7,1\n', 'MOT'),
    'cats.tfrecord-00000-of-00001': ('', 'TFRecord'),
    'SegmentationClass/a.png': ('', 'masks'),
}


def test_first_line_of_a_table_that_is_not_read_is_shown(tmp_path):
    table = 'subject,x,y,width,height\na,10,20,30,40\n'
    write_changes(tmp_path, {'images/a.png': IMAGE, 'labels.csv': table})
    with pytest.raises(
        ValueError, match=r"labels\.csv must name .*it is 'subject,x,y,width,height'"
    ):
        read(tmp_path)


@pytest.mark.parametrize('name', FOREIGN)
def test_format_that_is_not_read_is_named_with_what_to_export(name, tmp_path):
    text, tool = FOREIGN[name]
    write_changes(tmp_path, {'images/a.png': IMAGE, name: text})
    with pytest.raises(ValueError, match=f'{name}: .*{tool}.*does not read'):
        read(tmp_path)
