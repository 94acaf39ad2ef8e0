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


def write_image(path, width=WIDTH, height=HEIGHT):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


def write_text(path, text, encoding='utf-8'):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding=encoding)


def yolo_row(number, box):
    left, top, width, height = box
    x, y = (left + width / 2) / WIDTH, (top + height / 2) / HEIGHT
    return f'{number} {x} {y} {width / WIDTH} {height / HEIGHT}\n'


def voc_object(name, box, difficult=0):
    left, top, width, height = box
    corners = {'xmin': left + 1, 'ymin': top + 1, 'xmax': left + width, 'ymax': top + height}
    places = ''.join(f'<{key}>{value}</{key}>' for key, value in corners.items())
    return (
        f'<object><name>{name}</name><difficult>{difficult}</difficult>'
        f'<bndbox>{places}</bndbox></object>'
    )


def write_voc(root):
    for name in ('a.png', 'b.png'):
        write_image(root / 'pictures' / name)
    size = f'<size><width>{WIDTH}</width><height>{HEIGHT}</height></size>'
    objects = {'a': voc_object(*CAT) + voc_object(*PANDA), 'b': ''}
    for name, text in objects.items():
        wrong_name = '<filename>C:\\photos\\1.jpg</filename>'
        content = f'<annotation>{wrong_name}{size}{text}</annotation>'
        write_text(root / f'annots/{name}.xml', content)


def write_yolo(root):
    for name in ('a.png', 'b.png'):
        write_image(root / 'images' / name)
    write_text(root / 'labels/a.txt', yolo_row(0, CAT[1]) + yolo_row(1, PANDA[1]))
    write_text(root / 'data.yaml', 'names: {0: cat, 1: red panda}\n')


def write_csv(root):
    for name in ('a.png', 'b.png'):
        write_image(root / name)
    rows = 'a.png,100,80,cat,10,20,40,60\na.png,100,80,red panda,50,10,70,30\nb.png,100,80,,,,,\n'
    write_text(root / 'boxes.csv', f'filename,width,height,class,xmin,ymin,xmax,ymax\n{rows}')


def write_labelme(root):
    shapes = [
        {'label': 'cat', 'points': [[40, 60], [10, 20]], 'shape_type': 'rectangle'},
        {'label': 'red panda', 'points': [[50, 10], [70, 10], [60, 30]], 'shape_type': 'polygon'},
    ]
    for name, found in (('a', shapes), ('b', [])):
        write_image(root / f'{name}.png')
        write_text(root / f'{name}.json', json.dumps({'imagePath': f'{name}.png', 'shapes': found}))


def write_createml(root):
    records = [{'image': 'a.png', 'annotations': []}, {'image': 'b.png', 'annotations': []}]
    for label, (left, top, width, height) in (CAT, PANDA):
        center = {'x': left + width / 2, 'y': top + height / 2, 'width': width, 'height': height}
        records[0]['annotations'].append({'label': label, 'coordinates': center})
    for record in records:
        write_image(root / record['image'])
    write_text(root / 'annotations.json', json.dumps(records))


def write_coco(root):
    images = [{'id': i, 'file_name': n, 'width': 100, 'height': 80} for i, n in enumerate(FILES)]
    annotations = [
        {'id': number, 'image_id': 0, 'category_id': number, 'bbox': list(box), 'iscrowd': 0}
        for number, (_, box) in enumerate((CAT, PANDA))
    ]
    categories = [{'id': 0, 'name': 'cat'}, {'id': 1, 'name': 'red panda'}]
    for name in FILES:
        write_image(root / 'pictures' / name)
    content = {'images': images, 'annotations': annotations, 'categories': categories}
    write_text(root / 'instances.json', json.dumps(content))


FILES = ('a.png', 'b.png')
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
