"""Both implementations of mmcv's operators, timed in turn."""

import sys

import pytest
import torch
from mmcv import ops

from mmdet_detnet.benchmark import operators
from mmdet_detnet.benchmark.operators import compare_operators, make_cases, use_own_operators


def extension():
    return sys.modules['mmcv.ops.nms'].ext_module


def test_own_operators_are_in_place_inside_and_gone_after_an_error():
    before = extension()
    with pytest.raises(KeyError), use_own_operators():
        assert extension() is not before
        assert extension().nms.__module__ == 'mmdet_detnet.operators.nms'
        raise KeyError
    assert extension() is before


def test_forward_alone_where_nothing_has_a_gradient(monkeypatch):
    boxes, scores = torch.tensor([[0.0, 0, 9, 9], [50, 50, 59, 59]]), torch.tensor([0.9, 0.8])
    features = torch.ones(1, 1, 8, 8, requires_grad=True)
    rois = torch.tensor([[0.0, 1, 1, 6, 6]])
    cases = {
        'nms': (lambda b, s: ops.nms(b, s, 0.5)[0], (boxes, scores)),
        'roi_align': (ops.RoIAlign(2, 1.0, 0), (features, rois)),
    }
    monkeypatch.setattr(operators, 'make_cases', lambda device: cases)
    rows = list(compare_operators(1, torch.device('cpu')))
    passes = [('nms', 'forward'), ('roi_align', 'forward'), ('roi_align', 'both')]
    assert [row[:2] for row in rows] == passes
    assert all(seconds > 0 for row in rows for seconds in row[2].values())


@pytest.mark.parametrize(
    'name', ['deform_conv, 256 channels', 'modulated_deform_conv, 256 channels']
)
def test_operators_of_many_arguments_take_the_inputs_of_their_case(name):
    operator, inputs = make_cases(torch.device('cpu'))[name]
    features, weight = inputs[0], inputs[-1]
    assert operator(*inputs).shape == (1, len(weight), *features.shape[2:])
