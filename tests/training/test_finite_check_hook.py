"""Messages about NaN and infinity. A run that ends with one: test_interruptions.py."""

from types import SimpleNamespace

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.optim import OptimWrapper
from torch import nn

from mmdet_detnet.training import FiniteCheckHook

DATA_BATCH = {'data_samples': [DetDataSample(metainfo=dict(img_path='images/7.jpg'))]}


@pytest.fixture
def runner():
    """A model of one weight, in iteration 12 of epoch 3, as logs count them."""
    model = nn.Linear(1, 1, bias=False)
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.5))
    return SimpleNamespace(model=model, optim_wrapper=wrapper, iter=11, epoch=2, rank=0)


@pytest.fixture
def hook(runner):
    hook = FiniteCheckHook()
    hook.before_train(runner)
    return hook


def step(runner, hook, gradient=3.0, **losses):
    """Take a step with a gradient and report losses."""
    runner.model.weight.grad = torch.full((1, 1), gradient)
    runner.optim_wrapper.step()
    outputs = {name: torch.tensor(value, requires_grad=True) for name, value in losses.items()}
    hook.after_train_iter(runner, 0, DATA_BATCH, outputs)


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])
def test_message_names_term_iteration_images_rate_and_gradient(value, runner, hook):
    step(runner, hook, gradient=3.0, loss=2.0, loss_cls=1.0, loss_bbox=1.0, acc=float('nan'))
    with pytest.raises(FloatingPointError) as error:
        step(runner, hook, gradient=4.0, loss=value, loss_cls=value, loss_bbox=1.0)
    assert str(error.value) == (
        f'loss_cls is {value} in iteration 12 (epoch 3, rank 0), learning rate 0.5, gradient norm '
        '4, images: images/7.jpg. Earlier checkpoints are finite.'
    )


def test_loss_may_be_a_number(runner, hook):
    with pytest.raises(FloatingPointError, match='^loss is nan'):
        hook.after_train_iter(runner, 0, DATA_BATCH, {'loss': float('nan')})


def test_gradient_that_is_not_finite_is_found_on_ranks_whose_losses_are(runner, hook):
    with pytest.raises(FloatingPointError, match='^gradient norm is nan in iteration 12'):
        step(runner, hook, gradient=float('nan'), loss=1.0)


def test_weight_that_is_not_finite_is_not_saved(runner, hook):
    state = {'good': torch.zeros(3), 'number': torch.tensor(1), 'bad': torch.tensor([0, torch.inf])}
    checkpoint = {'state_dict': state, 'meta': {'iter': 12}}
    with pytest.raises(FloatingPointError, match='1 of 3 tensors .* iteration 12, .* is bad'):
        hook.before_save_checkpoint(runner, checkpoint)
