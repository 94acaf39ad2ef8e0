"""One dataset in every format: a.png has a cat and a red panda, b.png has nothing.

The cat is 30 x 40 pixels at (10, 20), the panda 20 x 20 at (50, 10).
"""

import json

import cv2
import numpy as np
import pytest

from mmdet_detnet.data.formats import read_folder
from mmdet_detnet.data.options import Options

WIDTH, HEIGHT = 100, 80
CAT, PANDA = ('cat', (10, 20, 30, 40)), ('red panda', (50, 10, 20, 20))
FILES = ('a.png', 'b.png')
IMAGE = object()


def write_image(path, width=WIDTH, height=HEIGHT):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


def write_text(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def write_changes(folder, changes):
    """Write files: a text, bytes, the content of a JSON file, ``IMAGE``, or None to remove it."""
    for name, content in changes.items():
        path = folder / name
        if content is None:
            path.unlink()
        elif content is IMAGE:
            write_image(path)
        elif isinstance(content, bytes):
            path.write_bytes(content)
        else:
            write_text(path, content if isinstance(content, str) else json.dumps(content))


def yolo_row(number, box):
    left, top, width, height = box
    x, y = (left + width / 2) / WIDTH, (top + height / 2) / HEIGHT
    return f'{number} {x} {y} {width / WIDTH} {height / HEIGHT}\n'


def voc_object(name, box, difficult=0, x=None, rotation=0):
    """Write an object; ``x`` is a text instead of the left edge."""
    left, top, width, height = box
    corners = {'xmin': left + 1, 'ymin': top + 1, 'xmax': left + width, 'ymax': top + height}
    corners['xmin'] = corners['xmin'] if x is None else x
    places = ''.join(f'<{key}>{value}</{key}>' for key, value in corners.items())
    turned = f'<attribute><name>rotation</name><value>{rotation}</value></attribute>'
    return (
        f'<object><name>{name}</name><difficult>{difficult}</difficult>'
        f'<bndbox>{places}</bndbox><attributes>{turned}</attributes></object>'
    )


def voc_file(*objects, name='1.jpg'):
    size = f'<size><width>{WIDTH}</width><height>{HEIGHT}</height></size>'
    path = f'<filename>C:\\photos\\{name}</filename>'
    return f'<annotation>{path}{size}{"".join(objects)}</annotation>'


def voc_objects(*objects, **options):
    """Change the objects of a.png."""
    return {'annots/a.xml': voc_file(*objects, **options)}


def write_voc(root):
    for name, objects in (('a', [voc_object(*CAT), voc_object(*PANDA)]), ('b', [])):
        write_image(root / f'pictures/{name}.png')
        write_text(root / f'annots/{name}.xml', voc_file(*objects))


def write_yolo(root):
    rows = yolo_row(0, CAT[1]) + yolo_row(1, PANDA[1])
    names = 'names: {0: cat, 1: red panda}\n'
    write_changes(root, {f'images/{name}': IMAGE for name in FILES})
    write_changes(root, {'labels/a.txt': rows, 'labels/b.txt': '', 'data.yaml': names})


def write_csv(root):
    table = (
        'filename,width,height,class,xmin,ymin,xmax,ymax\na.png,100,80,cat,10,20,40,60\n'
        'a.png,100,80,red panda,50,10,70,30\nb.png,100,80,,,,,\n'
    )
    write_changes(root, {**dict.fromkeys(FILES, IMAGE), 'boxes.csv': table})


def labelme_shapes(kind, *points, label='cat', **content):
    """Change the file of a.png to shapes of one group."""
    shape = {'label': label, 'shape_type': kind, 'group_id': 1}
    shapes = [{**shape, 'points': each} for each in points]
    return {'a.json': {'imagePath': 'a.png', 'shapes': shapes, **content}}


def write_labelme(root):
    write_changes(root, dict.fromkeys(FILES, IMAGE))
    shapes = [
        {'label': 'cat', 'points': [[40, 60], [10, 20]], 'shape_type': 'rectangle'},
        {'label': 'red panda', 'points': [[50, 10], [70, 10], [60, 30]], 'shape_type': 'polygon'},
    ]
    for name, found in (('a', shapes), ('b', [])):
        write_changes(root, {f'{name}.json': {'imagePath': f'{name}.png', 'shapes': found}})


def write_createml(root):
    records = [{'image': name, 'annotations': []} for name in FILES]
    for label, (left, top, width, height) in (CAT, PANDA):
        center = {'x': left + width / 2, 'y': top + height / 2, 'width': width, 'height': height}
        records[0]['annotations'].append({'label': label, 'coordinates': center})
    write_changes(root, {**dict.fromkeys(FILES, IMAGE), 'annotations.json': records})


def coco_file(part='annotations', **changes):
    """Write the file with changes of the first image, annotation or category."""
    content = {
        'images': [
            {'id': i, 'file_name': n, 'width': 100, 'height': 80} for i, n in enumerate(FILES)
        ],
        'annotations': [
            {'id': number, 'image_id': 0, 'category_id': number, 'bbox': list(box), 'iscrowd': 0}
            for number, (_, box) in enumerate((CAT, PANDA))
        ],
        'categories': [{'id': 0, 'name': 'cat'}, {'id': 1, 'name': 'red panda'}],
    }
    content[part][0].update(changes)
    return {'instances.json': content}


def write_coco(root):
    write_changes(root, {**{f'pictures/{name}': IMAGE for name in FILES}, **coco_file()})


WRITERS = {
    'coco': write_coco,
    'voc': write_voc,
    'yolo': write_yolo,
    'csv': write_csv,
    'labelme': write_labelme,
    'createml': write_createml,
}


def read(folder, **options):
    """Read a folder; return the dataset."""
    return read_folder(Options(folder, **options))[1]


def boxes(labeled):
    """Take the label and box of each object, by the image's name."""
    return {
        image.path.name: [(box.label, pytest.approx(box.box)) for box in image.boxes]
        for image in labeled.images
    }


def splits(labeled):
    return {image.path.stem: image.split for image in labeled.images}


def problems(labeled):
    return {problem.name: problem for problem in labeled.problems}
