"""The focal loss against its formula, on PyTorch's own sigmoid."""

import math

import pytest
import torch
from mmcv import ops

pytestmark = pytest.mark.usefixtures('on_own_operators')
GAMMA, ALPHA = 2.0, 0.25
LABELS = torch.tensor([0, 4, 1, 2, 3])  # 4 is the background


@pytest.fixture
def logits():
    return (3 * torch.randn(5, 4, dtype=torch.float64)).requires_grad_()


def focal_loss(logits, labels, weight=None, reduction='none'):
    return ops.sigmoid_focal_loss(logits, labels, GAMMA, ALPHA, weight, reduction)


def test_by_hand():
    loss = focal_loss(torch.zeros(1, 2), torch.tensor([0]))
    expected = [0.25 * 0.25 * math.log(2), 0.75 * 0.25 * math.log(2)]
    assert loss[0].tolist() == pytest.approx(expected)


@pytest.mark.parametrize('weight', [None, [1.0, 2.0, 3.0, 4.0]])
def test_formula_with_weights_of_classes(logits, weight):
    weight = weight and torch.tensor(weight, dtype=torch.float64)
    is_label = torch.nn.functional.one_hot(LABELS, 5)[:, :4].bool()
    probability = torch.where(is_label, logits.sigmoid(), 1 - logits.sigmoid())
    balance = torch.where(is_label, ALPHA, 1 - ALPHA)
    # The background has weight 1.
    factor = 1 if weight is None else torch.tensor([1.0, 1.0, 2.0, 3.0, 4.0])[:, None]
    expected = -factor * balance * (1 - probability) ** GAMMA * probability.log()
    torch.testing.assert_close(focal_loss(logits, LABELS, weight), expected)
    assert torch.autograd.gradcheck(lambda x: focal_loss(x, LABELS, weight, 'sum'), logits)


def test_certain_predictions_have_finite_losses_and_gradients():
    logits = torch.tensor([[200.0, -200.0], [-200.0, 200.0]], requires_grad=True)
    loss = focal_loss(logits, torch.tensor([0, 0]))
    loss.sum().backward()
    torch.testing.assert_close(loss.detach(), torch.tensor([[0.0, 0.0], [50.0, 150.0]]))
    assert logits.grad.isfinite().all()


def test_no_samples():
    assert focal_loss(torch.zeros(0, 4), LABELS[:0], None, 'sum') == 0
