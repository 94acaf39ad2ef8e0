"""`mmdet-detnet new`: what is written, said, repaired and refused."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from folders import CAT, WRITERS, voc_object, write_image, write_text, write_voc
from mmdet.registry import TRANSFORMS
from mmengine.config import Config
from PIL import Image

from mmdet_detnet.cli import main
from mmdet_detnet.data import images, project

NUM_IMAGES = 12
MODEL = 'faster-rcnn_detnet59-slim'


@pytest.fixture(autouse=True)
def no_picture(monkeypatch):
    monkeypatch.setattr(project, 'draw_distributions', lambda report, out: None)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder in VOC's format with a cat in each image, in the working directory."""
    monkeypatch.chdir(tmp_path)
    for number in range(NUM_IMAGES):
        write_image(tmp_path / f'my data/{number}.png')
        write_cat(tmp_path / 'my data', number, CAT[1])
    return tmp_path / 'my data'


def write_cat(folder, number, box):
    objects = voc_object('cat', box)
    write_text(folder / f'{number}.xml', f'<annotation>{objects}</annotation>')


def read_split(name, out='my_data-detector'):
    with open(f'{out}/annotations/{name}.json') as file:
        return json.load(file)


def new(*options):
    return main(['new', 'my data', *map(str, options)])


MODELS = (
    'faster-rcnn_detnet59-slim',
    'retinanet-conf_r50-slim',
    'double-head-ext_r50',
    'retinanet-conf_r50',
)


@pytest.mark.parametrize('model', MODELS)
def test_config_of_each_model(model, folder, capsys):
    assert new('--model', model) == 0
    file = f'my_data-detector/{model}.py'
    lines = open(file).read().splitlines()
    assert len(lines) <= 25
    config = Config.fromfile(file)
    assert config.train_dataloader.dataset.metainfo.classes == ('cat',)
    assert config.default_hooks.checkpoint.max_keep_ckpts == 2
    assert config.default_hooks.checkpoint.save_best == 'coco/bbox_mAP'
    assert [hook.type for hook in config.custom_hooks[-2:]] == ['EarlyStoppingHook', 'EMAHook']
    assert config.work_dir.endswith(f'/my_data-detector/{model}')
    head = config.model.get('roi_head', config.model).bbox_head
    assert head.num_classes == 1
    assert f'mmdet-detnet train {file}\n' in capsys.readouterr().out


def test_splits_are_written_and_kept(folder, capsys):
    assert new() == 0
    first = open('my_data-detector/splits.csv').read()
    assert [len(read_split(name)['images']) for name in ('train', 'val', 'test')] == [8, 2, 2]
    assert new('--seed', 3, '--overwrite') == 0
    assert open('my_data-detector/splits.csv').read() == first
    assert new('--seed', 3, '--overwrite', '--resplit') == 0
    assert open('my_data-detector/splits.csv').read() != first


def test_config_is_not_overwritten(folder, capsys):
    assert new() == 0
    config = Path('my_data-detector/faster-rcnn_detnet59-slim.py')
    config.write_text('# mine\n')
    assert new() == 2
    assert 'Use --overwrite to replace it' in capsys.readouterr().err
    assert config.read_text() == '# mine\n'


def test_small_boxes_get_larger_images_and_smaller_anchors(folder, capsys):
    for number in range(NUM_IMAGES):
        write_image(folder / f'{number}.png', 1600, 1200)
        write_cat(folder, number, (100, 100, 10, 10))
    assert new() == 0
    config = Config.fromfile('my_data-detector/faster-rcnn_detnet59-slim.py')
    assert config.image_scale == (640, 480)
    assert config.model.rpn_head.anchor_generator.scales == [1.0]
    resize = config.val_dataloader.dataset.pipeline[1]
    assert resize.scale == config.train_dataloader.dataset.pipeline[2].scale == (640, 480)


def test_start_from_is_in_the_config(folder, tmp_path, capsys):
    (tmp_path / 'weights.pth').touch()
    assert new('--start-from', 'weights.pth', '--epochs', 7) == 0
    config = Config.fromfile('my_data-detector/faster-rcnn_detnet59-slim.py')
    assert config.load_from == str(tmp_path / 'weights.pth')
    assert config.param_scheduler[1].T_max == config.train_cfg.max_epochs == 7


def test_problem_is_said_and_no_config_written(folder, capsys):
    write_cat(folder, 0, (90, 70, 30, 0))
    for number in range(1, NUM_IMAGES):
        write_cat(folder, number, (200, 10, 10, 10))
    assert new() == 1
    output = capsys.readouterr().out
    assert 'PROBLEM box-outside-image' in output
    assert '--fix' in output
    assert not list(folder.parent.glob('my_data-detector/*.py'))


def test_problem_leaves_the_earlier_config(folder, capsys):
    assert new() == 0
    config = Path('my_data-detector/faster-rcnn_detnet59-slim.py')
    before = config.read_text()
    write_cat(folder, 0, (200, 10, 10, 10))
    assert new('--overwrite', '--epochs', 7) == 1
    assert config.read_text() == before


@pytest.mark.parametrize('name', ['csv', 'yolo'])
def test_unreadable_images_are_left_out(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for split in ('train', 'val'):
        WRITERS[name](tmp_path / 'data' / split)
    for image in tmp_path.glob('data/*/**/b.png'):
        image.write_text('no image')
    assert main(['new', 'data']) == 0
    assert 'warning undecodable-image (2)' in capsys.readouterr().out
    for split in ('train', 'val'):
        assert len(read_split(split, 'data-detector')['images']) == 1


def test_split_without_a_readable_image_is_an_error(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for split in ('train', 'val'):
        WRITERS['csv'](tmp_path / 'data' / split)
    for image in tmp_path.glob('data/val/*.png'):
        image.write_text('no image')
    assert main(['new', 'data']) == 2
    assert 'no readable image is left for val' in capsys.readouterr().err


def damage(folder):
    """Cut an image, let a box reach over the edge, and one lie outside."""
    noise = np.random.default_rng(0).integers(0, 256, (80, 100, 3), np.uint8)
    (folder / '0.png').unlink()
    Image.fromarray(noise).save(folder / '0.jpg')
    content = (folder / '0.jpg').read_bytes()
    (folder / '0.jpg').write_bytes(content[: len(content) // 2])
    write_cat(folder, 1, (90, 70, 30, 40))
    write_cat(folder, 2, (200, 10, 10, 10))


def test_fix_writes_copies_and_leaves_the_data_alone(folder, capsys):
    damage(folder)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert new('--fix') == 0
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    output = capsys.readouterr().out
    for check in ('fixed-image', 'fixed-box', 'dropped-box'):
        assert f'warning {check} (1)' in output
    splits = [read_split(name) for name in ('train', 'val', 'test')]
    boxes = [each['bbox'] for split in splits for each in split['annotations']]
    assert sorted(map(tuple, boxes))[-1] == (90, 70, 10, 10)
    assert len(boxes) == NUM_IMAGES - 1
    (copy,) = folder.parent.glob('my_data-detector/repaired/*')
    names = [each['file_name'] for split in splits for each in split['images']]
    assert f'../my_data-detector/repaired/{copy.name}' in names


def list_content(folder):
    """Read every file below a folder, not those of the commands."""
    return {path: path.read_bytes() for path in folder.rglob('*') if path.is_file()}


@pytest.mark.parametrize(
    'name',
    ['annotations/train.json', 'annotations/val.json', 'splits.csv', 'boxes.png', f'{MODEL}.py'],
)
def test_no_file_of_the_users_is_replaced(name, folder, capsys):
    write_text(folder / name, 'mine')
    before = list_content(folder.parent)
    assert new('--out', 'my data', '--overwrite') == 2
    assert f'{name} is in the way' in capsys.readouterr().err
    assert list_content(folder.parent) == before


def test_links_in_the_output_folder_are_not_followed(folder, tmp_path, capsys):
    (tmp_path / 'elsewhere').mkdir()
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out/annotations').symlink_to(tmp_path / 'elsewhere')
    assert new('--out', 'out') == 2
    assert 'out/annotations is a link' in capsys.readouterr().err
    assert not list_content(tmp_path / 'elsewhere')


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
    assert main(['new', '.', '--out', 'first']) == 0
    assert main(['new', '.', '--out', 'second']) == 0
    assert 'warning folder-of-results (1)' in capsys.readouterr().out


def test_fix_turns_an_image_as_its_boxes_are(folder, capsys):
    size = '<size><width>60</width><height>90</height></size>'
    text = f'<annotation>{size}{voc_object("cat", (1, 1, 20, 20))}</annotation>'
    exif = Image.Exif()
    exif[0x0112] = 6
    (folder / '0.png').unlink()
    Image.new('RGB', (60, 90)).save(folder / '0.jpg', exif=exif)
    write_text(folder / '0.xml', text)
    assert new('--fix') == 0
    assert 'fixed-rotation (1)' in capsys.readouterr().out
    assert Image.open(folder.parent / 'my_data-detector/repaired/0.jpg.png').size == (60, 90)


def test_numbers_count_from_1_and_masks_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number, split in enumerate(('train', 'val')):
        WRITERS['labelme'](tmp_path / 'data' / split)
        write_image(tmp_path / 'data' / split / f'{number}.png')
    assert main(['new', 'data']) == 0
    split = read_split('train', 'data-detector')
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
def test_wrong_options_are_one_line(options, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(['new', *options]) == 2
    assert re.fullmatch(f'mmdet-detnet new: .*{re.escape(message)}.*\n', capsys.readouterr().err)


def test_images_without_any_box_are_an_error(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_voc(tmp_path / 'data')
    (tmp_path / 'data/annots/a.xml').unlink()
    assert main(['new', 'data']) == 2
    assert 'no box of an existing image' in capsys.readouterr().err


def test_12_bits_of_16_are_scaled_in_the_config(folder, capsys):
    for number in range(NUM_IMAGES):
        values = np.random.default_rng(number).integers(0, 4096, (80, 100), np.uint16)
        Image.fromarray(values).save(folder / f'{number}.png')
    assert new() == 0
    output = capsys.readouterr().out
    assert 'values-use-small-part' not in output
    assert 'the config scales them to 0 to 255' in output
    config = Config.fromfile('my_data-detector/faster-rcnn_detnet59-slim.py')
    for loader in (config.train_dataloader, config.val_dataloader, config.test_dataloader):
        data = dict(img_path=str(folder / '0.png'))
        for transform in loader.dataset.pipeline[:2]:
            data = TRANSFORMS.build(transform)(data)
        assert data['img'].shape == (80, 100, 3)
        assert data['img'].max() == pytest.approx(255, abs=5)
        assert loader.dataset.pipeline[2].type != 'Normalize'


def test_of_a_large_dataset_files_are_parsed_and_headers_read_once(tmp_path, monkeypatch, capsys):
    """What makes it fast: a second pass over COCO's own annotations takes half a minute."""
    monkeypatch.chdir(tmp_path)
    for split in ('train', 'val'):
        WRITERS['coco'](tmp_path / 'data' / split)
    parsed, opened, loads, open_image = [], [], json.loads, images.open_image
    monkeypatch.setattr(json, 'loads', lambda text: parsed.append(text) or loads(text))
    monkeypatch.setattr(images, 'open_image', lambda path: opened.append(path) or open_image(path))
    monkeypatch.setattr(images, 'SMALL_DATASET', 1)
    monkeypatch.setattr(images, '_decode', lambda path: 1 / 0)
    assert main(['new', 'data']) == 0
    # The two annotation files have the same content.
    assert parsed.count((tmp_path / 'data/val/instances.json').read_bytes()) == 2
    assert parsed.count((tmp_path / 'data-detector/annotations/train.json').read_bytes()) == 0
    assert len(opened) == len({*opened}) == 4


def test_picture_in_two_splits_is_a_warning(folder, capsys):
    """The images of the fixture are one picture."""
    assert new() == 0
    assert 'warning picture-in-two-splits' in capsys.readouterr().out
