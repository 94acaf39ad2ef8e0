"""The checks as a command and before training: unreadable files, damaged images, what stops."""

import json
import sys

import check_dataset as command
import cv2
import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image
from small_dataset import (
    HEIGHT,
    WIDTH,
    add_box,
    add_category,
    add_image,
    corners_for_sizes,
    make_annotation,
    mark_all,
    names,
    put,
)

from mmdet_detnet import config_path
from mmdet_detnet.data.check import (
    check_annotations,
    check_training_data,
    draw_distributions,
    report_training_data,
)
from mmdet_detnet.data.images import read_image
from mmdet_detnet.data.training_config import TrainingConfig
from mmdet_detnet.training import launch


@pytest.fixture
def run_command(tmp_path, monkeypatch):
    def run(text, *options):
        (tmp_path / 'data.json').write_text(text)
        paths = [str(tmp_path / 'data.json'), str(tmp_path / 'images')]
        monkeypatch.setattr(sys, 'argv', ['check_dataset.py', *paths, *options])
        return command.main()

    return run


def test_command_prints_counts_and_its_status_tells_of_problems(content, run_command, capsys):
    assert run_command(json.dumps(content), '--classes', 'cat', 'dog') == 0
    output = capsys.readouterr().out
    assert 'CocoDataset uses 2 of 2 images, with 4 boxes.' in output
    assert 'Problems: 0, warnings: 0.' in output
    add_box(area=0)(content)
    assert run_command(json.dumps(content)) == 1
    assert 'PROBLEM area-not-positive (1): annotations without a pos' in capsys.readouterr().out


def test_config_of_the_command_may_be_named(content, run_command, capsys):
    config = '--config', 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'
    assert run_command(json.dumps(content), *config) == 1
    assert 'classes that are not in the file' in capsys.readouterr().out
    assert run_command(json.dumps(content), '--config', 'absent.py') == 1
    assert capsys.readouterr().err == 'check_dataset: No such file: absent.py.\n'


@pytest.mark.parametrize(
    ('text', 'complaint'),
    [
        ('[]', 'must contain an object with the lists images, annotations, categories'),
        ('{"images": [], "annotations": []}', 'no list of objects "categories"'),
        ('{"images": [1], "annotations": [], "categories": []}', 'no list of objects "images"'),
        ('{"images": [', 'is not valid JSON'),
        ('[' * 100_000, 'is not valid JSON'),
        ('{"a": ' + '9' * 5000 + '}', 'is not valid JSON'),
        ('', 'is not valid JSON'),
    ],
)
def test_unreadable_file_gives_one_sentence(run_command, tmp_path, capsys, text, complaint):
    (tmp_path / 'images').mkdir()
    assert run_command(text) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert complaint in line
    assert str(tmp_path / 'data.json') in line


@pytest.mark.parametrize('has_boxes', [True, False])
def test_any_class_name_can_be_drawn(content, check, tmp_path, has_boxes):
    for number, name in enumerate([r'$\frac{$', '$a$', '{', '\\', '猫'], start=3):
        add_category(number, name)(content)
    content['annotations'] *= has_boxes
    draw_distributions(check(content), tmp_path / 'boxes.png')
    assert cv2.imread(str(tmp_path / 'boxes.png')).shape == (540, 1440, 3)


@pytest.mark.parametrize('share_left', [0, 0.5, 0.95])
def test_truncated_image_is_reported(content, check, tmp_path, share_left):
    file = tmp_path / 'images/a.png'
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share_left * len(whole))])
    (problem,) = check(content).problems
    assert problem.name == 'undecodable-image'
    assert problem.examples[0].startswith('a.png (')


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
    assert read_image(tmp_path / 'images/b.png', decode=False).size == (HEIGHT, WIDTH)
    (problem,) = check(content).problems
    assert problem.examples == [
        'b.png is 80 x 100, not 100 x 80 (swapped, as by EXIF, whose rotation mmdet applies)'
    ]


def test_headers_of_many_images_are_sampled(content, tmp_path):
    for number in range(3, 2501):
        add_image(number, f'{number}.png')(content)
    options = dict(content=content, max_images=1000, decode=False)
    check = check_annotations('many.json', TrainingConfig(), tmp_path, **options)
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
        (put('categories', name='cow'), ['class-not-in-file', 'category-not-in-classes']),
        (lambda content: content['categories'].reverse(), ['class-order']),
        (add_image(1, 'c.png'), ['duplicate-image-id']),
        (put('images', file_name='absent.png'), ['missing-image']),
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
    assert names(check) == ['degenerate-box']
    assert check.stopping_problems == []


def test_datasets_are_checked_wherever_they_are_joined_unless_of_other_formats(
    training_config, content
):
    config = training_config(content)
    leaf = config.train_dataloader.dataset
    joined = dict(type='ConcatDataset', datasets=[leaf, leaf])
    config.train_dataloader.dataset = dict(type='RepeatDataset', times=2, dataset=joined)
    assert len(check_training_data(config)) == 3
    config.val_dataloader = None
    config.train_dataloader.dataset = dict(type='VOCDataset', data_root='x')
    assert check_training_data(config) == []


def test_launcher_checks_the_data_first(tmp_path, content, training_config, capsys):
    mark_all(iscrowd=1)(content)
    config = training_config(content)
    config.model.roi_head.bbox_head.num_classes = 2
    config.dump(tmp_path / 'config.py')
    for words in ('only-crowds (1): all boxes are crowds', 'train.json does not exist.'):
        with pytest.raises(SystemExit) as stop:
            launch.train([str(tmp_path / 'config.py')], report_training_data)
        assert stop.value.code == 2
        assert words in capsys.readouterr().err
        (tmp_path / 'annotations/train.json').unlink(missing_ok=True)
