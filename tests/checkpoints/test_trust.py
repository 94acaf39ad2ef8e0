"""Nothing in a checkpoint runs."""

import os
import pickle
import subprocess
import sys
import tarfile
import zipfile

import hostile
import pytest
import torch
from hostile import HAS_STAND_INS, save
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader

from mmdet_detnet.checkpoints import make_plain, read_checkpoint

# torch extends the list for its own distributed modules, which mmengine's Runner imports.
SAFE_LIST = """
from torch import _weights_only_unpickler as unpickler, serialization

def list_safe():
    if hasattr(serialization, 'get_safe_globals'):
        return set(serialization.get_safe_globals())
    return dict(unpickler._get_allowed_globals())

before = list_safe()
import mmdet_detnet
assert list_safe() == before
import mmdet.models, mmengine.runner
before = list_safe()
import mmdet_detnet.training, mmdet_detnet.models, mmdet_detnet.weights
assert list_safe() == before
"""


def test_import_leaves_the_safe_list_as_it_is():
    assert subprocess.run([sys.executable, '-c', SAFE_LIST]).returncode == 0


@pytest.mark.parametrize('gadget', hostile.GADGETS)
@pytest.mark.parametrize('saved', ['plain', 'as mmengine does'])
def test_nothing_in_a_file_is_run(checkpoint, tmp_path, gadget, saved, unsafe_torch):
    if saved == 'plain':
        make_plain(checkpoint)
    mean = HistoryBuffer._statistics_methods['mean']
    marker = tmp_path / 'it ran'
    path = hostile.save_with_gadget(checkpoint, gadget, marker, tmp_path / 'hostile.pth')
    for load in (read_checkpoint, CheckpointLoader.load_checkpoint):
        if gadget is hostile.statistics_gadget and HAS_STAND_INS:
            load(str(path))
        else:
            with pytest.raises(ValueError, match=r'hostile.pth is not loaded'):
                load(str(path))
    assert not marker.exists()
    assert HistoryBuffer._statistics_methods['mean'] is mean


@pytest.mark.parametrize('gadget', hostile.GADGETS)
def test_gadgets_work_where_they_are_trusted(checkpoint, tmp_path, gadget):
    """The corpus is worth something: pickle itself runs each of them."""
    if gadget is hostile.statistics_gadget:
        return
    marker = tmp_path / 'it ran'
    made = gadget(marker)
    opcodes = made if isinstance(made, bytes) else pickle.dumps(made, 2)[2:-1]
    pickle.loads(pickle.PROTO + b'\x02' + opcodes + pickle.STOP)
    assert marker.exists()


def test_nothing_behind_a_url_is_run(plain, tmp_path, serve, unsafe_torch):
    marker = tmp_path / 'it ran'
    hostile.save_with_gadget(plain, hostile.plain_eval_gadget, marker, tmp_path / 'hostile.pth')
    with pytest.raises(
        ValueError, match=r'hostile.pth is not loaded: it includes (__builtin__.)?eval'
    ):
        CheckpointLoader.load_checkpoint(f'{serve}/hostile.pth')
    assert not marker.exists()


def test_nothing_behind_another_scheme_is_run(plain, tmp_path, serve, unsafe_torch, monkeypatch):
    marker = tmp_path / 'it ran'
    hostile.save_with_gadget(plain, hostile.plain_eval_gadget, marker, tmp_path / 'hostile.pth')
    models = {'resnet50': f'{serve}/hostile.pth'}
    monkeypatch.setattr('mmengine.runner.checkpoint.get_external_models', lambda: models)
    before = dict(os.environ)
    with pytest.raises(
        ValueError, match=r'hostile.pth is not loaded: it includes (__builtin__.)?eval'
    ):
        CheckpointLoader.load_checkpoint('open-mmlab://resnet50')
    assert not marker.exists()
    assert dict(os.environ) == before


def test_torchscript_is_refused_before_it_is_loaded(tmp_path, unsafe_torch):
    marker = tmp_path / 'it ran'
    path = hostile.save_script(marker, tmp_path / 'hostile.pth')
    for load in (read_checkpoint, CheckpointLoader.load_checkpoint):
        with pytest.raises(ValueError, match=r'hostile.pth is not loaded: it is a TorchScript'):
            load(str(path))
    assert not marker.exists()
    torch.jit.load(path)
    assert marker.exists()


def test_class_that_is_refused_is_named(plain, tmp_path):
    plain['meta']['where'] = tmp_path
    path = save(plain, tmp_path / 'object.pth')
    with pytest.raises(
        ValueError, match=r'object.pth is not loaded: it includes pathlib.*PosixPath'
    ):
        read_checkpoint(path)


def test_code_in_the_config_is_dropped(plain, tmp_path):
    plain['meta']['config'] = 'raise SystemExit'
    content = read_checkpoint(save(plain, tmp_path / 'epoch_1.pth'))
    assert 'config' not in content['meta']
    assert content['meta']['epoch'] == 1


OTHERS = ['/data/best_mAP_epoch_3.pth', 'photos', 'best_thesis.docx', 5]


@pytest.mark.parametrize('name', OTHERS)
def test_file_that_mmengine_would_remove_is_dropped(plain, tmp_path, name):
    (tmp_path / 'photos').mkdir()
    for own in ('best_thesis.docx', 'best_mAP_epoch_4.pth'):
        (tmp_path / own).touch()
    (tmp_path / 'best_epoch_1.pth').symlink_to(tmp_path / 'best_thesis.docx')
    info = plain['message_hub']['runtime_info']
    info.update(best_ckpt=name, last_ckpt='best_epoch_1.pth')
    info.update({'best_ckpt_mAP': '/old/run/best_mAP_epoch_4.pth'})
    info['keep_ckpt_ids'] = [1, '2_iter_57', f'/../{name}', '../3', [4]]
    content = read_checkpoint(save(plain, tmp_path / 'epoch_1.pth'))
    info = content['message_hub']['runtime_info']
    assert not {'best_ckpt', 'last_ckpt'} & set(info)
    assert info['best_ckpt_mAP'] == str(tmp_path / 'best_mAP_epoch_4.pth')
    assert info['keep_ckpt_ids'] == [1, '2_iter_57']


def test_file_that_swells_or_is_a_tar_file_is_refused(checkpoint, tmp_path):
    checkpoint['state_dict']['weight'] = torch.zeros(10_000)
    path = save(checkpoint, tmp_path / 'small.pth')
    hostile.rewrite(path, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 10_000
    with pytest.raises(ValueError, match=r'small.pth is not loaded: it is compressed'):
        read_checkpoint(path)
    with tarfile.open(tmp_path / 'old.pth', 'w') as archive:
        archive.add(path, 'pickle')
    with pytest.raises(ValueError, match=r'old.pth is not loaded: it is a tar file'):
        read_checkpoint(tmp_path / 'old.pth')
