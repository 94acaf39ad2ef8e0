"""Score thresholds stay with their checkpoint, and a checkpoint from elsewhere stays as it is."""

import io

import pytest
import torch
from mmengine.logging import HistoryBuffer

from mmdet_detnet.checkpoints import find_problem, make_plain, read_checkpoint, write_checkpoint
from mmdet_detnet.evaluation.score_threshold import (
    ScoreThresholds,
    parse_score_thr,
    read_score_thr,
    write_score_thr,
)

CHOSEN = ScoreThresholds(0.42, {'cat': 0.3, 'dog': 0.6})


@pytest.fixture
def own_checkpoint(tmp_path):
    """A checkpoint as the hooks of a run write it, with the id of the run."""
    content = {
        'state_dict': {'weight': torch.arange(3.0)},
        'meta': {'epoch': 3, 'run': 'abc'},
        'message_hub': {'log_scalars': {'train/loss': HistoryBuffer([1.0, 0.5], [1, 1])}},
    }
    make_plain(content)
    stream = io.BytesIO()
    torch.save(content, stream)
    file = tmp_path / 'run' / 'epoch_3.pth'
    write_checkpoint(file, stream.getvalue())
    (file.parent / 'run_id').write_text('abc\n')
    return file


def test_own_checkpoint_gets_the_thresholds_and_keeps_all_else(own_checkpoint):
    assert read_score_thr(own_checkpoint) is None
    assert write_score_thr(CHOSEN, own_checkpoint, own_checkpoint.parent) == own_checkpoint
    assert read_score_thr(own_checkpoint) == CHOSEN
    assert find_problem(own_checkpoint) is None
    content = read_checkpoint(own_checkpoint)
    assert content['state_dict']['weight'].tolist() == [0, 1, 2]
    assert content['meta']['epoch'] == 3
    assert content['message_hub']['log_scalars']['train/loss'].data[0].tolist() == [1.0, 0.5]


def test_equal_thresholds_do_not_rewrite_the_checkpoint(own_checkpoint):
    write_score_thr(CHOSEN, own_checkpoint, own_checkpoint.parent)
    before = own_checkpoint.stat().st_ino
    write_score_thr(CHOSEN, own_checkpoint, own_checkpoint.parent)
    assert own_checkpoint.stat().st_ino == before


def test_checkpoint_of_another_folder_is_not_rewritten(own_checkpoint, tmp_path):
    before = own_checkpoint.read_bytes()
    file = write_score_thr(CHOSEN, own_checkpoint, tmp_path / 'other')
    assert file == tmp_path / 'other' / 'score_thr.json'
    assert own_checkpoint.read_bytes() == before
    assert read_score_thr(own_checkpoint) is None
    assert read_score_thr(own_checkpoint, tmp_path / 'other') == CHOSEN
    # Nor is that of another program, which has no id of a run.
    torch.save({'state_dict': {}}, tmp_path / 'downloaded.pth')
    assert write_score_thr(CHOSEN, tmp_path / 'downloaded.pth', tmp_path).name == 'score_thr.json'
    assert torch.load(tmp_path / 'downloaded.pth', weights_only=True) == {'state_dict': {}}


def test_thresholds_of_this_folder_come_before_those_in_the_checkpoint(own_checkpoint, tmp_path):
    write_score_thr(CHOSEN, own_checkpoint, own_checkpoint.parent)
    here = ScoreThresholds(0.7, {'cat': 0.7})
    write_score_thr(here, own_checkpoint, tmp_path / 'other')
    assert read_score_thr(own_checkpoint, tmp_path / 'other') == here
    assert read_score_thr(own_checkpoint, own_checkpoint.parent) == CHOSEN


def test_thresholds_of_another_checkpoint_do_not_count(own_checkpoint, tmp_path):
    write_score_thr(CHOSEN, own_checkpoint, tmp_path)
    torch.save({'state_dict': {}}, tmp_path / 'other.pth')
    assert read_score_thr(tmp_path / 'other.pth', tmp_path) is None


@pytest.mark.parametrize('content', ['{', '[]', '{"sha256": "0"}'])
def test_damaged_file_is_named(own_checkpoint, content):
    (own_checkpoint.parent / 'score_thr.json').write_text(content)
    with pytest.raises(ValueError, match=r'score_thr\.json is damaged'):
        read_score_thr(own_checkpoint, own_checkpoint.parent)


@pytest.mark.parametrize(
    'value', [0.3, {'all': 0.3}, {'all': 2, 'classes': {}}, {'all': 0.3, 'classes': {'a': 'b'}}]
)
def test_other_values_in_a_file_are_refused(value):
    with pytest.raises(ValueError, match=r'x\.pth: score_thr must be'):
        parse_score_thr(value, 'x.pth')
