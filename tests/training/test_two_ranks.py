"""`mmdet-detnet train --gpus 2` on a machine without a GPU: torchrun, gloo and two processes."""

import os
import signal

import torch
from run_demo import write_config
from test_logging import SHORT

from mmdet_detnet import cli
from mmdet_detnet.data.drawn_shapes import generate_shapes

# Writes down, for each rank, what it trained on and what its weights became.
WITNESS = """
from pathlib import Path

import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module(force=True)  # the process that starts the ranks imports it, too
class Witness(Hook):
    def before_train(self, runner):
        self.images = []

    def after_train_iter(self, runner, batch_idx, data_batch, outputs):
        self.images += [sample.img_id for sample in data_batch['data_samples']]

    def after_train(self, runner):
        seen = dict(
            ranks=get_world_size(),
            images=self.images,
            weights=dict(runner.model.module.named_parameters()),
        )
        torch.save(seen, Path(runner.work_dir, f'rank{get_rank()}.pth'))
"""


CONFIG = """
_base_ = 'shapes/config.py'
custom_imports = dict(imports=['witness'])
custom_hooks = [*_base_.custom_hooks, dict(type='Witness')]
"""


def test_two_ranks_share_the_images_and_end_with_the_same_weights(tmp_path, monkeypatch, capfd):
    data = generate_shapes(tmp_path / 'data', num_train=4, num_val=1)
    write_config(tmp_path / 'shapes' / 'config.py', data)
    (tmp_path / 'config.py').write_text(CONFIG)
    (tmp_path / 'witness.py').write_text(WITNESS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv('PYTHONPATH', str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    run = tmp_path / 'run'
    command = ['train', str(tmp_path / 'config.py'), '--work-dir', str(run), '--gpus', '2']
    interrupt = signal.getsignal(signal.SIGINT)

    batch = 'train_dataloader.batch_size=2'  # one image for each rank
    assert cli.main([*command, '--cfg-options', *SHORT, batch]) == 0

    first, second = (torch.load(run / f'rank{rank}.pth') for rank in range(2))
    assert first['ranks'] == second['ranks'] == 2
    assert len(first['images']) == len(second['images']) == 2
    assert len({*first['images'], *second['images']}) == 4
    (checkpoint,) = run.glob('epoch_*.pth')
    saved = torch.load(checkpoint, weights_only=False)['state_dict']
    for name, weight in first['weights'].items():
        assert torch.equal(weight, second['weights'][name]), name
        assert torch.equal(weight, saved[name]), name
    assert f'best checkpoint: {run}' in capfd.readouterr().out
    assert signal.getsignal(signal.SIGINT) is interrupt
