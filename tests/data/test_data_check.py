"""The checks as a command and before training: unreadable files, damaged images, what stops."""

import json

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image
from small_dataset import (
    HEIGHT,
    WIDTH,
    add_box,
    add_image,
    corners_for_sizes,
    make_annotation,
    mark_all,
    names,
    put,
)

from mmdet_detnet import config_path
from mmdet_detnet.data.check import check_annotations, check_training_data, report_training_data
from mmdet_detnet.data.images import read_header, read_image
from mmdet_detnet.data.training_config import TrainingConfig
from mmdet_detnet.training import launch


def test_sound_data_set_has_no_problems(content, check, tmp_path):
    status, report = check(content, '--classes', 'cat', 'dog', with_picture=True)
    assert (status, names(report)) == (0, [])
    assert (report['images'], report['used_images'], report['kept_boxes']) == (2, 2, 4)
    assert cv2.imread(str(tmp_path / 'out/data_boxes.png')).shape == (540, 1440, 3)


def test_data_set_without_boxes_is_drawn(content, check):
    content['annotations'] = []
    assert names(check(content, with_picture=True)[1]) == ['no-boxes']


@pytest.mark.parametrize(
    ('content', 'complaint'),
    [
        ('[]', 'must contain an object with the lists images, annotations, categories'),
        ('{"images": [], "annotations": []}', 'no list of objects "categories"'),
        ('{"images": {}, "annotations": [], "categories": []}', 'no list of objects "images"'),
        ('{"images": [1], "annotations": [], "categories": []}', 'no list of objects "images"'),
        ('{"images": [', 'is not valid JSON'),
        ('[' * 100_000, 'is not valid JSON'),
        ('{"images": [' + '{"id": [' * 50_000, 'is not valid JSON'),
        ('', 'is not valid JSON'),
        ('null', 'must contain an object'),
        ('{"a": ' + '9' * 5000 + '}', 'is not valid JSON'),
        ('\x00', 'is not valid JSON'),
    ],
)
def test_unreadable_file_gives_one_sentence(check, tmp_path, capsys, content, complaint):
    (tmp_path / 'images').mkdir()
    assert check(content) == (1, None)
    (line,) = capsys.readouterr().err.splitlines()
    assert complaint in line
    assert str(tmp_path / 'data.json') in line


@pytest.mark.parametrize(
    'options',
    [
        ('--num-workers', '0'),
        ('--config', 'absent.py'),
        ('--config', 'absent.py', '--classes', 'cat'),
        ('--classes',),
    ],
)
def test_bad_usage_has_status_2(content, check, options):
    with pytest.raises(SystemExit) as stop:
        check(content, *options)
    assert stop.value.code == 2


@pytest.mark.parametrize('name', [r'$\frac{$', '$a$', '{', '\\', '猫', 'a' * 300])
def test_any_class_name_can_be_drawn(content, check, name):
    content['categories'][0]['name'] = name
    assert check(content, with_picture=True)[0] == 0


@pytest.mark.parametrize('share_left', [0, 0.5, 0.95])
def test_truncated_image_is_reported(content, check, tmp_path, share_left):
    file = tmp_path / 'images/a.png'
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share_left * len(whole))])
    status, report = check(content, '--num-workers', 1)
    assert (status, names(report)) == (1, ['undecodable-image'])
    assert report['problems'][0]['examples'][0].startswith('a.png (')


def test_truncated_image_is_reported_where_opencv_lets_it_pass(tmp_path, monkeypatch):
    """OpenCV 4.8 makes up the pixels that a truncated JPEG lacks."""
    file = tmp_path / 'a.jpg'
    # The thumbnail of a camera has a mark of its end, too.
    thumbnail = Image.Exif()
    thumbnail[0x010E] = 'a thumbnail \xff\xd9'
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    Image.fromarray(noise).save(file, exif=thumbnail)
    monkeypatch.setattr('mmcv.imfrombytes', lambda content: noise)
    assert read_image(file).error == ''
    file.write_bytes(file.read_bytes()[:-1000])
    assert 'truncated' in read_image(file).error


def test_rotation_by_exif_changes_the_size(content, check, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn by 90 degrees to show
    Image.new('RGB', (WIDTH, HEIGHT)).save(tmp_path / 'images/b.png', exif=exif)
    assert read_header(tmp_path / 'images/b.png').size == (HEIGHT, WIDTH)
    status, report = check(content)
    assert (status, names(report)) == (1, ['image-size'])
    assert 'b.png is 80 x 100, not 100 x 80 (mmdet applies' in report['problems'][0]['examples'][0]


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
        (put('categories', 'name', 'cow'), ['class-not-in-file', 'category-not-in-classes']),
        (lambda content: content['categories'].reverse(), ['class-order']),
        (add_image(1, 'c.png'), ['duplicate-image-id']),
        (put('images', 'file_name', 'absent.png'), ['missing-image']),
        (add_box(bbox=[20, 20, 0.5, 40]), ['degenerate-box']),
    ],
)
def test_training_is_stopped_by_wrong_annotations(content, training_config, change, problems):
    change(content)
    for check in check_training_data(training_config(content)):
        assert [problem.name for problem in check.stopping_problems] == problems


def test_single_box_that_is_dropped_does_not_stop_training(content, training_config):
    content['annotations'] += [
        make_annotation(number, 1, 1, [0, 0, 40, 40]) for number in range(10, 200)
    ]
    add_box(bbox=[20, 20, 0.5, 40])(content)
    check = check_training_data(training_config(content))[0]
    assert [problem.name for problem in check.problems] == ['degenerate-box']
    assert check.stopping_problems == []


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
    ('is_there', 'words'),
    [(True, 'only-crowds (1): all boxes are crowds'), (False, 'train.json does not exist.')],
)
def test_launcher_checks_the_data_first(
    tmp_path, content, training_config, capsys, is_there, words
):
    mark_all(iscrowd=1)(content)
    config = training_config(content)
    if not is_there:
        (tmp_path / 'annotations/train.json').unlink()
    config.model.roi_head.bbox_head.num_classes = 2
    config.dump(tmp_path / 'config.py')
    with pytest.raises(SystemExit) as stop:
        launch.train([str(tmp_path / 'config.py')], report_training_data)
    assert stop.value.code == 2
    assert words in capsys.readouterr().err
