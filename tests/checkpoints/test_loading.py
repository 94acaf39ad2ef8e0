"""What a checkpoint may hold, and that nothing in it runs."""

import os
import pickle
import re
import subprocess
import sys
import tarfile
import zipfile

import hostile
import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.runner import CheckpointLoader

from mmdet_detnet.checkpoints import make_plain, read_checkpoint, restore
from mmdet_detnet.checkpoints.loading import weights_only_forced

# Before 2.6, torch has no stand-ins; test_older_torch_reads_plain_checkpoints_only covers that.
HAS_STAND_INS = hasattr(torch.serialization, 'safe_globals')
needs_stand_ins = pytest.mark.skipif(not HAS_STAND_INS, reason='refused before torch 2.6')

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
import mmdet_detnet.checkpoints, mmdet_detnet.engine, mmdet_detnet.models, mmdet_detnet.weights
assert list_safe() == before
"""


@pytest.fixture
def checkpoint():
    """Make what mmengine's Runner saves, with NumPy's values wherever it may have some."""
    hub = MessageHub('test')
    for step in range(5):
        hub.update_scalar('train/loss', 1.0 / (step + 1), count=2)
    hub.update_info('best_score', np.float64(0.5))
    hub.update_info('iter', np.int64(7))
    hub.update_info('sizes', np.arange(6, dtype='>i2').reshape(2, 3).T)
    palette = np.array([[1, 2, 3]], dtype=np.uint8)
    return dict(
        meta=dict(epoch=1, iter=5, seed=3, dataset_meta=dict(palette=palette)),
        state_dict=torch.nn.Linear(2, 2).state_dict(),
        message_hub=hub.state_dict(),
    )


@pytest.fixture
def plain(checkpoint):
    """Make what our hook saves."""
    make_plain(checkpoint)
    return checkpoint


def save(checkpoint, path):
    torch.save(checkpoint, path)
    return path


def check_history(content):
    (history,) = content['message_hub']['log_scalars'].values()
    assert type(history) is HistoryBuffer
    assert history.data[0].tolist() == [1.0, 0.5, 1 / 3, 0.25, 0.2]
    assert history.data[1].tolist() == [2] * 5
    assert history.statistics('mean', 2) == pytest.approx(0.45 / 4)
    history.update(3.0)
    assert history.current() == 3.0


def test_import_leaves_the_safe_list_as_it_is():
    assert subprocess.run([sys.executable, '-c', SAFE_LIST]).returncode == 0


def test_plain_checkpoint_loads_with_an_empty_safe_list(plain, tmp_path, monkeypatch):
    path = save(plain, tmp_path / 'epoch_1.pth')
    if HAS_STAND_INS:
        monkeypatch.setattr('torch._weights_only_unpickler._marked_safe_globals_set', set())
    content = torch.load(path, weights_only=True)
    restore(content)
    check_history(content)
    info = content['message_hub']['runtime_info']
    assert info == dict(best_score=0.5, iter=7, sizes=[[0, 3], [1, 4], [2, 5]])
    assert [type(value) for value in info.values()] == [float, int, list]
    assert content['meta']['dataset_meta']['palette'] == [[1, 2, 3]]


@needs_stand_ins
@pytest.mark.parametrize('numpy_module', [b'numpy._core', b'numpy.core'])
def test_checkpoint_of_mmengine_alone_loads(checkpoint, tmp_path, numpy_module):
    path = save(checkpoint, tmp_path / 'epoch_1.pth')
    hostile.rewrite(path, lambda data: re.sub(rb'numpy\._?core', numpy_module, data))
    trusted = set(torch.serialization.get_safe_globals())
    content = read_checkpoint(path)
    assert set(torch.serialization.get_safe_globals()) == trusted
    check_history(content)
    info = content['message_hub']['runtime_info']
    assert (info['best_score'], info['iter']) == (0.5, 7)
    np.testing.assert_array_equal(info['sizes'], [[0, 3], [1, 4], [2, 5]])
    np.testing.assert_array_equal(content['meta']['dataset_meta']['palette'], [[1, 2, 3]])


def test_mmengine_loads_through_the_package(plain, tmp_path):
    path = save(plain, tmp_path / 'epoch_1.pth')
    check_history(CheckpointLoader.load_checkpoint(str(path)))


@pytest.fixture
def unsafe_torch(monkeypatch):
    """Have torch unpickle everything unless it is told otherwise, as below 2.6 or by the user."""
    monkeypatch.delenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', raising=False)
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')


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
        ValueError, match=r'hostile.pth is not loaded: it holds (__builtin__.)?eval'
    ):
        CheckpointLoader.load_checkpoint(f'{serve}/hostile.pth')
    assert not marker.exists()


def test_nothing_behind_another_scheme_is_run(plain, tmp_path, serve, unsafe_torch, monkeypatch):
    marker = tmp_path / 'it ran'
    hostile.save_with_gadget(plain, hostile.plain_eval_gadget, marker, tmp_path / 'hostile.pth')
    models = {'resnet50': f'{serve}/hostile.pth'}
    monkeypatch.setattr('mmengine.runner.checkpoint.get_torchvision_models', lambda: models)
    with pytest.raises(pickle.UnpicklingError, match='eval'):
        CheckpointLoader.load_checkpoint('torchvision://resnet50')
    assert not marker.exists()


def test_torchscript_is_refused_before_it_is_loaded(tmp_path, unsafe_torch):
    marker = tmp_path / 'it ran'
    path = hostile.save_script(marker, tmp_path / 'hostile.pth')
    for load in (read_checkpoint, CheckpointLoader.load_checkpoint):
        with pytest.raises(ValueError, match=r'hostile.pth is not loaded: it is a TorchScript'):
            load(str(path))
    assert not marker.exists()
    torch.jit.load(path)
    assert marker.exists()


def test_checkpoint_is_downloaded_once(plain, tmp_path, serve):
    path = save(plain, tmp_path / 'epoch_1.pth')
    check_history(CheckpointLoader.load_checkpoint(f'{serve}/epoch_1.pth'))
    path.unlink()
    check_history(CheckpointLoader.load_checkpoint(f'{serve}/epoch_1.pth'))


def test_forcing_ends_where_it_should(monkeypatch, unsafe_torch):
    before = dict(os.environ)
    with weights_only_forced():
        assert os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD'] == '1'
        assert 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD' not in os.environ
    assert dict(os.environ) == before


def test_class_that_is_refused_is_named(plain, tmp_path):
    plain['meta']['where'] = tmp_path
    path = save(plain, tmp_path / 'object.pth')
    with pytest.raises(ValueError, match=r'object.pth is not loaded: it holds pathlib.*PosixPath'):
        read_checkpoint(path)


def test_code_in_the_config_is_dropped(plain, tmp_path):
    plain['meta']['config'] = 'raise SystemExit'
    content = read_checkpoint(save(plain, tmp_path / 'epoch_1.pth'))
    assert 'config' not in content['meta']
    assert content['meta']['epoch'] == 1


@pytest.mark.parametrize('name', ['/data/', '/data/..', '/data/.', '', 'photos', 'photos.zip', 5])
def test_file_that_mmengine_would_remove_is_dropped(plain, tmp_path, name):
    info = plain['message_hub']['runtime_info']
    info.update(best_ckpt=name, best_ckpt_mAP='/old/run/best_mAP_epoch_3.pth')
    info['keep_ckpt_ids'] = [1, '2_iter_57', f'/../{name}', '../3', [4]]
    content = read_checkpoint(save(plain, tmp_path / 'epoch_1.pth'))
    info = content['message_hub']['runtime_info']
    assert 'best_ckpt' not in info
    assert info['best_ckpt_mAP'] == '/old/run/best_mAP_epoch_3.pth'
    assert info['keep_ckpt_ids'] == [1, '2_iter_57']


def test_older_torch_reads_plain_checkpoints_only(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(torch, '__version__', '2.5.1')
    path = save(checkpoint, tmp_path / 'epoch_1.pth')
    message = r'epoch_1.pth is not loaded.*PlainCheckpointHook; reading these takes torch 2.6.0'
    with (
        pytest.warns(match='torch 2.5.1 reads.*stranger'),
        pytest.raises(ValueError, match=message),
    ):
        read_checkpoint(path)
    make_plain(checkpoint)
    path = save(checkpoint, tmp_path / 'epoch_2.pth')
    with pytest.warns(match='stranger'):
        check_history(read_checkpoint(path))


# The last one is the start of a compressed file, which a tar file may be.
@pytest.mark.parametrize('content', [b'', b'text', b'PK\x03\x04', b'\x1f\x8b\x08' + bytes(20)])
def test_damaged_file_is_named(tmp_path, content):
    path = tmp_path / 'epoch_1.pth'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r'epoch_1.pth is not loaded: '):
        read_checkpoint(path)


def test_file_that_swells_is_refused(checkpoint, tmp_path):
    checkpoint['state_dict']['weight'] = torch.zeros(10_000)
    path = save(checkpoint, tmp_path / 'small.pth')
    hostile.rewrite(path, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 10_000
    with pytest.raises(ValueError, match=r'small.pth is not loaded: it is compressed'):
        read_checkpoint(path)


def test_tar_file_is_refused(checkpoint, tmp_path):
    with tarfile.open(tmp_path / 'old.pth', 'w') as archive:
        archive.add(save(checkpoint, tmp_path / 'epoch_1.pth'), 'pickle')
    with pytest.raises(ValueError, match=r'old.pth is not loaded: it is a tar file'):
        read_checkpoint(tmp_path / 'old.pth')


def test_file_without_names_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r'list.pth is not loaded.*it is a list'):
        read_checkpoint(save([torch.zeros(1)], tmp_path / 'list.pth'))


def test_folder_is_no_checkpoint(tmp_path):
    with pytest.raises(FileNotFoundError, match='is not a file'):
        read_checkpoint(tmp_path)


def test_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match=r'absent.pth can not be found'):
        CheckpointLoader.load_checkpoint('absent.pth')
