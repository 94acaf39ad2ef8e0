import json

import cv2
import pytest

from mmdet_detnet.evaluation.training_curves import metric_values, plot_training, read_training_log


def training(epoch, step, loss=1.0):
    return {
        'loss': loss,
        'loss_cls': loss / 2,
        'lr': 0.1,
        'epoch': epoch,
        'iter': step,
        'step': step,
    }


def validation(epoch, box_ap):
    return {'coco/bbox_mAP': box_ap, 'coco/bbox_mAP_50': box_ap + 0.2, 'time': 0.1, 'step': epoch}


def write_run(work_dir, name, records):
    file = work_dir / name / 'vis_data' / 'scalars.json'
    file.parent.mkdir(parents=True)
    file.write_text(''.join(json.dumps(record) + '\n' for record in records))


def two_epochs(box_aps=(0.1, 0.4)):
    return [training(1, 10), validation(1, box_aps[0]), training(2, 20), validation(2, box_aps[1])]


def test_picture_is_written(tmp_path):
    write_run(tmp_path, '20250101_000000', two_epochs())
    assert plot_training(tmp_path) == tmp_path / 'training.png'
    assert cv2.imread(str(tmp_path / 'training.png')).shape == (540, 1440, 3)


def test_run_without_validation_can_be_drawn(tmp_path):
    write_run(tmp_path, '20250101_000000', [training(1, 10)])
    assert plot_training(tmp_path, out=tmp_path / 'deeper' / 'a.png').is_file()


def test_average_precision_is_found(tmp_path):
    write_run(tmp_path, '20250101_000000', two_epochs())
    records = read_training_log(tmp_path)
    assert metric_values(records, 'bbox_mAP') == [(1, 0.1), (2, 0.4)]
    assert metric_values(records, 'bbox_mAP_50') == [
        (1, pytest.approx(0.3)),
        (2, pytest.approx(0.6)),
    ]
    assert metric_values(records, 'segm_mAP') == []


def test_resumed_run_continues_the_earlier_one(tmp_path):
    # The first run was stopped in epoch 3; what it did of that epoch was done again.
    write_run(tmp_path, '20250101_000000', [*two_epochs(), training(3, 25)])
    write_run(tmp_path, '20250101_000001', [training(3, 30), validation(3, 0.5)])
    records = read_training_log(tmp_path)
    assert [record['step'] for record in records if 'loss' in record] == [10, 20, 30]
    assert metric_values(records, 'bbox_mAP') == [(1, 0.1), (2, 0.4), (3, 0.5)]


def test_new_start_hides_the_earlier_run(tmp_path):
    write_run(tmp_path, '20250101_000000', two_epochs())
    write_run(tmp_path, '20250101_000001', [training(1, 10)])
    assert read_training_log(tmp_path) == [training(1, 10)]


def test_iteration_based_runs_are_joined_by_iteration(tmp_path):
    first = [
        {'loss': 1.0, 'step': 10},
        {'coco/bbox_mAP': 0.1, 'step': 10},
        {'loss': 1.0, 'step': 20},
    ]
    write_run(tmp_path, '20250101_000000', first)
    write_run(tmp_path, '20250101_000001', [{'loss': 0.5, 'step': 20}])
    assert [record.get('loss') for record in read_training_log(tmp_path)] == [1.0, None, 0.5]


def test_one_run_can_be_chosen(tmp_path):
    write_run(tmp_path, '20250101_000000', two_epochs((0.2, 0.3)))
    write_run(tmp_path, '20250101_000001', two_epochs((0.6, 0.7)))
    records = read_training_log(tmp_path, run='20250101_000000')
    assert metric_values(records, 'bbox_mAP') == [(1, 0.2), (2, 0.3)]


def test_missing_log_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'No training log: .*scalars\.json'):
        plot_training(tmp_path)


def test_log_without_losses_is_refused(tmp_path):
    write_run(tmp_path, '20250101_000000', [validation(1, 0.5)])
    with pytest.raises(ValueError, match='No training losses'):
        plot_training(tmp_path)


def test_damaged_log_is_named(tmp_path):
    write_run(tmp_path, '20250101_000000', two_epochs())
    file = tmp_path / '20250101_000000/vis_data/scalars.json'
    file.write_text(file.read_text()[:-20])
    with pytest.raises(ValueError, match=r'scalars\.json is damaged'):
        plot_training(tmp_path)
