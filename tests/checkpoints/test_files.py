"""Atomic checkpoint files, and what is said of damaged ones."""

import errno
import hashlib
import io
import os

import pytest
import torch

from mmdet_detnet.checkpoints import (
    CheckpointFiles,
    checksum_path,
    find_newest,
    find_others,
    find_problem,
    read_checkpoint,
    sweep,
    write_checkpoint,
)


@pytest.fixture
def content(tmp_path):
    """Of a checkpoint, as `torch.save` writes it."""
    torch.save({'state_dict': {'weight': torch.arange(1000.0)}}, tmp_path / 'content')
    return (tmp_path / 'content').read_bytes()


@pytest.fixture
def path(tmp_path, content):
    path = tmp_path / 'run' / 'epoch_1.pth'
    write_checkpoint(path, content)
    return path


def flip_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_checksum_is_as_of_sha256sum(path, content):
    expected = f'{hashlib.sha256(content).hexdigest()}  epoch_1.pth\n'
    assert checksum_path(path).read_text() == expected
    assert find_problem(path) is None
    assert {file.name for file in path.parent.iterdir()} == {path.name, checksum_path(path).name}


@pytest.mark.parametrize('with_checksum', [True, False])
@pytest.mark.parametrize(
    ('damage', 'words'),
    [
        (flip_bit, 'damaged'),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), 'damaged|not whole'),
        (lambda path: path.write_bytes(b''), r'empty \(0 bytes\)'),
        (lambda path: path.write_bytes(b'\x01' * 1000), 'damaged'),
    ],
)
def test_damaged_file_is_reported_and_not_loaded(damage, words, with_checksum, path):
    if not with_checksum:
        checksum_path(path).unlink()
    assert find_problem(path) is None
    damage(path)
    with pytest.raises(ValueError, match=f'epoch_1.pth is not loaded: it .*({words})'):
        read_checkpoint(path)


@pytest.mark.parametrize('lines', [b'', b' \n'])
def test_checksum_without_a_line_fits_nothing(path, lines):
    checksum_path(path).write_bytes(lines)
    assert 'epoch_1.pth.sha256 has none' in find_problem(path)


def test_damaged_checksum_fits_nothing(path):
    checksum_path(path).write_bytes(b'\xff' * 80)
    assert 'is damaged: its SHA-256 is' in find_problem(path)


@pytest.mark.parametrize('function', ['replace', 'fsync'])
@pytest.mark.parametrize('call', [0, 1, 2])
def test_failed_write_leaves_the_old_file_intact(function, call, path, content, monkeypatch):
    calls = iter(range(10))
    original = getattr(os, function)

    def fail(*args):
        if next(calls) == call:
            raise OSError(errno.ENOSPC, 'No space left on device')
        return original(*args)

    monkeypatch.setattr(os, function, fail)
    torch.save({'state_dict': {}}, path.with_name('new'))
    new = path.with_name('new').read_bytes()
    with pytest.raises(OSError, match=r'epoch_1.pth could not be written .* No space left'):
        write_checkpoint(path, new)
    assert path.read_bytes() in (content, new)
    assert find_problem(path) is None
    assert not list(path.parent.glob('*.tmp'))


def test_newest_intact_file_is_found_and_skipped_ones_are_listed(tmp_path, content):
    for name in ('epoch_2', 'epoch_9', 'epoch_10', 'epoch_10_iter_57', 'best_mAP_epoch_11'):
        write_checkpoint(tmp_path / f'{name}.pth', content)
    assert find_newest(tmp_path, 'epoch_{}.pth') == (tmp_path / 'epoch_10_iter_57.pth', [])
    flip_bit(tmp_path / 'epoch_10_iter_57.pth')
    (tmp_path / 'epoch_10.pth').write_bytes(b'')
    newest, skipped = find_newest(tmp_path, 'epoch_{}.pth')
    assert newest == tmp_path / 'epoch_9.pth'
    assert [line.split()[0] for line in skipped] == [
        str(tmp_path / 'epoch_10_iter_57.pth'),
        str(tmp_path / 'epoch_10.pth'),
    ]


def save_of_run(path, run):
    buffer = io.BytesIO()
    torch.save({'meta': {'run': run}, 'state_dict': {}}, buffer)
    write_checkpoint(path, buffer.getvalue())


def test_older_files_go_when_the_new_one_is_there(tmp_path):
    for epoch, run in enumerate(['ours', 'ours', 'theirs']):
        save_of_run(tmp_path / f'epoch_{epoch}.pth', run)
    store = CheckpointFiles()
    for epoch in range(3):
        store.remove(tmp_path / f'epoch_{epoch}.pth')
    assert len([*tmp_path.iterdir()]) == 6
    # The second was replaced by a new file of its name, the third is another run's.
    store.remove_outdated({tmp_path / 'epoch_1.pth'}, 'ours')
    assert {path.stem for path in tmp_path.glob('*.pth')} == {'epoch_1', 'epoch_2'}
    assert not (tmp_path / 'epoch_0.pth.sha256').exists()


def test_checkpoints_of_another_run_are_not_resumed_from(tmp_path):
    for epoch, run in [(1, 'new'), (2, 'old'), (3, 'old')]:
        save_of_run(tmp_path / f'epoch_{epoch}.pth', run)
    assert find_newest(tmp_path, 'epoch_{}.pth') == (tmp_path / 'epoch_3.pth', [])
    (tmp_path / 'run_id').write_text('new\n')
    newest, skipped = find_newest(tmp_path, 'epoch_{}.pth')
    assert newest == tmp_path / 'epoch_1.pth'
    assert [line.split(' is ')[1] for line in skipped] == [
        'of another run than the last one in this folder'
    ] * 2
    assert find_others(tmp_path, 'epoch_{}.pth', 'new') == ['epoch_2.pth', 'epoch_3.pth']


def test_leftovers_of_killed_saves_are_swept(tmp_path):
    runs = {1: 'ours', 2: 'theirs', 3: 'ours', 4: 'ours', 5: 'ours'}
    for epoch, run in runs.items():
        save_of_run(tmp_path / f'epoch_{epoch}.pth', run)
    leftovers = ['epoch_6.pth.tmp', 'epoch_6.pth.sha256', 'epoch_6.pth.sha256.tmp']
    mine = ['notes.tmp', 'epoch_one.pth.tmp', 'thesis.pth.sha256']
    for name in [*leftovers, *mine]:
        (tmp_path / name).touch()
    # The fifth is newer than those kept: somebody resumed from an older one.
    kept = {tmp_path / 'epoch_3.pth', tmp_path / 'epoch_4.pth'}
    sweep(tmp_path, 'epoch_{}.pth', kept, 'ours')
    assert {path.name for path in tmp_path.glob('*.pth')} == {
        f'epoch_{epoch}.pth' for epoch in (2, 3, 4, 5)
    }
    assert not (tmp_path / 'epoch_1.pth.sha256').exists()
    assert {path.name for path in tmp_path.iterdir()} >= set(mine)
    assert not {path.name for path in tmp_path.iterdir()} & set(leftovers)
