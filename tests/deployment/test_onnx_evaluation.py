"""AP of an ONNX file next to that of the detector in PyTorch."""

import sys

import pytest
import torch
from deployment import test_onnx
from exportable_detectors import CLASSES, make_config
from helpers import few_blocks, make_detections
from mmengine.config import Config
from mmengine.runner import save_checkpoint

from mmdet_detnet.evaluation import onnx_evaluation

pytestmark = pytest.mark.xdist_group('onnx')


@pytest.mark.parametrize(
    ('found', 'matches'),
    [
        ((0, 0, 9, 9.0005, 0.50005, 1), 1),
        ((0, 0, 9, 9.002, 0.5, 1), 0),
        ((0, 0, 9, 9, 0.5002, 1), 0),
        ((0, 0, 9, 9, 0.5, 2), 0),
    ],
)
def test_equal_detections(found, matches):
    theirs = make_detections((0, 0, 9, 9, 0.5, 1), (5, 5, 8, 8, 0.4, 0))
    assert onnx_evaluation.count_matches(make_detections(found), theirs) == matches
    assert onnx_evaluation.count_matches(make_detections(found, found), theirs) == matches


class Blind(torch.nn.Module):
    """A detector that finds nothing."""

    def test_step(self, data):
        (sample,) = data['data_samples']
        sample.pred_instances = make_detections()
        return [sample]


def test_without_detections_the_ap_is_0(files):
    results = onnx_evaluation.evaluate(Config.fromfile(files[0]), {'blind': Blind()})
    assert results['blind'].box_ap == 0


@pytest.fixture
def files(two_stage, shapes_root, tmp_path):
    """Config with a dataset, ONNX file and checkpoint of one detector."""
    detector, exported = two_stage
    cfg = make_config('Double-Head-Ext')
    annotations = str(shapes_root / 'annotations/val.json')
    cfg.test_dataloader.dataset.update(
        ann_file=annotations, data_prefix=dict(img=f'{shapes_root}/val/'), test_mode=True
    )
    cfg.test_dataloader.update(sampler=dict(type='DefaultSampler', shuffle=False))
    cfg.test_evaluator = dict(type='CocoMetric', ann_file=annotations, metric='bbox')
    cfg.dump(tmp_path / 'config.py')
    meta = dict(dataset_meta=dict(classes=CLASSES))
    state = dict(state_dict=detector.state_dict(), meta=meta)
    save_checkpoint(state, str(tmp_path / 'detector.pth'))
    with few_blocks():
        yield tmp_path / 'config.py', exported.file, tmp_path / 'detector.pth'


def test_script_compares_with_pytorch(files, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['test_onnx.py', *map(str, files)])
    test_onnx.main()
    header, pytorch, exported = capsys.readouterr().out.splitlines()[-3:]
    assert header.split() == ['box', 'AP', 'ms/image', 'ratio', 'equal', 'detections']
    assert pytorch.split()[:2] == ['PyTorch', exported.split()[1]]
    matches, number = exported.split()[-3], exported.split()[-1]
    assert int(matches) == int(number) > 0


def test_file_alone(files):
    table = onnx_evaluation.evaluate_onnx(*files[:2], num_threads=1)
    assert [line.split()[0] for line in table.splitlines()] == ['box', 'onnxruntime']
    with pytest.raises(ValueError, match='is of another detector than .*/retinanet_r50_fpn'):
        onnx_evaluation.evaluate_onnx('mmdet::retinanet/retinanet_r50_fpn_1x_coco.py', files[1])
