"""Datasets of somebody else: nothing in them is executed, or read without end."""

import html
import os

import pytest
from folders import problems, read, voc_object, write_image, write_text, write_yolo
from mmengine.config import Config

from mmdet_detnet.cli import main
from mmdet_detnet.data.images import list_files

BOX = (10, 10, 40, 40)


def write_voc_of(folder, name):
    """Write enough images with one object each, of one class."""
    for number in range(8):
        write_image(folder / f'{number}.png')
        objects = voc_object(html.escape(name), BOX)
        write_text(folder / f'{number}.xml', f'<annotation>{objects}</annotation>')


# mmengine replaces these in the text of a config: by a path, by a value of another config, by a
# variable of the environment or the text behind the colon. That text may end the name's quotation.
CODE = r"""{{$Q:X|(?:"\',__import__("pathlib").Path("it ran").touch())#}}"""


@pytest.mark.parametrize('name', ['{{ fileDirname }}', '{{ _base_.model }}', '{{$HOME:x}}', CODE])
def test_class_name_is_never_a_part_of_a_config(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_voc_of(tmp_path / 'data', name)
    assert main(['new', 'data']) == 2
    assert not (tmp_path / 'it ran').exists()
    assert f'{name!r} must not contain {{{{' in capsys.readouterr().err
    assert not list(tmp_path.rglob('*.py'))


# With the kinds of quotes that Python's repr writes in different ways.
PLACES = (
    'back\\slash "new\nline" ünï 日本 {{ fileDirname }} {{$HOME:x}}',
    """Bob's {{$Q:'+str(open('PWNED','w'))+'}} '+str(open('PWNED','w'))+'""",
    """Bob's "+str(open("PWNED","w"))+"\\""",
)


@pytest.mark.parametrize('name', PLACES)
def test_name_of_a_folder_is_never_a_part_of_a_config(name, tmp_path, monkeypatch):
    place = tmp_path / name
    write_voc_of(place / name, 'cat')
    (place / 'weights.pth').touch()
    monkeypatch.chdir(place)
    options = ['--out', f'out{name}/out', '--start-from', 'weights.pth']
    assert main(['new', name, *options]) == 0
    file = place / f'out{name}/out/faster-rcnn_detnet59-slim.py'
    check_places(file, place)
    (place / f'out{name}').rename(place / 'moved')
    # The images are not in the folder that moved.
    (place / 'moved' / name).symlink_to(place / name)
    check_places(place / 'moved/out' / file.name, place)
    assert not list(tmp_path.rglob('PWNED'))


def check_places(file, place):
    config = Config.fromfile(file)
    dataset = config.train_dataloader.dataset
    assert os.path.samefile(dataset.data_root, file.parent)
    assert os.path.samefile(config.load_from, place / 'weights.pth')
    images = os.path.join(dataset.data_root, dataset.data_prefix.img)
    assert os.path.samefile(images, place / place.name)
    assert config.val_evaluator.ann_file == f'{file.parent}/annotations/val.json'
    assert config.work_dir == f'{file.parent}/{file.stem}'


def test_pipe_is_no_file(tmp_path):
    os.mkfifo(tmp_path / 'a.json')
    os.symlink('/dev/zero', tmp_path / 'b.png')
    write_image(tmp_path / 'c.png')
    assert list(list_files(tmp_path)) == [tmp_path / 'c.png']


@pytest.mark.parametrize('name', ['.', '..', '/', './', '../../../etc/passwd', '/etc/passwd'])
def test_name_that_is_no_image_is_not_found(name, tmp_path):
    write_image(tmp_path / 'a.png')
    write_text(tmp_path / 'boxes.csv', f'file,x1,y1,x2,y2,class\n{name},0,0,9,9,cat\n')
    labeled = read(tmp_path)
    assert labeled.images == []
    assert [*problems(labeled)] == ['image-not-found', 'image-not-annotated']


# The first one has ten billion names.
BOMB = 'a0: &a0 [x]\n' + ''.join(f'a{n}: &a{n} [{f"*a{n - 1}, " * 10}]\n' for n in range(1, 11))


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        (f'{BOMB}names: *a10\n', 'has no names of classes'),
        (f'{BOMB}names: [cat, red panda]\npath: *a10\n', ''),
        ('names: {0: cat, b: red panda}\n', 'has no names of classes'),
        ('names: [cat, red panda]\ntrain: 5\n', 'train must be a path or a list of paths'),
        ('names: [cat, red panda]\ntrain: [[a]]\n', 'train must be a path or a list of paths'),
        ('names: !!python/object/apply:os.system [exit]\n', 'is not a valid YAML file'),
        ('names: [\n', 'is not a valid YAML file'),
        ('[' * 10_000, 'is not a valid YAML file'),
    ],
)
def test_odd_description_of_yolo_is_read_or_named(text, words, tmp_path):
    write_yolo(tmp_path)
    write_text(tmp_path / 'data.yaml', text)
    if not words:
        assert len(read(tmp_path).images) == 2
        return
    with pytest.raises(ValueError, match=words):
        read(tmp_path)


def test_damaged_table_is_named(tmp_path):
    write_image(tmp_path / 'a.png')
    text = 'file,x1,y1,x2,y2,class\na.png,0,0,9,9,cat\na.png,0,0,9,9,"' + 'a' * 200_000
    write_text(tmp_path / 'boxes.csv', text)
    with pytest.raises(ValueError, match=r'boxes\.csv is not a valid CSV file'):
        read(tmp_path)
