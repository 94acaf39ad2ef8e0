"""COCO's JSON files: several of them, files without boxes, and records that are wrong."""

import json

import pytest
from folders import CAT, FILES, PANDA, boxes, problems, read, splits, write_coco, write_image


@pytest.fixture
def change(tmp_path):
    """Return a function that changes the content of the annotation file."""
    write_coco(tmp_path)
    file = tmp_path / 'instances.json'

    def change(update):
        content = json.loads(file.read_text())
        update(content)
        file.write_text(json.dumps(content))
        return tmp_path

    return change


def write_split(folder, name, images, **annotation):
    """Write an annotation file with a cat in each image; without ``bbox`` None, it has a box."""
    records = [{'id': i, 'file_name': image} for i, image in enumerate(images)]
    fields = {'category_id': 1, 'bbox': CAT[1], **annotation}
    fields = {key: value for key, value in fields.items() if value is not None}
    annotations = [{'id': i, 'image_id': i, **fields} for i in range(len(images))]
    content = {'images': records, 'annotations': annotations}
    if 'caption' not in annotation:
        content['categories'] = [{'id': 1, 'name': 'cat'}]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(content))


def test_annotations_that_point_nowhere_are_counted(change):
    def add(content):
        first = content['annotations'][0]
        content['annotations'] += [{**first, 'id': 7, 'category_id': 9}]
        content['annotations'] += [{**first, 'id': 8, 'image_id': 9}]

    labeled = read(change(add))
    assert boxes(labeled)['a.png'] == [CAT, PANDA]
    assert problems(labeled)['annotation-not-read'].count == 2


def test_box_of_a_mask_alone(change):
    def replace_box(content):
        del content['annotations'][0]['bbox']
        content['annotations'][0]['segmentation'] = [[10, 20, 40, 20, 40, 60, 10, 60]]

    assert boxes(read(change(replace_box)))['a.png'] == [CAT, PANDA]


@pytest.mark.parametrize(
    'mask', [['abcdef'], [[1, 2, 3]], [[1, 2, 'x', 4, 5, 6]], 'x', {'counts': 5, 'size': [1, 1]}]
)
def test_wrong_mask_is_said_with_its_annotation(mask, change):
    labeled = read(change(lambda content: content['annotations'][0].update(segmentation=mask)))
    assert boxes(labeled)['a.png'] == [CAT, PANDA]
    assert labeled.images[0].boxes[0].segmentation is None
    assert problems(labeled)['mask-not-read'].examples == ['instances.json: 0']


def test_empty_mask_is_none(change):
    labeled = read(change(lambda content: content['annotations'][0].update(segmentation=[[]])))
    assert labeled.images[0].boxes[0].segmentation is None
    assert not labeled.problems


@pytest.mark.parametrize('value', ['no', 2, None])
def test_wrong_crowd_is_an_error_with_file_and_id(value, change):
    folder = change(lambda content: content['annotations'][1].update(iscrowd=value))
    with pytest.raises(ValueError, match=r'instances\.json: 1: "iscrowd" must be 0 or 1'):
        read(folder)


def test_image_id_of_two_images_is_an_error(change):
    folder = change(lambda content: content['images'][1].update(id=0))
    with pytest.raises(
        ValueError, match=r'instances\.json: the image id 0 is that of a\.png and b'
    ):
        read(folder)


def test_category_id_of_two_categories_is_an_error(change):
    folder = change(lambda content: content['categories'][1].update(id=0))
    with pytest.raises(ValueError, match=r"the category id 0 is that of 'cat' and 'red panda'"):
        read(folder)


def test_repeated_annotation_ids_and_category_names_are_said(change):
    def repeat(content):
        content['annotations'][1]['id'] = 0
        content['categories'][1]['name'] = 'cat'

    labeled = read(change(repeat))
    assert {box.label for image in labeled.images for box in image.boxes} == {'cat'}
    assert problems(labeled).keys() == {'annotation-id-twice', 'category-name-twice'}


def test_classes_of_several_files_agree_by_their_names(tmp_path):
    for split, names in (('train', ['cat', 'dog']), ('valid', ['dog', 'cat'])):
        write_image(tmp_path / split / f'{split}.png')
        write_split(tmp_path / split, 'labels.json', [f'{split}.png'])
        content = json.loads((tmp_path / split / 'labels.json').read_text())
        content['categories'] = [{'id': i, 'name': name} for i, name in enumerate(names)]
        (tmp_path / split / 'labels.json').write_text(json.dumps(content))
    found = {name: each[0][0] for name, each in boxes(read(tmp_path)).items()}
    assert found == {'train.png': 'dog', 'valid.png': 'cat'}


def test_instances_come_before_keypoints_and_captions(tmp_path):
    for split in ('train2017', 'val2017'):
        write_image(tmp_path / f'{split}/{split}.png')
        folder = tmp_path / 'annotations'
        write_split(folder, f'captions_{split}.json', [f'{split}.png'], caption='A cat.', bbox=None)
        write_split(folder, f'instances_{split}.json', [f'{split}.png'])
        write_split(folder, f'person_keypoints_{split}.json', [f'{split}.png'], keypoints=[1, 1, 2])
    labeled = read(tmp_path)
    assert splits(labeled) == {'train2017': 'train', 'val2017': 'val'}
    assert boxes(labeled)['val2017.png'] == [CAT]
    assert problems(labeled)['file-not-read'].count == 4


def test_keypoints_alone_are_read(tmp_path):
    write_image(tmp_path / 'a.png')
    write_split(tmp_path, 'person_keypoints.json', ['a.png'], keypoints=[1, 1, 2])
    assert boxes(read(tmp_path)) == {'a.png': [CAT]}


def test_folders_of_the_images_in_one_file_are_splits(tmp_path):
    names = [f'{split}/{split}.png' for split in ('train', 'val', 'test')]
    for name in names:
        write_image(tmp_path / name)
    write_split(tmp_path, 'annotations.json', names)
    assert splits(read(tmp_path)) == {'train': 'train', 'val': 'val', 'test': 'test'}


def test_images_of_one_name_are_told_apart_by_the_split_of_the_file(tmp_path):
    for split in ('train', 'val'):
        write_image(tmp_path / f'images/{split}2017/1.png')
        write_split(tmp_path / 'annotations', f'instances_{split}2017.json', ['1.png'])
    found = {image.path.parent.name: image.split for image in read(tmp_path).images}
    assert found == {'train2017': 'train', 'val2017': 'val'}


@pytest.mark.parametrize('annotations', [None, []])
def test_file_without_annotations_is_no_background(annotations, change):
    folder = change(lambda content: None)
    write_image(folder / 'test/t.png')
    content = {'images': [{'id': 1, 'file_name': 't.png'}], 'categories': []}
    content |= {} if annotations is None else {'annotations': annotations}
    (folder / 'test/image_info.json').write_text(json.dumps(content))
    labeled = read(folder)
    assert [*boxes(labeled)] == [*FILES]
    assert [problem.name for problem in labeled.problems] == ['image-not-labeled']


def test_image_in_two_files_is_an_error(change):
    folder = change(lambda content: None)
    (folder / 'more.json').write_text((folder / 'instances.json').read_text())
    with pytest.raises(ValueError, match=r'a\.png is in several.*instances\.json and .*more\.json'):
        read(folder)
