"""Runs that would succeed without training or measuring anything."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from mmdet.datasets.samplers import MultiSourceSampler
from mmengine.dataset import InfiniteSampler
from mmengine.optim.scheduler.param_scheduler import LinearParamScheduler
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from .config_checks import part, problem

# Their epoch has no end.
INFINITE = (InfiniteSampler, MultiSourceSampler)


def find_run_problems(runner: Runner) -> list[str]:
    """Find an epoch without a batch, or without an end, before the first iteration."""
    if not isinstance(runner.train_loop, EpochBasedTrainLoop):
        return []
    loader, problems = runner.train_dataloader, []
    if isinstance(loader, DataLoader) and len(loader) == 0:
        size = loader.batch_size or getattr(loader.batch_sampler, 'batch_size', None)
        problems.append(
            f'train_dataloader has no batch: {len(loader.sampler)} images are fewer than '
            f'batch_size {size}, and drop_last drops them.'
        )
    sampler = getattr(loader.batch_sampler, 'sampler', loader.sampler)
    if isinstance(sampler, INFINITE):
        allowed = 'IterBasedTrainLoop with max_iters: an epoch of this sampler has no end'
        place = f'train_cfg.type with the sampler {type(sampler).__name__}'
        problems.append(problem(place, type(runner.train_loop).__name__, allowed))
    return problems


def find_run_warnings(runner: Runner) -> list[str]:
    """Find settings without effect: of validation, of the optimizer and of the schedule."""
    return [
        *_check_validation(runner),
        *_check_evaluators(runner),
        *_check_custom_keys(runner),
        *_check_warm_up(runner),
    ]


def _check_validation(runner: Runner) -> list[str]:
    loop = runner.train_loop
    unit = 'epochs' if isinstance(loop, EpochBasedTrainLoop) else 'iterations'
    last = loop.max_epochs if unit == 'epochs' else loop.max_iters
    if runner.val_loop is None or loop.val_begin <= last:
        return []
    return [f'Nothing is validated: train_cfg.val_begin is {loop.val_begin}, of {last} {unit}.']


def _check_evaluators(runner: Runner) -> list[str]:
    """Find an evaluator that compares predictions with other annotations than the loader's."""
    if runner.val_loop is None:
        return []
    own = getattr(runner.val_dataloader.dataset, 'ann_file', None)
    if not isinstance(own, str) or not Path(own).is_file():
        return []
    return [
        f'val_evaluator compares the predictions on {own} with the annotations of {other}, another '
        'file: its AP means nothing unless these are the same images.'
        for other in _evaluated_files(runner)
        if Path(other).is_file() and not Path(other).samefile(own)
    ]


def _evaluated_files(runner: Runner) -> Iterator[str]:
    evaluators = runner.cfg.get('val_evaluator') or ()
    for each in evaluators if isinstance(evaluators, list | tuple) else [evaluators]:
        file = each.get('ann_file') if isinstance(each, Mapping) else None
        if isinstance(file, str):
            yield file


def _check_custom_keys(runner: Runner) -> list[str]:
    keys = part(runner.cfg, 'optim_wrapper', 'paramwise_cfg').get('custom_keys') or {}
    names = [f'.{name}' for name, _ in runner.model.named_parameters()]
    return [
        f'optim_wrapper.paramwise_cfg.custom_keys: no parameter has {key!r} in its name.'
        for key in keys
        if not any(key in name for name in names)
    ]


def _check_warm_up(runner: Runner) -> list[str]:
    """Find a rate that rises until after the last iteration."""
    schedulers = runner.param_schedulers if isinstance(runner.param_schedulers, list) else []
    warnings = []
    for scheduler in schedulers:
        if not isinstance(scheduler, LinearParamScheduler):
            continue
        last = runner.max_epochs if scheduler.by_epoch else runner.max_iters
        if scheduler.start_factor < scheduler.end_factor and scheduler.end > last:
            unit = 'epochs' if scheduler.by_epoch else 'iterations'
            warnings.append(
                f'The warm-up is longer than the run: {type(scheduler).__name__} rises for '
                f'{scheduler.end} {unit}, and the run has {last}. The learning rate of the '
                'optimizer is never reached.'
            )
    return warnings
