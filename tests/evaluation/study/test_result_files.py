"""The JSON files of a study, and the packed file of all."""

import json
import lzma

import pytest
from study_results import make_result, make_study

from mmdet_detnet.evaluation.study import (
    pack_results,
    result_files,
    study_report,
    write_report,
)
from mmdet_detnet.evaluation.study.result_files import PACKED, read_results

MATCHES = dict(
    truths=[2, 1, 1],
    image=[2, 0, 2, 0, 1, 0, 1],
    marked=[1, 4, 5],
    hit=[0b111, 0b10, 0],
    ignored=[0, 0, 0b11111111111],
)


def write(folder, *results):
    (folder / 'results').mkdir(parents=True, exist_ok=True)
    for number, result in enumerate(results):
        (folder / f'results/{number}.json').write_text(json.dumps(result))
    return folder


@pytest.fixture
def results():
    """Two detectors with three seeds each; some matches are not in the reduced order."""
    hits = {'plain': [1, 0, 0], 'better': [1, 1, 0]}
    made = [make_result(name, seed, hits[name]) for name in hits for seed in range(3)]
    for result in made[:2]:
        result['matches']['cell'] = MATCHES
    return made


def test_report_of_a_packed_file_is_that_of_its_json_files(results, tmp_path, monkeypatch):
    monkeypatch.setattr(study_report, 'RESAMPLES', 20)
    folder = write(tmp_path / 'run', *results)
    assert pack_results(folder, tmp_path / 'kept' / PACKED) == 6
    assert write_report(make_study(), tmp_path / 'kept') == write_report(make_study(), folder)


def test_packed_file_takes_new_results_and_the_same_ones_again(results, tmp_path):
    file = tmp_path / PACKED
    pack_results(write(tmp_path / 'first', *results[:4]), file)
    pack_results(write(tmp_path / 'others', *results[3:]), file)
    pack_results(write(tmp_path / 'all', *results[::-1]), tmp_path / 'at once.xz')
    assert file.read_bytes() == (tmp_path / 'at once.xz').read_bytes()


def test_repeated_run_replaces_a_failed_one(results, tmp_path):
    failed = dict(detector='plain', data_set='cells', seed=0, failure='exit status 1')
    file = tmp_path / PACKED
    pack_results(write(tmp_path / 'failed', failed), file)
    pack_results(write(tmp_path / 'made', results[0]), file)
    assert 'failure' not in read_results(tmp_path)['cells_plain_seed0']
    with pytest.raises(ValueError, match='different result of cells_plain_seed0'):
        pack_results(tmp_path / 'failed', file)


@pytest.mark.parametrize(
    ('seed', 'change', 'message'),
    [
        (0, dict(final_loss=0.4), 'another, different result of cells_plain_seed0'),
        (7, dict(config_hash='x'), 'cells_plain_seed0 and cells_plain_seed7 differ in config_hash'),
        (7, dict(options={'a': 1}), 'differ in options'),
        (7, dict(detector='new', per_class=dict(nut=1), matches=dict(nut=MATCHES)), 'per_class'),
    ],
)
def test_results_that_do_not_go_together_are_refused(results, tmp_path, seed, change, message):
    file = tmp_path / PACKED
    pack_results(write(tmp_path / 'first', *results), file)
    before = file.read_bytes()
    folder = write(tmp_path / 'other', results[0] | dict(seed=seed) | change)
    with pytest.raises(ValueError, match=rf'0.json: .*{message}'):
        pack_results(folder, file)
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(seed='0'), 'seed is of the wrong type'),
        (dict(images=True), 'images is of the wrong type'),
        (dict(metrics=dict(AP=1)), 'metrics must have the keys AP, AP50'),
        (dict(per_class=dict(cell='high')), 'a value in per_class is not a number'),
        (dict(per_class={}), 'per_class must have the keys cell'),
        (dict(failure=1), 'failure is of the wrong type'),
        *(
            (dict(matches=dict(cell=MATCHES | wrong)), 'the matches of cell are damaged')
            for wrong in (
                dict(truths=[1, 1]),
                dict(truths=None),
                dict(image=[0, 1, 3, 0, 0, 0]),
                dict(image=[0.5] * 6),
                dict(marked=[1, 5, 4]),
                dict(marked=[1, 4, 60]),
                dict(hit=[1, 2, 2**11]),
                dict(ignored=[0, 0]),
            )
        ),
        (dict(matches=dict(cell=[])), 'the matches of cell are damaged'),
    ],
)
def test_result_of_a_stranger_is_refused_by_name(tmp_path, results, change, message):
    write(tmp_path, results[0] | change)
    with pytest.raises(ValueError, match=f'0.json is not a result of a study: {message}'):
        read_results(tmp_path)


def test_missing_key_is_named(tmp_path, results):
    del results[0]['threads']
    with pytest.raises(ValueError, match='0.json is not a result of a study: threads is missing'):
        read_results(write(tmp_path, results[0]))


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'text', 'does not have packed results: Input format'),
        (lzma.compress(b'[' * 1000)[:-8], 'does not have packed results: Compressed file ended'),
        (lzma.compress(b'[1'), 'does not have packed results: Expecting'),
        (lzma.compress(b'{}'), 'it must be a list'),
        (lzma.compress(b'[3]'), 'is not a result of a study: it must be a mapping'),
        (lzma.compress(b' ' * 2000), 'it unpacks to over 1000 bytes'),
    ],
)
def test_damaged_packed_file_is_named(tmp_path, monkeypatch, content, message):
    monkeypatch.setattr(result_files, 'MAX_BYTES', 1000)
    (tmp_path / PACKED).write_bytes(content)
    with pytest.raises(ValueError, match=f'{PACKED} .*{message}'):
        read_results(tmp_path)


def test_huge_json_is_not_read(tmp_path, monkeypatch, results):
    monkeypatch.setattr(result_files, 'MAX_BYTES', 100)
    with pytest.raises(ValueError, match='0.json is not a result of a study: it has over 100'):
        read_results(write(tmp_path, results[0]))


def test_nothing_to_pack(tmp_path):
    with pytest.raises(ValueError, match='has no results to pack'):
        pack_results(tmp_path, tmp_path / PACKED)
