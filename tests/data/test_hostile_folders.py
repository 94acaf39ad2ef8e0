"""Data sets of somebody else: nothing in them is executed, or read without end."""

import html
import os

import pytest
from folders import voc_object, write_image, write_text, write_yolo

from mmdet_detnet.cli import main
from mmdet_detnet.data.files import list_files
from mmdet_detnet.data.formats import read_folder

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


def test_pipe_is_no_file(tmp_path):
    os.mkfifo(tmp_path / 'a.json')
    os.symlink('/dev/zero', tmp_path / 'b.png')
    write_image(tmp_path / 'c.png')
    assert list(list_files(tmp_path)) == [tmp_path / 'c.png']


@pytest.mark.parametrize('name', ['.', '..', '/', './', '../../../etc/passwd', '/etc/passwd'])
def test_name_that_is_no_image_is_not_found(name, tmp_path):
    write_image(tmp_path / 'a.png')
    write_text(tmp_path / 'boxes.csv', f'file,x1,y1,x2,y2,class\n{name},0,0,9,9,cat\n')
    _, labeled = read_folder(tmp_path)
    assert labeled.images == []
    assert [problem.name for problem in labeled.problems] == [
        'image-not-found',
        'image-not-annotated',
    ]


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
        assert len(read_folder(tmp_path)[1].images) == 2
        return
    with pytest.raises(ValueError, match=words):
        read_folder(tmp_path)


@pytest.mark.parametrize('text', [b'\xff', b'"' + b'a' * 200_000])
def test_damaged_table_is_named(text, tmp_path):
    write_image(tmp_path / 'a.png')
    (tmp_path / 'boxes.csv').write_bytes(b'file,x1,y1,x2,y2,class\na.png,0,0,9,9,' + text)
    with pytest.raises(ValueError, match=r'boxes\.csv is not a valid CSV file'):
        read_folder(tmp_path)
