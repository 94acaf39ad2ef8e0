"""The loggers' lines of docs/logging.md."""

import re
import shlex
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mmdet_detnet.training import launch

ROOT = Path(__file__).resolve().parents[2]
# One epoch of the tiny detector, without validation.
SHORT = [
    'train_cfg.max_epochs=1',
    'train_cfg.val_interval=2',
    'default_hooks.logger.interval=1',
    'visualizer.name=logging',  # a visualizer of an earlier test keeps its backends
]
LOSSES = {'loss', 'loss_rpn_cls', 'loss_rpn_bbox', 'loss_cls', 'loss_bbox'}


def documented_options():
    """Take what follows `--cfg-options` in the document's line for TensorBoard."""
    text = (ROOT / 'docs' / 'logging.md').read_text().replace('\\\n', '')
    (line,) = re.findall(r'^python .*--cfg-options (.*TensorboardVisBackend)$', text, re.MULTILINE)
    return shlex.split(line)


def test_training_writes_its_losses_for_tensorboard(tiny_detector, tmp_path):
    paths = [str(tiny_detector[0]), '--work-dir', str(tmp_path / 'run')]
    options = ['--cfg-options', *SHORT, *documented_options(), 'train_dataloader.batch_size=1']
    launch.train([*paths, *options])
    (event_file,) = (tmp_path / 'run').glob('2*/vis_data/events.out.tfevents.*')
    events = EventAccumulator(str(event_file)).Reload()
    assert set(events.Tags()['scalars']) >= LOSSES | {'lr'}
    for name in LOSSES:
        assert [event.step for event in events.Scalars(name)] == [1, 2]
    first = {name: events.Scalars(name)[0].value for name in LOSSES}
    assert first.pop('loss') == pytest.approx(sum(first.values()), rel=1e-4)
