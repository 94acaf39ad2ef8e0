"""What a checkpoint may hold."""

import re

import hostile
import numpy as np
import pytest
import torch
from hostile import HAS_STAND_INS, save
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader

from mmdet_detnet import checkpoints
from mmdet_detnet.checkpoints import make_plain, read_checkpoint, restore

# test_older_torch_reads_plain_checkpoints_only covers what comes before.
needs_stand_ins = pytest.mark.skipif(not HAS_STAND_INS, reason='refused before torch 2.6')


def check_history(content):
    (history,) = content['message_hub']['log_scalars'].values()
    assert type(history) is HistoryBuffer
    assert history.data[0].tolist() == [1.0, 0.5, 1 / 3, 0.25, 0.2]
    assert history.data[1].tolist() == [2] * 5
    assert history.statistics('mean', 2) == pytest.approx(0.45 / 4)
    history.update(3.0)
    assert history.current() == 3.0


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


def test_checkpoint_is_downloaded_once(plain, tmp_path, serve):
    path = save(plain, tmp_path / 'epoch_1.pth')
    check_history(CheckpointLoader.load_checkpoint(f'{serve}/epoch_1.pth'))
    path.unlink()
    check_history(CheckpointLoader.load_checkpoint(f'{serve}/epoch_1.pth'))


def test_failed_download_says_where_to_save_the_file(serve):
    message = r'absent.pth cannot be downloaded \(.*404.*\). Save it as .*/absent.pth.'
    with pytest.raises(FileNotFoundError, match=message):
        CheckpointLoader.load_checkpoint(f'{serve}/absent.pth')


def test_failed_download_of_openmmlab_weights_says_it_too(tmp_path, monkeypatch):
    def fail(url, file, **options):
        raise OSError('no network')

    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    monkeypatch.setattr(torch.hub, 'download_url_to_file', fail)
    message = r'resnet50_msra-5891d200.pth cannot be downloaded \(no network\)'
    with pytest.raises(FileNotFoundError, match=message):
        CheckpointLoader.load_checkpoint('open-mmlab://detectron2/resnet50_caffe')


def test_weights_of_torchvision_are_found_without_torchvision(monkeypatch):
    """Most configs of MMDetection start from them."""
    asked = []
    monkeypatch.setattr(checkpoints, 'load_torchvision', lambda: None)
    monkeypatch.setattr(checkpoints, 'load_from_http', lambda url, _: asked.append(url))
    CheckpointLoader.load_checkpoint('torchvision://resnet50')
    assert asked == ['https://download.pytorch.org/models/resnet50-0676ba61.pth']
    with pytest.raises(ValueError, match=r'ision://resnet51 must .*resnet50.*; others need torchv'):
        CheckpointLoader.load_checkpoint('torchvision://resnet51')


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


def test_file_without_names_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r'list.pth is not loaded.*it is a list'):
        read_checkpoint(save([torch.zeros(1)], tmp_path / 'list.pth'))


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'absent.pth does not exist'):
        CheckpointLoader.load_checkpoint('absent.pth')
    with pytest.raises(FileNotFoundError, match='is not a file'):
        read_checkpoint(tmp_path)
