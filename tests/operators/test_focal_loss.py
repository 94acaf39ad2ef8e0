"""Focal losses against their formula, on PyTorch's own sigmoid and softmax."""

import math

import pytest
import torch
from mmcv import ops

pytestmark = pytest.mark.usefixtures('on_own_operators')
GAMMA, ALPHA = 2.0, 0.25


@pytest.fixture
def logits():
    torch.manual_seed(0)
    return (3 * torch.randn(5, 4, dtype=torch.float64)).requires_grad_()


@pytest.fixture
def labels():
    return torch.tensor([0, 3, 1, 2, 3])


def sigmoid_formula(logits, labels):
    is_label = torch.nn.functional.one_hot(labels, 5)[:, :4].bool()
    probability = torch.where(is_label, logits.sigmoid(), 1 - logits.sigmoid())
    return -torch.where(is_label, ALPHA, 1 - ALPHA) * (1 - probability) ** GAMMA * probability.log()


def test_sigmoid_focal_loss_by_hand():
    loss = ops.sigmoid_focal_loss(torch.zeros(1, 2), torch.tensor([0]), GAMMA, ALPHA, None, 'none')
    expected = [0.25 * 0.25 * math.log(2), 0.75 * 0.25 * math.log(2)]
    assert loss[0].tolist() == pytest.approx(expected)


def test_sigmoid_focal_loss_equals_the_formula(logits, labels):
    labels[1] = 4  # background
    loss = ops.sigmoid_focal_loss(logits, labels, GAMMA, ALPHA, None, 'none')
    torch.testing.assert_close(loss, sigmoid_formula(logits, labels))
    assert torch.autograd.gradcheck(
        lambda x: ops.sigmoid_focal_loss(x, labels, GAMMA, ALPHA, None, 'sum'), logits
    )


def test_weights_of_classes(logits, labels):
    labels[1] = 4  # background has weight 1
    weight = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    factor = torch.tensor([1.0, 1.0, 2.0, 3.0, 4.0], dtype=torch.float64)[:, None]
    loss = ops.sigmoid_focal_loss(logits, labels, GAMMA, ALPHA, weight, 'none')
    torch.testing.assert_close(loss, sigmoid_formula(logits, labels) * factor)


def test_sigmoid_focal_loss_is_finite_for_certain_predictions():
    logits = torch.tensor([[200.0, -200.0], [-200.0, 200.0]], requires_grad=True)
    loss = ops.sigmoid_focal_loss(logits, torch.tensor([0, 0]), GAMMA, ALPHA, None, 'none')
    loss.sum().backward()
    torch.testing.assert_close(loss.detach(), torch.tensor([[0.0, 0.0], [50.0, 150.0]]))
    assert logits.grad.isfinite().all()


def test_softmax_focal_loss_equals_the_formula(logits, labels):
    loss = ops.softmax_focal_loss(logits.detach(), labels, GAMMA, ALPHA, None, 'none')
    probability = logits.softmax(1).gather(1, labels[:, None]).squeeze(1)
    torch.testing.assert_close(loss, -ALPHA * (1 - probability) ** GAMMA * probability.log())
    assert torch.autograd.gradcheck(
        lambda x: ops.softmax_focal_loss(x, labels, GAMMA, ALPHA, None, 'sum'), logits
    )


def test_softmax_focal_loss_of_ignored_and_weighted_samples(logits, labels):
    plain = ops.softmax_focal_loss(logits, labels, GAMMA, ALPHA, None, 'none')
    labels[1] = -1
    weight = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    loss = ops.softmax_focal_loss(logits, labels, GAMMA, ALPHA, weight, 'none')
    torch.testing.assert_close(loss, plain * torch.tensor([1, 0, 2, 3, 4]))
    ops.softmax_focal_loss(logits, labels, GAMMA, ALPHA, weight, 'sum').backward()
    assert not logits.grad[1].any()


@pytest.mark.parametrize('loss', [ops.sigmoid_focal_loss, ops.softmax_focal_loss])
def test_no_samples(loss):
    assert loss(torch.zeros(0, 4), torch.zeros(0).long(), GAMMA, ALPHA, None, 'sum') == 0


@pytest.mark.parametrize('loss', [ops.sigmoid_focal_loss, ops.softmax_focal_loss])
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_low_precision(logits, labels, loss, dtype):
    expected = loss(logits.detach(), labels, GAMMA, ALPHA, None, 'sum')
    rounded = logits.detach().to(dtype).requires_grad_()
    actual = loss(rounded, labels, GAMMA, ALPHA, None, 'sum')
    actual.backward()
    assert actual.dtype == rounded.grad.dtype == dtype
    torch.testing.assert_close(actual.double(), expected, rtol=0.03, atol=0)
