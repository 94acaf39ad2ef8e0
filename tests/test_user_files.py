"""Files of a user: what is read and written, and what is never replaced."""

import gc

import pytest

from mmdet_detnet import config_path
from mmdet_detnet.files import OutputFolder, check_files, read_json


@pytest.fixture
def output(tmp_path):
    return OutputFolder(tmp_path / 'out')


def test_own_file_is_replaced_by_a_later_command(output):
    output.check('sub/a.txt')
    assert not output.folder.exists()
    output.path('sub/a.txt').write_text('first')
    OutputFolder(output.folder).path('sub/a.txt').write_text('second')
    assert (output.folder / 'sub' / 'a.txt').read_text() == 'second'


def test_file_of_the_user_is_named_and_kept(output):
    output.folder.mkdir()
    (output.folder / 'a.txt').write_text('mine')
    with pytest.raises(FileExistsError, match=r'a\.txt is in the way'):
        output.path('a.txt')
    assert (output.folder / 'a.txt').read_text() == 'mine'


def test_link_is_not_followed_even_in_place_of_an_own_file(output, tmp_path):
    path = output.path('a.txt')
    path.write_text('ours')
    original = tmp_path / 'original.txt'
    original.write_text('mine')
    path.unlink()
    path.symlink_to(original)
    with pytest.raises(FileExistsError, match='is a link'):
        output.path('a.txt')


def test_linked_subfolder_is_not_followed(output, tmp_path):
    (tmp_path / 'images').mkdir()
    output.folder.mkdir()
    (output.folder / 'images').symlink_to(tmp_path / 'images')
    with pytest.raises(FileExistsError, match='images is a link'):
        output.path('images/1.png')
    assert not list((tmp_path / 'images').iterdir())


def test_list_of_own_files_is_not_written_through_a_link(output, tmp_path):
    (tmp_path / 'original.txt').write_text('mine')
    output.folder.mkdir()
    (output.folder / '.mmdet_detnet').symlink_to(tmp_path / 'original.txt')
    with pytest.raises(FileExistsError, match='must be a plain file'):
        output.path('a.txt')
    assert (tmp_path / 'original.txt').read_text() == 'mine'


@pytest.mark.parametrize('name', ['../a.txt', '/a.txt', 'sub/../../a.txt', ''])
def test_name_that_leads_out_of_the_folder_is_refused(output, name):
    with pytest.raises(ValueError, match='is not a path inside'):
        output.path(name)


def test_file_in_place_of_a_folder_is_named(output):
    output.folder.mkdir()
    (output.folder / 'sub').write_text('mine')
    with pytest.raises(FileExistsError, match='sub is a file'):
        output.path('sub/a.txt')
    with pytest.raises(FileExistsError, match='sub is a file'):
        OutputFolder(output.folder / 'sub')


def test_names_with_line_breaks_and_quotes_are_remembered(output):
    name = 'a "b"\nc.txt'
    output.path(name).write_text('1')
    OutputFolder(output.folder).path(name).write_text('2')
    assert (output.folder / name).read_text() == '2'


def test_missing_files_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    (tmp_path / 'here.pth').touch()
    with pytest.raises(FileNotFoundError, match="no config 'detnet/nothing.py'"):
        config_path('detnet/nothing.py')
    with pytest.raises(FileNotFoundError, match='No such file: nothing.pth'):
        check_files('https://example.org/detector.pth', '~/here.pth', 'nothing.pth')


def test_collector_runs_again_after_reading(tmp_path):
    (tmp_path / 'good.json').write_text('{"a": [1]}')
    (tmp_path / 'bad.json').write_text('{')
    assert read_json(tmp_path / 'good.json') == {'a': [1]}
    with pytest.raises(ValueError, match=r'bad\.json is not valid JSON'):
        read_json(tmp_path / 'bad.json')
    assert gc.isenabled()
