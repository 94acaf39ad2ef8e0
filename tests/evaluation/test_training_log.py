"""The losses and validations of a run, also of one that was interrupted."""

import json

import pytest

from mmdet_detnet.evaluation.report_page import read_training_log, select_values


def training(epoch, step, loss=1.0):
    return {'loss': loss, 'loss_cls': loss / 2, 'epoch': epoch, 'iter': step, 'step': step}


def validation(epoch, box_ap):
    return {'coco/bbox_mAP': box_ap, 'coco/bbox_mAP_50': box_ap + 0.2, 'step': epoch}


TWO_EPOCHS = [training(1, 10), validation(1, 0.1), training(2, 20), validation(2, 0.4)]


def write_run(work_dir, name, records):
    file = work_dir / name / 'vis_data' / 'scalars.json'
    file.parent.mkdir(parents=True)
    file.write_text(''.join(json.dumps(record) + '\n' for record in records))
    return file


def test_values_are_found_by_name(tmp_path):
    write_run(tmp_path, '20250101_000000', TWO_EPOCHS)
    records = read_training_log(tmp_path)
    assert select_values(records, 'bbox_mAP') == [(1, 0.1), (2, 0.4)]
    assert select_values(records, 'loss_cls') == [(10, 0.5), (20, 0.5)]
    assert select_values(records, 'segm_mAP') == []


def test_resumed_run_continues_the_earlier_one(tmp_path):
    # The first run was stopped in epoch 3; what it did of that epoch was done again.
    write_run(tmp_path, '20250101_000000', [*TWO_EPOCHS, training(3, 25)])
    write_run(tmp_path, '20250101_000001', [training(3, 30), validation(3, 0.5)])
    records = read_training_log(tmp_path)
    assert select_values(records, 'loss') == [(10, 1), (20, 1), (30, 1)]
    assert select_values(records, 'bbox_mAP') == [(1, 0.1), (2, 0.4), (3, 0.5)]
    # A new start hides both.
    write_run(tmp_path, '20250101_000002', [training(1, 10)])
    assert read_training_log(tmp_path) == [training(1, 10)]


def test_iteration_based_runs_are_joined_by_iteration(tmp_path):
    first = [
        {'loss': 1.0, 'step': 10},
        # LoggerHook counts passes through the data here, of which none is complete.
        {'coco/bbox_mAP': 0.1, 'step': 0},
        {'loss': 1.0, 'step': 20},
        {'coco/bbox_mAP': 0.2, 'step': 0},
    ]
    write_run(tmp_path, '20250101_000000', first)
    resumed = [{'loss': 0.5, 'step': 20}, {'coco/bbox_mAP': 0.3, 'step': 0}]
    write_run(tmp_path, '20250101_000001', resumed)
    records = read_training_log(tmp_path)
    assert select_values(records, 'loss') == [(10, 1), (20, 0.5)]
    assert select_values(records, 'bbox_mAP') == [(10, 0.1), (20, 0.3)]


def test_no_log_and_a_test_alone_give_no_records(tmp_path):
    assert read_training_log(tmp_path) == []
    write_run(tmp_path, '20250101_000000', [validation(1, 0.5)])
    assert read_training_log(tmp_path) == []


def test_damaged_log_is_named(tmp_path):
    file = write_run(tmp_path, '20250101_000000', TWO_EPOCHS)
    file.write_text(file.read_text()[:-20])
    with pytest.raises(ValueError, match=r'scalars\.json is damaged'):
        read_training_log(tmp_path)
