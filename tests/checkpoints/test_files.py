"""Atomic checkpoint files, and what is said of damaged ones."""

import errno
import io
import os

import pytest
import torch

from mmdet_detnet.checkpoints import (
    CheckpointFiles,
    belongs_to_run,
    find_newest,
    find_others,
    find_problem,
    read_checkpoint,
    sweep,
    write_checkpoint,
)

TEMPLATE = 'epoch_{}.pth'


def save(path, run=None):
    """Write a checkpoint, of a run or of another program; its content."""
    buffer = io.BytesIO()
    meta = {} if run is None else {'run': run}
    torch.save({'meta': meta, 'state_dict': {'weight': torch.arange(1000.0)}}, buffer)
    write_checkpoint(path, buffer.getvalue())
    return buffer.getvalue()


def flip_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ('damage', 'words'),
    [
        (flip_bit, 'damaged: the checksum of .* inside it does not match'),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), 'damaged'),
        (lambda path: path.write_bytes(b''), r'empty \(0 bytes\)'),
        (lambda path: path.write_bytes(b'\x01' * 1000), 'damaged'),
        (lambda path: path.write_bytes(b'\x1f\x8b\x08' + bytes(20)), 'damaged'),
    ],
)
def test_damaged_file_is_reported_and_not_loaded(damage, words, tmp_path):
    path = tmp_path / 'run' / 'epoch_1.pth'
    save(path)
    assert find_problem(path) is None
    damage(path)
    with pytest.raises(ValueError, match=f'epoch_1.pth is not loaded: it .*{words}'):
        read_checkpoint(path)


@pytest.mark.parametrize(('function', 'call'), [('replace', 0), ('fsync', 0), ('fsync', 1)])
def test_failed_write_leaves_an_intact_file(function, call, tmp_path, monkeypatch):
    path = tmp_path / 'epoch_1.pth'
    old = save(path, 'old')
    calls = iter(range(10))
    original = getattr(os, function)

    def fail(*args):
        if next(calls) == call:
            raise OSError(errno.ENOSPC, 'No space left on device')
        return original(*args)

    monkeypatch.setattr(os, function, fail)
    with pytest.raises(OSError, match=r'epoch_1.pth could not be written .* No space left'):
        save(path, 'new')
    assert (path.read_bytes() == old) == (call == 0)
    assert find_problem(path) is None
    assert list(tmp_path.iterdir()) == [path]


def test_newest_intact_file_is_found_and_skipped_ones_are_listed(tmp_path):
    for name in ('epoch_2', 'epoch_9', 'epoch_10', 'epoch_10_iter_57', 'best_mAP_epoch_11'):
        save(tmp_path / f'{name}.pth')
    assert find_newest(tmp_path, TEMPLATE) == (tmp_path / 'epoch_10_iter_57.pth', [])
    flip_bit(tmp_path / 'epoch_10_iter_57.pth')
    (tmp_path / 'epoch_10.pth').write_bytes(b'')
    newest, skipped = find_newest(tmp_path, TEMPLATE)
    assert newest == tmp_path / 'epoch_9.pth'
    names = [line.split()[0].rpartition('/')[2] for line in skipped]
    assert names == ['epoch_10_iter_57.pth', 'epoch_10.pth']


def test_checkpoints_of_another_run_are_not_resumed_from(tmp_path):
    for epoch, run in [(1, 'new'), (2, 'old'), (3, 'old')]:
        save(tmp_path / f'epoch_{epoch}.pth', run)
    assert find_newest(tmp_path, TEMPLATE) == (tmp_path / 'epoch_3.pth', [])
    (tmp_path / 'run_id').write_text('new\n')
    newest, skipped = find_newest(tmp_path, TEMPLATE)
    assert newest == tmp_path / 'epoch_1.pth'
    assert len(skipped) == 2
    assert all('is of another run than the last one in this folder' in line for line in skipped)
    assert find_others(tmp_path, TEMPLATE, 'new') == ['epoch_2.pth', 'epoch_3.pth']
    belong = [belongs_to_run(tmp_path / f'epoch_{epoch}.pth', tmp_path) for epoch in (1, 2)]
    assert belong == [True, False]


def test_outdated_files_of_a_run_are_swept_and_no_others(tmp_path):
    for epoch, run in enumerate(['ours', 'theirs', 'ours', 'ours', 'ours'], start=1):
        save(tmp_path / f'epoch_{epoch}.pth', run)
    for name in ('epoch_6.pth.tmp', 'notes.tmp', 'epoch_one.pth.tmp'):
        (tmp_path / name).touch()
    CheckpointFiles().remove(tmp_path / 'epoch_3.pth')  # before the next one is written
    # The fifth is newer than those kept: somebody resumed from an older one.
    kept = {tmp_path / 'epoch_3.pth', tmp_path / 'epoch_4.pth'}
    sweep(tmp_path, TEMPLATE, kept, 'ours')
    names = {f'epoch_{epoch}.pth' for epoch in (2, 3, 4, 5)} | {'notes.tmp', 'epoch_one.pth.tmp'}
    assert {path.name for path in tmp_path.iterdir()} == names
