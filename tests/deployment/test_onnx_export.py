"""ONNX files next to the detectors that they were made from."""

import logging
import sys

import onnx
import pytest
import torch
from deployment import export_onnx as script
from exportable_detectors import detect, make_images

from mmdet_detnet.deployment import export_onnx
from mmdet_detnet.deployment.onnx_detector import to_instances
from mmdet_detnet.evaluation.onnx_evaluation import count_matches

pytestmark = pytest.mark.xdist_group('onnx')


@pytest.mark.parametrize('kind', ['two_stage', 'dense'])
@pytest.mark.parametrize('shape', [(2, 75, 130), (1, 32, 32), (3, 64, 352)])
def test_parity(kind, shape, request):
    detector, exported = request.getfixturevalue(kind)
    images = make_images(*shape)
    ours = map(to_instances, exported.detect(images.numpy()))
    for found, theirs in zip(ours, detect(detector, images), strict=True):
        assert len(found) == len(theirs) > 0
        assert count_matches(found, theirs) == len(theirs)


@pytest.mark.parametrize('kind', ['two_stage', 'dense'])
def test_nodes_are_standard(kind, request):
    _, exported = request.getfixturevalue(kind)
    model = onnx.load(exported.file)
    onnx.checker.check_model(model)
    assert {node.domain for node in model.graph.node} == {''}
    assert not model.functions
    assert not {node.op_type for node in model.graph.node} & {'If', 'Loop'}


def test_input_and_outputs(two_stage):
    _, exported = two_stage
    (images,) = exported.session.get_inputs()
    assert images.type == 'tensor(uint8)'
    assert images.shape == ['batch', 3, 'height', 'width']
    outputs = exported.session.get_outputs()
    assert [output.name for output in outputs] == ['boxes', 'scores', 'labels', 'num_detections']
    assert [output.shape for output in outputs] == [
        ['batch', 30, 4],
        ['batch', 30],
        ['batch', 30],
        ['batch'],
    ]


def test_failed_export_leaves_the_log_as_it_was(two_stage, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError('no translation')

    monkeypatch.setattr(torch.export, 'export', lambda *args, **kwargs: None)
    monkeypatch.setattr(torch.onnx, 'export', fail)
    level = logging.getLogger('torch.onnx').level
    with pytest.raises(RuntimeError, match='no translation'):
        export_onnx(two_stage[0], tmp_path / 'detector.onnx')
    assert logging.getLogger('torch.onnx').level == level


def test_script_takes_the_address_of_a_checkpoint(monkeypatch, tmp_path):
    exported = []
    address = 'https://host/detector.pth'
    monkeypatch.setattr(script, 'load_detector', lambda config, checkpoint, device: checkpoint)
    monkeypatch.setattr(script, 'export_onnx', lambda *arguments: exported.append(arguments))
    monkeypatch.setattr(script.os.path, 'getsize', lambda file: 0)
    monkeypatch.setattr(sys, 'argv', ['export_onnx.py', 'config.py', address, 'detector.onnx'])
    script.main()
    assert exported == [(address, 'detector.onnx', True, None)]
