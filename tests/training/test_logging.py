"""The loggers' lines of docs/logging.md."""

import re
import shlex
from pathlib import Path

import pytest
from run_demo import write_config
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mmdet_detnet.data.drawn_shapes import generate_shapes
from mmdet_detnet.training import launch

ROOT = Path(__file__).resolve().parents[2]
# Two steps of the demo's detector at a quarter of its width, without validation.
SHORT = [
    'model.backbone.base_channels=4',
    'model.neck.in_channels=[16,32,64,64,64]',
    'train_cfg.max_epochs=1',
    'train_cfg.val_interval=2',
    'train_dataloader.batch_size=1',
    'default_hooks.logger.interval=1',
    'visualizer.name=logging',  # a visualizer of an earlier test keeps its backends
    *[f'{split}_dataloader.num_workers=0' for split in ('train', 'val', 'test')],
    *[f'{split}_dataloader.persistent_workers=False' for split in ('train', 'val', 'test')],
]
LOSSES = {'loss', 'loss_rpn_cls', 'loss_rpn_bbox', 'loss_cls', 'loss_bbox'}


def documented_options():
    """Take what follows `--cfg-options` in the document's line for TensorBoard."""
    text = (ROOT / 'docs' / 'logging.md').read_text().replace('\\\n', '')
    (line,) = re.findall(r'^python .*--cfg-options (.*TensorboardVisBackend)$', text, re.MULTILINE)
    return shlex.split(line)


def test_training_writes_its_losses_for_tensorboard(tmp_path):
    data = generate_shapes(tmp_path / 'shapes', num_train=2, num_val=1)
    write_config(tmp_path / 'new' / 'config.py', data)
    paths = [str(tmp_path / 'new' / 'config.py'), '--work-dir', str(tmp_path / 'run')]
    options = ['--cfg-options', *SHORT, *documented_options()]
    launch.train([*paths, *options])
    (event_file,) = (tmp_path / 'run').glob('2*/vis_data/events.out.tfevents.*')
    events = EventAccumulator(str(event_file)).Reload()
    assert set(events.Tags()['scalars']) >= LOSSES | {'lr'}
    for name in LOSSES:
        assert [event.step for event in events.Scalars(name)] == [1, 2]
    first = {name: events.Scalars(name)[0].value for name in LOSSES}
    assert first.pop('loss') == pytest.approx(sum(first.values()), rel=1e-4)
