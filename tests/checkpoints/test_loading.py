"""What a checkpoint may hold, and that nothing in it runs."""

import os
import pickle
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

from mmdet_detnet.checkpoints import make_plain, read_checkpoint, restore, weights_only_forced

# torch extends the list for its own distributed modules, which mmengine's Runner imports.
SAFE_LIST = """
from torch.serialization import get_safe_globals
before = set(get_safe_globals())
import mmdet_detnet
assert set(get_safe_globals()) == before
import mmdet.models, mmengine.runner
before = set(get_safe_globals())
import mmdet_detnet.checkpoints, mmdet_detnet.engine, mmdet_detnet.models, mmdet_detnet.weights
assert set(get_safe_globals()) == before
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


def test_plain_checkpoint_loads_with_an_empty_safe_list(checkpoint, tmp_path, monkeypatch):
    make_plain(checkpoint)
    path = save(checkpoint, tmp_path / 'epoch_1.pth')
    monkeypatch.setattr('torch._weights_only_unpickler._marked_safe_globals_set', set())
    content = torch.load(path, weights_only=True)
    restore(content)
    check_history(content)
    info = content['message_hub']['runtime_info']
    assert info == dict(best_score=0.5, iter=7, sizes=[[0, 3], [1, 4], [2, 5]])
    assert [type(value) for value in info.values()] == [float, int, list]
    assert content['meta']['dataset_meta']['palette'] == [[1, 2, 3]]


@pytest.mark.parametrize('numpy_module', [b'numpy._core', b'numpy.core'])
def test_checkpoint_of_mmengine_alone_loads(checkpoint, tmp_path, numpy_module):
    path = save(checkpoint, tmp_path / 'epoch_1.pth')
    hostile.rewrite(path, lambda data: data.replace(b'numpy._core', numpy_module))
    trusted = set(torch.serialization.get_safe_globals())
    content = read_checkpoint(path)
    assert set(torch.serialization.get_safe_globals()) == trusted
    check_history(content)
    info = content['message_hub']['runtime_info']
    assert (info['best_score'], info['iter']) == (0.5, 7)
    np.testing.assert_array_equal(info['sizes'], [[0, 3], [1, 4], [2, 5]])
    np.testing.assert_array_equal(content['meta']['dataset_meta']['palette'], [[1, 2, 3]])


def test_mmengine_loads_through_the_package(checkpoint, tmp_path):
    path = save(checkpoint, tmp_path / 'epoch_1.pth')
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
        if gadget is hostile.statistics_gadget:
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


def test_nothing_behind_a_url_is_run(checkpoint, tmp_path, serve, unsafe_torch):
    marker = tmp_path / 'it ran'
    hostile.save_with_gadget(
        checkpoint, hostile.plain_eval_gadget, marker, tmp_path / 'hostile.pth'
    )
    with pytest.raises(ValueError, match=r'hostile.pth is not loaded: it holds eval'):
        CheckpointLoader.load_checkpoint(f'{serve}/hostile.pth')
    assert not marker.exists()


def test_checkpoint_is_downloaded_once(checkpoint, tmp_path, serve):
    path = save(checkpoint, tmp_path / 'epoch_1.pth')
    check_history(CheckpointLoader.load_checkpoint(f'{serve}/epoch_1.pth'))
    path.unlink()
    check_history(CheckpointLoader.load_checkpoint(f'{serve}/epoch_1.pth'))


def test_forcing_ends_where_it_should(monkeypatch, unsafe_torch):
    before = dict(os.environ)
    with weights_only_forced():
        assert os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD'] == '1'
        assert 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD' not in os.environ
    assert dict(os.environ) == before


def test_class_that_is_refused_is_named(checkpoint, tmp_path):
    checkpoint['meta']['where'] = tmp_path
    path = save(checkpoint, tmp_path / 'object.pth')
    with pytest.raises(ValueError, match=r'object.pth is not loaded: it holds pathlib.*PosixPath'):
        read_checkpoint(path)


def test_code_in_the_config_is_dropped(checkpoint, tmp_path):
    checkpoint['meta']['config'] = 'raise SystemExit'
    content = read_checkpoint(save(checkpoint, tmp_path / 'epoch_1.pth'))
    assert 'config' not in content['meta']
    assert content['meta']['epoch'] == 1


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


@pytest.mark.parametrize('content', [b'', b'text', b'PK\x03\x04'])
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


def test_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match=r'absent.pth can not be found'):
        CheckpointLoader.load_checkpoint('absent.pth')
