"""Execute one run of a study: train, and test the last weights."""

import os
import platform
import time
from datetime import date
from pathlib import Path
from typing import Any

import mmdet
import mmengine
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdet_detnet.checkpoints import find_newest
from mmdet_detnet.host import describe_operators
from mmdet_detnet.version import __version__

from .evaluation import evaluate
from .plan import Run, hash_config

FINAL_SHARE = 0.1  # fraction of the last iterations whose mean is the final loss


class _CPUTimeHook(Hook):
    """Saves the CPU time in checkpoints, so that it survives an interruption."""

    earlier = 0.0

    def before_train(self, runner: Runner) -> None:
        if runner.iter:  # resumed; runs of one second and process share their message hub
            self.earlier = runner.message_hub.get_info('cpu_seconds', 0.0)

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        runner.message_hub.update_info('cpu_seconds', self.measure())

    def measure(self) -> float:
        return self.earlier + time.process_time()


def train_and_test(run: Run, folder: Path) -> dict[str, Any]:
    """Train a detector, resuming if interrupted, and test the last weights.

    Args:
        run: The run.
        folder: Folder for logs, the newest checkpoint and the detections, next to the one of the
            run that trains the weights.

    Returns:
        The result, as read by :mod:`mmdet_detnet.evaluation.study.report`.

    Raises:
        FileNotFoundError: If the run that trains the weights did not finish.
        ValueError: If the config or its options are wrong.
    """
    cfg = run.load_config()
    config_hash = hash_config(cfg)
    cfg = _prepare(cfg, run.seed, folder)
    _resume(cfg, folder, folder.with_name(run.source) if run.source else None)
    runner = Runner.from_cfg(cfg)
    cpu_time = _CPUTimeHook()
    runner.register_hook(cpu_time)
    runner.train()
    start = time.perf_counter()
    runner.test()
    detections = folder / 'detections.bbox.json'
    dataset = runner.test_dataloader.dataset
    return {
        **describe_run(run),
        'config_hash': config_hash,
        'iterations': runner.iter,
        'epochs': runner.epoch,
        **_summarize_training(runner),
        'test_seconds': round(time.perf_counter() - start, 2),
        'cpu_seconds': round(cpu_time.measure(), 1),
        **evaluate(cfg.test_evaluator.ann_file, detections, dataset.metainfo['classes']),
        **describe_place(),
    }


def _prepare(cfg: Config, seed: int, folder: Path) -> Config:
    """Pair the run with others of its seed, and disable validation."""
    cfg.work_dir = str(folder)
    cfg.randomness = dict(seed=seed)
    cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    hooks = cfg.default_hooks
    hooks.sampler_seed = dict(type='mmdet_detnet.SeedHook')
    hooks.checkpoint.update(type='mmdet_detnet.DurableCheckpointHook', max_keep_ckpts=1)
    hooks.checkpoint.pop('save_best', None)
    if isinstance(cfg.test_evaluator, list):
        (cfg.test_evaluator,) = cfg.test_evaluator
    cfg.test_evaluator.update(format_only=True, outfile_prefix=str(folder / 'detections'))
    return cfg


def _resume(cfg: Config, folder: Path, source: Path | None) -> None:
    """Resume if interrupted; from the last checkpoint of the source, no epoch is left."""
    unit = 'epoch' if cfg.default_hooks.checkpoint.get('by_epoch', True) else 'iter'
    checkpoint, _ = find_newest(folder, f'{unit}_{{}}.pth')
    if source:
        checkpoint = source / f'{unit}_{cfg.train_cfg.get(f"max_{unit}s")}.pth'
        if not checkpoint.exists():
            raise FileNotFoundError(f'{checkpoint} is missing; its weights were to be tested.')
    if checkpoint:
        cfg.resume, cfg.load_from = True, str(checkpoint)


def _summarize_training(runner: Runner) -> dict[str, float]:
    """Read loss and time from the state in checkpoints, so that both survive an interruption."""
    losses, _ = runner.message_hub.get_scalar('train/loss').data
    seconds, _ = runner.message_hub.get_scalar('train/time').data
    last = max(1, round(len(losses) * FINAL_SHARE))
    return {
        'final_loss': float(losses[-last:].mean()),
        'train_seconds': round(float(seconds.sum()), 1),
    }


def describe_run(run: Run) -> dict[str, Any]:
    """Return what identifies a run in its result."""
    return {
        'detector': run.detector,
        'data_set': run.data_set,
        'seed': run.seed,
        'config': run.config,
        'options': run.options,
    }


def describe_place() -> dict[str, Any]:
    """Describe the machine and the versions of a run."""
    has_gpu = torch.cuda.is_available()
    return {
        'date': date.today().isoformat(),
        'device': torch.cuda.get_device_name() if has_gpu else f'{platform.machine()} CPU',
        'cores': os.cpu_count(),
        'threads': torch.get_num_threads(),
        'versions': {
            'python': platform.python_version(),
            'torch': torch.__version__,
            'mmdet': mmdet.__version__,
            'mmengine': mmengine.__version__,
            'mmdet_detnet': __version__,
            'operators': describe_operators(),
        },
    }
