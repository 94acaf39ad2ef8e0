"""ONNX files beside the detectors that they were made from."""

import numpy as np
import onnx
import pytest
from exportable_detectors import detect, make_images

pytestmark = pytest.mark.xdist_group('onnx')


def count_matched(found, truth):
    """Count pairs of detections with one label, corners within 1e-3 pixel and scores in 1e-4."""
    left = list(range(len(found['scores'])))
    matched = 0
    for box, score, label in zip(truth.bboxes, truth.scores, truth.labels, strict=True):
        for index in left:
            if (
                found['labels'][index] == label
                and abs(found['scores'][index] - score) < 1e-4
                and np.abs(found['bboxes'][index] - box.numpy()).max() < 1e-3
            ):
                left.remove(index)
                matched += 1
                break
    return matched


@pytest.mark.parametrize('kind', ['two_stage', 'dense'])
@pytest.mark.parametrize('shape', [(2, 75, 130), (1, 32, 32), (3, 64, 352)])
def test_parity(kind, shape, request):
    detector, exported = request.getfixturevalue(kind)
    images = make_images(*shape)
    for found, truth in zip(exported.detect(images.numpy()), detect(detector, images), strict=True):
        assert len(found['scores']) == len(truth) > 0
        assert count_matched(found, truth) == len(truth)


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
