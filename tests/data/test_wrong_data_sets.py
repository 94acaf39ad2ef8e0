"""Wrong datasets and their verdicts: never a traceback, never a good report."""

import json

import pytest
from mmengine.config import Config
from PIL import Image
from small_dataset import (
    HEIGHT,
    WIDTH,
    add_box,
    add_category,
    add_image,
    make_annotation,
    names,
    put,
)

from mmdet_detnet import config_path
from mmdet_detnet.data.check import (
    check_annotations,
    check_training_data,
    report_training_data,
)
from mmdet_detnet.data.images import read_header
from mmdet_detnet.data.training_config import TrainingConfig
from mmdet_detnet.training import launch

HUGE = int('9' * 400)


def corners_for_sizes(content):
    for annotation in content['annotations']:
        left, top, width, height = annotation['bbox']
        annotation['bbox'] = [left, top, left + width, top + height]


def mark_all(**changes):
    return lambda content: [each.update(changes) for each in content['annotations']]


def rename_category(name):
    return lambda content: content['categories'][0].update(name=name)


@pytest.mark.parametrize(
    ('defect', 'change'),
    [
        ('only-crowds', mark_all(iscrowd=1)),
        ('corners-as-size', corners_for_sizes),
        ('bad-bbox', add_box(bbox=[1e30, 1e30, 1e30, 1e30], area=100)),
        ('bad-bbox', add_box(bbox=[-1e30, 0, 40, 40])),
        ('bad-bbox', add_box(bbox=[HUGE, 0, 40, 40], area=100)),
        ('bad-bbox', add_box(bbox=[0, 0, float('inf'), 40])),
        ('bad-bbox', add_box(bbox=[None, 0, 40, 40])),
        ('bad-bbox', add_box(bbox=[[0], 0, 40, 40])),
        ('bad-bbox', add_box(bbox=[True, 0, 40, 40])),
        ('bad-area', add_box(area=HUGE)),
        ('bad-area', add_box(area='1600')),
        ('bad-area', add_box(area=float('nan'))),
        ('bad-id', add_box(id=HUGE)),
        ('bad-id', add_box(id=[1])),
        ('bad-id', add_box(id=1.5)),
        ('bad-image_id', add_box(image_id={'a': 1})),
        ('bad-category_id', add_box(category_id=[1])),
        ('bad-iscrowd', add_box(iscrowd=2)),
        ('bad-iscrowd', add_box(iscrowd='yes')),
        ('bad-width', add_image(3, 'c.png', width=HUGE)),
        ('bad-width', add_image(3, 'c.png', width=0)),
        ('bad-width', add_image(3, 'c.png', width=-100)),
        ('bad-height', add_image(3, 'c.png', height=float('nan'))),
        ('bad-height', add_image(3, 'c.png', height=2**20 + 1)),
        ('bad-size', add_image(3, 'c.png', width=10**6, height=10**6)),
        ('extreme-proportions', add_image(3, 'c.png', width=20000, height=1)),
        ('extreme-proportions', add_image(3, 'c.png', width=2, height=10**5)),
        ('bad-file_name', add_image(3, 7)),
        ('bad-file_name', add_image(3, '')),
        ('bad-name', add_category(3, ['a'])),
        ('bad-name', add_category(3, '')),
    ],
)
def test_defect_is_a_problem(content, check, defect, change):
    change(content)
    status, report = check(content)
    assert status == 1
    assert defect in names(report)


@pytest.mark.parametrize(
    'content',
    [
        '[' * 100_000,
        '{"a":' * 100_000,
        '{"images": [' + '{"id": [' * 50_000,
        '',
        'null',
        '{"images": [], "annotations": [], "categories": [], ' + '"a": ' + '9' * 5000 + '}',
        '\x00',
        '{"images": []',
    ],
)
def test_file_that_cannot_be_read_gives_one_sentence(tmp_path, check, capsys, content):
    (tmp_path / 'images').mkdir()
    assert check(content) == (1, None)
    (line,) = capsys.readouterr().err.splitlines()
    assert str(tmp_path / 'data.json') in line


@pytest.mark.parametrize('name', [r'$\frac{$', '$', '$a$', '{', '\\', '猫', 'a' * 300])
def test_any_class_name_can_be_drawn(content, check, name):
    rename_category(name)(content)
    assert check(content, with_picture=True)[0] == 0


def test_boxes_over_the_edge_are_not_taken_for_corners(content, check):
    """One box of three reaches over the edge, and all but it could be corners."""
    content['annotations'] = [
        make_annotation(1, 1, 1, [0, 0, 40, 40]),
        make_annotation(2, 1, 2, [60, 40, 45, 40]),
        make_annotation(3, 2, 2, [10, 10, 40, 60]),
    ]
    status, report = check(content)
    assert (status, names(report)) == (0, ['box-over-edge'])


@pytest.mark.parametrize(('orientation', 'size'), [(1, (WIDTH, HEIGHT)), (6, (HEIGHT, WIDTH))])
def test_header_gives_the_size_that_mmdet_sees(tmp_path, orientation, size):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new('RGB', (WIDTH, HEIGHT)).save(tmp_path / 'a.png', exif=exif)
    assert read_header(tmp_path / 'a.png').size == size


def test_headers_of_many_images_are_sampled(content, tmp_path):
    content['images'] = [
        {'id': index, 'file_name': f'{index}.png', 'width': WIDTH, 'height': HEIGHT}
        for index in range(2500)
    ]
    file = tmp_path / 'many.json'
    file.write_text(json.dumps(content))
    check = check_annotations(file, TrainingConfig(), tmp_path, max_images=1000, decode=False)
    (missing,) = [each for each in check.problems if each.name == 'missing-image']
    assert missing.count == 834


@pytest.fixture
def training_config(content, tmp_path):
    """Write the dataset as the template wants it, and give the template's config of it."""

    def make(content):
        (tmp_path / 'annotations').mkdir(exist_ok=True)
        for split in ('train', 'val', 'test'):
            (tmp_path / f'annotations/{split}.json').write_text(json.dumps(content))
        config = Config.fromfile(config_path('custom/faster-rcnn_detnet59-slim_fpn_custom.py'))
        for loader in (config.train_dataloader, config.val_dataloader, config.test_dataloader):
            loader.dataset.data_root = f'{tmp_path}/'
            loader.dataset.metainfo.classes = ('cat', 'dog')
        return config

    return make


@pytest.mark.parametrize(
    ('change', 'problems'),
    [
        (lambda content: None, []),
        (mark_all(iscrowd=1), ['only-crowds']),
        (corners_for_sizes, ['corners-as-size']),
        (rename_category('cow'), ['class-not-in-file', 'category-not-in-classes']),
        (lambda content: content['categories'].reverse(), ['class-order']),
        (add_image(1, 'c.png'), ['duplicate-image-id']),
        (put('images', 'width', WIDTH + 5), ['image-size']),
        (put('images', 'file_name', 'absent.png'), ['missing-image']),
        (add_box(bbox=[20, 20, 0.5, 40]), ['degenerate-box']),
        (lambda content: content['annotations'].clear(), ['no-boxes']),
    ],
)
def test_training_is_stopped_by_wrong_annotations(content, training_config, change, problems):
    change(content)
    train, val = check_training_data(training_config(content))
    for report in (train, val):
        assert [problem.name for problem in report.stopping_problems] == problems


def test_single_box_that_is_dropped_does_not_stop_training(content, training_config):
    content['annotations'] += [
        make_annotation(number, 1, 1, [0, 0, 40, 40]) for number in range(10, 200)
    ]
    add_box(bbox=[20, 20, 0.5, 40])(content)
    report = check_training_data(training_config(content))[0]
    assert [problem.name for problem in report.problems] == ['degenerate-box']
    assert report.stopping_problems == []


@pytest.mark.parametrize('dataset', [dict(type='VOCDataset', data_root='x'), None])
def test_data_sets_of_other_formats_are_left_out(training_config, content, dataset):
    config = training_config(content)
    config.train_dataloader.dataset = dataset
    config.val_dataloader = None
    assert check_training_data(config) == []


def test_wrapped_and_joined_data_sets_are_all_checked(training_config, content):
    config = training_config(content)
    leaf = config.train_dataloader.dataset
    joined = dict(type='ConcatDataset', datasets=[leaf, leaf])
    config.train_dataloader.dataset = dict(type='RepeatDataset', times=2, dataset=joined)
    assert len(check_training_data(config)) == 3


@pytest.mark.parametrize(
    ('content_of', 'words'),
    [
        (mark_all(iscrowd=1), 'only-crowds (1): all boxes are crowds'),
        (None, 'train.json does not exist.'),
    ],
)
def test_launcher_checks_the_data_first(
    tmp_path, content, training_config, capsys, content_of, words
):
    config = training_config(content)
    if content_of is None:
        (tmp_path / 'annotations/train.json').unlink()
    else:
        content_of(content)
        config = training_config(content)
    config.model.roi_head.bbox_head.num_classes = 2
    config.dump(tmp_path / 'config.py')
    with pytest.raises(SystemExit) as stop:
        launch.train([str(tmp_path / 'config.py')], report_training_data)
    assert stop.value.code == 2
    assert words in capsys.readouterr().err
