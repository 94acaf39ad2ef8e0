"""`mmdet-detnet new`: what is written, said, repaired and refused."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from folders import CAT, WRITERS, voc_file, voc_object, write_image, write_text, write_voc
from mmdet.registry import TRANSFORMS
from mmengine.config import Config
from PIL import Image

from mmdet_detnet.cli import main
from mmdet_detnet.data import images, project

NUM_IMAGES = 12
MODEL = 'faster-rcnn_detnet59-slim'
CONFIG = Path(f'my_data-detector/{MODEL}.py')


@pytest.fixture(autouse=True)
def no_picture(monkeypatch, tmp_path):
    monkeypatch.setattr(project, 'draw_distributions', lambda report, out: None)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def folder(tmp_path):
    """A folder in VOC's format with a cat in each image, in the working directory."""
    for number in range(NUM_IMAGES):
        write_image(tmp_path / f'my data/{number}.png')
        write_cat(tmp_path / 'my data', number, CAT[1])
    return tmp_path / 'my data'


def write_cat(folder, number, box):
    objects = voc_object('cat', box)
    write_text(folder / f'{number}.xml', f'<annotation>{objects}</annotation>')


def write_splits(name):
    """Write a dataset of two images for training, and the same for validation."""
    for split in ('train', 'val'):
        WRITERS[name](Path('my data', split).absolute())


def read_split(name):
    return json.loads(Path(f'my_data-detector/annotations/{name}.json').read_text())


def new(*options):
    return main(['new', 'my data', *map(str, options)])


@pytest.mark.parametrize('model', [MODEL, 'retinanet-conf_r50-slim', 'double-head-ext_r50'])
def test_config_of_each_model(model, folder, capsys):
    assert new('--model', model) == 0
    file = Path(f'my_data-detector/{model}.py')
    assert len(file.read_text().splitlines()) <= 26
    config = Config.fromfile(file)
    # The learning rate is that of this batch size, which --auto-scale-lr starts from.
    assert config.auto_scale_lr.base_batch_size == config.train_dataloader.batch_size == 2
    assert config.train_dataloader.dataset.metainfo.classes == ('cat',)
    assert config.default_hooks.checkpoint.max_keep_ckpts == 2
    assert config.default_hooks.checkpoint.save_best == 'coco/bbox_mAP'
    assert [hook.type for hook in config.custom_hooks[-2:]] == ['EarlyStoppingHook', 'EMAHook']
    assert config.work_dir.endswith(f'/my_data-detector/{model}')
    head = config.model.get('roi_head', config.model).bbox_head
    assert head.num_classes == 1
    output = capsys.readouterr().out
    assert f'mmdet-detnet train {file}\n' in output
    # The images of the fixture are one picture.
    assert 'warning picture-in-two-splits' in output


def test_splits_are_written_and_kept(folder, capsys):
    assert new() == 0
    file = Path('my_data-detector/splits.csv')
    first = file.read_text()
    assert [len(read_split(name)['images']) for name in ('train', 'val', 'test')] == [8, 2, 2]
    assert new('--seed', 3, '--group-by', '(.)', '--overwrite') == 0
    assert file.read_text() == first
    assert '--group-by changes nothing' in capsys.readouterr().out
    assert new('--seed', 3, '--overwrite', '--resplit') == 0
    assert file.read_text() != first


def test_small_boxes_get_larger_images_and_smaller_anchors(folder):
    for number in range(NUM_IMAGES):
        write_image(folder / f'{number}.png', 1600, 1200)
        write_cat(folder, number, (100, 100, 10, 10))
    assert new('--epochs', 7) == 0
    config = Config.fromfile(CONFIG)
    assert config.param_scheduler[1].T_max == config.train_cfg.max_epochs == 7
    assert config.image_scale == (640, 480)
    assert config.model.rpn_head.anchor_generator.scales == [1.0]
    resize = config.val_dataloader.dataset.pipeline[1]
    assert resize.scale == config.train_dataloader.dataset.pipeline[2].scale == (640, 480)


def test_problem_is_said_and_the_config_not_written(folder, capsys):
    assert new() == 0
    before = CONFIG.read_text()
    assert new() == 2
    assert 'Use --overwrite to replace it' in capsys.readouterr().err
    write_cat(folder, 0, (200, 10, 10, 10))
    assert new('--overwrite', '--epochs', 7) == 1
    output = capsys.readouterr().out
    assert 'PROBLEM box-outside-image' in output
    assert '--fix' in output
    assert CONFIG.read_text() == before


@pytest.mark.parametrize('name', ['createml', 'yolo'])
def test_unreadable_images_are_left_out_unless_no_others_are(name, tmp_path, capsys):
    write_splits(name)
    for image in tmp_path.glob('my data/*/**/b.png'):
        image.write_text('no image')
    assert new() == 0
    assert 'warning undecodable-image (2)' in capsys.readouterr().out
    assert [len(read_split(split)['images']) for split in ('train', 'val')] == [1, 1]
    for image in tmp_path.glob('my data/val/**/*.png'):
        image.write_text('no image')
    assert new('--overwrite', '--resplit') == 2
    assert re.search('(no readable image|none) is left for val', capsys.readouterr().err)


def damage(folder):
    """Cut an image, turn one, make one of floats, let a box cross the border, one lie outside."""
    noise = np.random.default_rng(0).integers(0, 256, (80, 100, 3), np.uint8)
    (folder / '0.png').unlink()
    Image.fromarray(noise).save(folder / '0.jpg')
    content = (folder / '0.jpg').read_bytes()
    (folder / '0.jpg').write_bytes(content[: len(content) // 2])
    write_cat(folder, 1, (90, 70, 30, 40))
    write_cat(folder, 2, (200, 10, 10, 10))
    size = '<size><width>60</width><height>90</height></size>'
    text = f'<annotation>{size}{voc_object("cat", (1, 1, 20, 20))}</annotation>'
    exif = Image.Exif()
    exif[0x0112] = 6
    (folder / '3.png').unlink()
    Image.new('RGB', (60, 90)).save(folder / '3.jpg', exif=exif)
    write_text(folder / '3.xml', text)
    (folder / '6.png').unlink()
    Image.fromarray(noise[..., 0] / np.float32(255)).save(folder / '6.tif')


def list_content(folder):
    return {path: path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def test_fix_writes_copies_and_leaves_the_data_alone(folder, capsys):
    damage(folder)
    before = list_content(folder)
    assert new('--fix') == 0
    assert list_content(folder) == before
    output = capsys.readouterr().out
    for check in ('fixed-image', 'fixed-rotation', 'dropped-image', 'fixed-box', 'dropped-box'):
        assert f'warning {check} (1)' in output
    splits = [read_split(name) for name in ('train', 'val', 'test')]
    boxes = [each['bbox'] for split in splits for each in split['annotations']]
    assert sorted(map(tuple, boxes))[-1] == (90, 70, 10, 10)
    assert len(boxes) == NUM_IMAGES - 2
    names = {each['file_name'] for split in splits for each in split['images']}
    assert names > {f'../my_data-detector/repaired/{name}.jpg.png' for name in (0, 3)}
    assert Image.open('my_data-detector/repaired/3.jpg.png').size == (60, 90)


def test_fix_does_not_clip_corners_that_are_stored_as_sizes(folder, capsys):
    for number in range(NUM_IMAGES):
        write_cat(folder, number, (50, 40, 90, 70))
    assert new('--fix') == 1
    assert 'PROBLEM corners-as-size' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('width', 'status', 'text'), [(50, 1, 'PROBLEM image-size'), (99, 0, 'warning fixed-size (12)')]
)
def test_fix_leaves_the_boxes_of_resized_images_to_the_user(folder, width, status, text, capsys):
    for number in range(NUM_IMAGES):
        write_image(folder / f'{number}.png', width, width * 4 // 5)
        write_text(folder / f'{number}.xml', voc_file(voc_object(*CAT)))
    assert new('--fix') == status
    assert text in capsys.readouterr().out


@pytest.mark.parametrize(
    'name', ['annotations/train.json', 'splits.csv', 'boxes.png', f'{MODEL}.py', 'a link']
)
def test_no_file_of_the_users_is_replaced(name, folder, tmp_path, capsys):
    message = f'{name} is in the way'
    if name == 'a link':
        (tmp_path / 'elsewhere').mkdir()
        (folder / 'annotations').symlink_to(tmp_path / 'elsewhere')
        message = 'annotations is a link'
    else:
        write_text(folder / name, 'mine')
    before = list_content(folder.parent)
    assert new('--out', 'my data', '--overwrite') == 2
    assert message in capsys.readouterr().err
    assert list_content(folder.parent) == before


def test_output_folder_may_be_that_of_the_data(folder, monkeypatch, capsys):
    damage(folder)
    before = list_content(folder)
    monkeypatch.chdir(folder)
    for _ in range(2):
        assert main(['new', '.', '--out', '.', '--images', '.', '--fix', '--overwrite']) == 0
        assert f'{NUM_IMAGES} images with' in capsys.readouterr().out
        assert {path: path.read_bytes() for path in before} == before
    # A training run leaves JSON files and pictures.
    write_text(folder / f'{MODEL}/vis_data/scalars.json', '{"lr": 1}\n{"lr": 1}\n')
    assert main(['new', '.', '--out', '.', '--fix', '--overwrite']) == 0


def test_results_among_the_data_are_left_out(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    for out in ('first', 'second'):
        assert main(['new', '.', '--out', out]) == 0
    assert 'warning folder-of-results (1)' in capsys.readouterr().out


def test_numbers_count_from_1_and_masks_stay():
    write_splits('labelme')
    assert new() == 0
    split = read_split('train')
    assert [each['id'] for each in split['annotations']] == [1, 2]
    assert [each['id'] for each in split['images']] == [1, 2]
    assert split['annotations'][1]['segmentation'] == [[50, 10, 70, 10, 60, 30]]
    assert split['annotations'][1]['area'] == 200


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['nowhere'], 'no such folder: nowhere'),
        (['.', '--start-from', 'x.pth'], 'no such file or folder: x.pth'),
        (['.', '--epochs', '0'], '--epochs must be at least 1, got 0'),
        (['.'], '. has no images'),
    ],
)
def test_wrong_options_are_one_line(options, message, capsys):
    assert main(['new', *options]) == 2
    assert re.fullmatch(f'mmdet-detnet new: .*{re.escape(message)}.*\n', capsys.readouterr().err)


def test_images_without_any_box_are_an_error(tmp_path, capsys):
    write_voc(tmp_path / 'my data')
    (tmp_path / 'my data/annots/a.xml').unlink()
    assert new() == 2
    assert 'no box of an existing image' in capsys.readouterr().err


def test_12_bits_of_16_are_scaled_in_the_config(folder, capsys):
    for number in range(NUM_IMAGES):
        values = np.random.default_rng(number).integers(0, 4096, (80, 100), np.uint16)
        Image.fromarray(values).save(folder / f'{number}.png')
    assert new() == 0
    output = capsys.readouterr().out
    assert 'values-use-small-part' not in output
    assert 'the config scales them to 0 to 255' in output
    config = Config.fromfile(CONFIG)
    for loader in (config.train_dataloader, config.val_dataloader, config.test_dataloader):
        data = dict(img_path=str(folder / '0.png'))
        for transform in loader.dataset.pipeline[:2]:
            data = TRANSFORMS.build(transform)(data)
        assert data['img'].shape == (80, 100, 3)
        assert data['img'].max() == pytest.approx(255, abs=5)
        assert loader.dataset.pipeline[2].type != 'Normalize'


def test_of_a_large_dataset_files_are_parsed_and_headers_read_once(tmp_path, monkeypatch):
    """What makes it fast: a second pass over COCO's own annotations takes half a minute."""
    write_splits('coco')
    parsed, opened, loads, open_image = [], [], json.loads, images.open_image
    monkeypatch.setattr(json, 'loads', lambda text: parsed.append(text) or loads(text))
    monkeypatch.setattr(images, 'open_image', lambda path: opened.append(path) or open_image(path))
    monkeypatch.setattr(images, 'SMALL_DATASET', 1)
    monkeypatch.setattr(images, '_decode', lambda path: 1 / 0)
    assert new() == 0
    # The two annotation files have the same content.
    assert parsed.count((tmp_path / 'my data/val/instances.json').read_bytes()) == 2
    written = Path('my_data-detector/annotations/train.json').read_bytes()
    assert parsed.count(written) == 0
    assert len(opened) == len({*opened}) == 4
