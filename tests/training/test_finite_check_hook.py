"""Messages about NaN and infinity. A run that ends with one: test_interruptions.py."""

from types import SimpleNamespace

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.optim import OptimWrapper
from torch import nn

from mmdet_detnet.training import FiniteCheckHook
from mmdet_detnet.training.host_copies import HostCopies

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
    outputs = {name: torch.tensor(value) for name, value in losses.items()}
    hook.after_train_iter(runner, 0, DATA_BATCH, outputs)


def test_finite_numbers_pass(runner, hook):
    step(runner, hook, loss=1.0, loss_cls=1.0, acc=float('nan'))
    assert runner.model.weight.isfinite().all()


@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])
def test_message_names_term_iteration_images_rate_and_gradient(value, runner, hook):
    step(runner, hook, gradient=3.0, loss=2.0, loss_cls=1.0, loss_bbox=1.0)
    with pytest.raises(FloatingPointError) as error:
        step(runner, hook, gradient=4.0, loss=value, loss_cls=value, loss_bbox=1.0)
    assert str(error.value) == (
        f'loss_cls is {value} in iteration 12 (epoch 3, rank 0), learning rate 0.5, images: '
        'images/7.jpg; gradient norm 4, 3 in the previous iteration. Earlier checkpoints are '
        'finite.'
    )


def test_gradient_that_is_not_finite_is_found_on_ranks_whose_losses_are(runner, hook):
    with pytest.raises(FloatingPointError, match='^gradient norm is nan in iteration 12'):
        step(runner, hook, gradient=float('nan'), loss=1.0)


def test_every_iteration_is_checked(runner, hook):
    for runner.iter in range(20):
        with pytest.raises(FloatingPointError, match=f'in iteration {runner.iter + 1} '):
            step(runner, hook, loss=float('nan'))


def test_weight_that_is_not_finite_is_not_saved(runner, hook):
    state = {'good': torch.zeros(3), 'number': torch.tensor(1), 'bad': torch.tensor([0, torch.inf])}
    checkpoint = {'state_dict': state, 'meta': {'iter': 12}}
    with pytest.raises(FloatingPointError, match='1 of 3 tensors .* iteration 12, .* is bad'):
        hook.before_save_checkpoint(runner, checkpoint)


def test_lag_below_zero_is_refused():
    with pytest.raises(
        ValueError, match='FiniteCheckHook: max_lag must be an integer of at least 0, got -1'
    ):
        FiniteCheckHook(max_lag=-1)


@pytest.mark.cuda
def test_gpu_is_at_most_five_iterations_ahead():
    copies = HostCopies(max_lag=5)
    taken = []
    for number in range(10):
        copies.put(torch.tensor(float(number), device='cuda'), number)
        taken.append([note for _, note in copies.take()])
    assert taken == [[]] * 5 + [[0], [1], [2], [3], [4]]
    assert [(value.item(), note) for value, note in copies.take(all=True)] == [
        (float(number), number) for number in range(5, 10)
    ]
