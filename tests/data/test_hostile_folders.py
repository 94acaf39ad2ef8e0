"""Datasets of somebody else: nothing in them is executed, or read without end."""

import html
import os

import pytest
from folders import IMAGE, voc_file, voc_object, write_changes
from mmengine.config import Config

from mmdet_detnet.cli import main


def write_voc_of(folder, name):
    """Write enough images with one object each, of one class."""
    for number in range(8):
        annotation = voc_file(voc_object(html.escape(name), (10, 10, 40, 40)))
        write_changes(folder, {f'{number}.png': IMAGE, f'{number}.xml': annotation})


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
