"""Objects of Pascal VOC, whose corners are pixels counted from 1, both inside the box."""

import pytest
from folders import CAT, PANDA, splits, voc_object, write_image, write_text, write_voc
from folders import read as read_dataset
from mmdet.datasets import XMLDataset


def make_object(name='cat', corners=(1, 1, 9, 9), difficult=''):
    sides = zip(('xmin', 'ymin', 'xmax', 'ymax'), corners, strict=True)
    box = ''.join(f'<{side}>{value}</{side}>' for side, value in sides)
    return f'<object><name>{name}</name>{difficult}<bndbox>{box}</bndbox></object>'


@pytest.fixture
def read(tmp_path):
    """Write one annotation with its image, and read the folder."""

    def read(*objects, **options):
        write_image(tmp_path / 'JPEGImages/a.png')
        write_text(tmp_path / 'Annotations/a.xml', f'<annotation>{"".join(objects)}</annotation>')
        return read_dataset(tmp_path, **options)

    return read


def test_corners_are_pixels_or_positions(read):
    objects = make_object(corners=(1, 1, 100, 80)), make_object(corners=(11, 21, 11.5, 30))
    (image,) = read(*objects).images
    assert [each.box for each in image.boxes] == [(0, 0, 100, 80), (10, 20, 1.5, 10)]
    (image,) = read(*objects, zero_based=True).images
    assert [each.box for each in image.boxes] == [(1, 1, 99, 79), (11, 21, 0.5, 9)]


def test_coordinate_0_asks_for_zero_based(read):
    (problem,) = read(make_object(corners=(0, 5, 9, 9)), make_object(corners=(9, 0, 9, 9))).problems
    assert (problem.name, problem.count, problem.is_warning) == (
        'box-before-first-pixel',
        1,
        True,
    )
    assert '--zero-based' in problem.message
    assert not read(make_object(corners=(0, 5, 9, 9)), zero_based=True).problems


@pytest.mark.parametrize(
    ('text', 'is_crowd'),
    [('1', True), (' True ', True), ('yes', True), ('0', False), ('false', False), ('', False)],
)
def test_difficult_objects_are_crowds_however_they_are_marked(read, text, is_crowd):
    marked = make_object(difficult=f'<difficult>{text}</difficult>')
    (image,) = read(marked, make_object()).images
    assert [box.is_crowd for box in image.boxes] == [is_crowd, False]


@pytest.mark.parametrize(
    ('part', 'complaint'),
    [
        (make_object(name=''), 'an object has no <name>'),
        (make_object(corners=('', 1, 9, 9)), 'an object has no <bndbox/xmin>'),
        (make_object(corners=('one', 1, 9, 9)), "could not convert string to float: 'one'"),
        (make_object(corners=(1, 1, 'nan', 9)), "<bndbox/xmax> must be a finite number, got 'nan'"),
        (make_object(corners=(1, 1, 9, '1e400')), "<bndbox/ymax> must be a finite .* '1e400'"),
        (make_object(difficult='<difficult>maybe</difficult>'), '<difficult> must be one of'),
    ],
)
def test_damaged_object_names_the_file(read, part, complaint):
    with pytest.raises(ValueError, match=f'a.xml: {complaint}'):
        read(part)


def test_boxes_begin_where_mmdets_reader_has_them(read, tmp_path):
    size = '<size><width>100</width><height>80</height></size>'
    (image,) = read(size, voc_object(*CAT), voc_object(*PANDA)).images
    write_text(tmp_path / 'ImageSets/Main/train.txt', 'a\n')
    dataset = XMLDataset(
        ann_file=str(tmp_path / 'ImageSets/Main/train.txt'),
        data_prefix=dict(sub_data_root=str(tmp_path)),
        metainfo=dict(classes=('cat', 'red panda')),
        pipeline=[],
    )
    instances = dataset[0]['instances']
    assert [each['bbox_label'] for each in instances] == [0, 1]
    for ours, (left, top, right, _) in zip(
        image.boxes, (each['bbox'] for each in instances), strict=True
    ):
        assert ours.box[:2] == (left, top)
        # mmdet's reader takes the last pixel's near edge for the end of the box.
        assert ours.box[2] == right - left + 1


def write_lists(root, lists):
    for name, text in lists.items():
        write_text(root / f'{name}.txt', text)


MAIN = 'ImageSets/Main'


@pytest.mark.parametrize(
    ('lists', 'expected'),
    [
        ({f'{MAIN}/train': 'b', f'{MAIN}/val': 'a\n'}, {'a': 'val', 'b': 'train'}),
        ({f'{MAIN}/trainval': 'b', f'{MAIN}/test': 'a'}, {'a': 'test', 'b': 'train'}),
        (
            {f'{MAIN}/trainval': 'a\nb', f'{MAIN}/train': 'b', f'{MAIN}/val': 'a'},
            {'a': 'val', 'b': 'train'},
        ),
        (
            {'ImageSets/train': 'pictures/b.png annots/b.xml', 'ImageSets/val': 'a.png'},
            {'a': 'val', 'b': 'train'},
        ),
    ],
)
def test_lists_are_splits(lists, expected, tmp_path):
    write_voc(tmp_path)
    write_lists(tmp_path, lists)
    assert splits(read_dataset(tmp_path)) == expected


def test_each_root_has_its_own_lists(tmp_path):
    for year, names in (('VOC2007', ('a', 'b')), ('VOC2012', ('b', 'a'))):
        write_voc(tmp_path / year)
        lists = dict(zip((f'{MAIN}/train', f'{MAIN}/val'), names, strict=True))
        write_lists(tmp_path / year, lists)
    found = {
        image.path.relative_to(tmp_path).as_posix(): image.split
        for image in read_dataset(tmp_path).images
    }
    assert found == {
        'VOC2007/pictures/a.png': 'train',
        'VOC2007/pictures/b.png': 'val',
        'VOC2012/pictures/a.png': 'val',
        'VOC2012/pictures/b.png': 'train',
    }


@pytest.mark.parametrize('first', ['train', 'trainval'])
def test_image_in_two_lists_is_an_error(first, tmp_path):
    write_voc(tmp_path)
    write_lists(tmp_path / MAIN, {first: 'a\nb', 'test': 'b'})
    with pytest.raises(ValueError, match=rf"'b' is in two lists: .*{first}\.txt and .*test\.txt"):
        read_dataset(tmp_path)
