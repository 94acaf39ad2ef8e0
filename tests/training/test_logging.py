"""TensorBoard by the option of docs/logging.md."""

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mmdet_detnet.training import launch

TENSORBOARD = 'visualizer.vis_backends.0.type=TensorboardVisBackend'
# One epoch of the tiny detector, without validation.
SHORT = [
    'train_cfg.max_epochs=1',
    'train_cfg.val_interval=2',
    'default_hooks.logger.interval=1',
    'visualizer.name=logging',  # a visualizer of an earlier test keeps its backends
]
LOSSES = {'loss', 'loss_rpn_cls', 'loss_rpn_bbox', 'loss_cls', 'loss_bbox'}


def test_training_writes_its_losses_for_tensorboard(tiny_detector, tmp_path):
    paths = [str(tiny_detector[0]), '--work-dir', str(tmp_path / 'run')]
    options = ['--cfg-options', *SHORT, TENSORBOARD, 'train_dataloader.batch_size=1']
    launch.train([*paths, *options])
    (event_file,) = (tmp_path / 'run').glob('2*/vis_data/events.out.tfevents.*')
    events = EventAccumulator(str(event_file)).Reload()
    assert set(events.Tags()['scalars']) >= LOSSES | {'lr'}
    for name in LOSSES:
        assert [event.step for event in events.Scalars(name)] == [1, 2]
    first = {name: events.Scalars(name)[0].value for name in LOSSES}
    assert first.pop('loss') == pytest.approx(sum(first.values()), rel=1e-4)
