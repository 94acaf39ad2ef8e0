"""Train detectors side by side with several seeds, each run in a process of its own.

The plan is a YAML file; :mod:`.study_report` estimates the differences.
"""

import ast
import hashlib
import json
import os
import platform
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from fcntl import LOCK_EX, LOCK_NB, flock
from functools import cached_property
from multiprocessing import connection, get_context, parent_process
from multiprocessing.process import BaseProcess
from pathlib import Path
from pprint import pformat
from typing import Any

import torch
import yaml
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdet_detnet.checkpoints import find_newest
from mmdet_detnet.config import RUN_KEYS, load_config, set_options
from mmdet_detnet.environment import describe_environment, find_commit
from mmdet_detnet.files import OutputFolder, read_json, write_file

from .study_report import (
    DIGEST,
    REPORT_FILES,
    Result,
    evaluate,
    name_run,
    pack_results,
    read_results,
    write_report,
    write_result,
)

__all__ = ['Run', 'Study', 'count_jobs', 'execute', 'pack_results', 'read_study', 'write_report']

Options = dict[str, Any]
REQUIRED = {'data_sets', 'seeds', 'detectors', 'comparisons'}
LOG = 'log.txt'
CURVE = 'curve.json'
VALIDATE_EVERY = 'train_cfg.val_interval'  # the option that turns validation on
FINAL_SHARE = 0.1  # fraction of the last iterations whose mean is the final loss


@dataclass(frozen=True)
class Run:
    """One run of one detector, with their names in the study."""

    detector: str
    data_set: str
    seed: int
    config: str  # path of the file
    # Of the config: values of its first lines, or settings as for `--cfg-options`.
    options: Options = field(hash=False, compare=False)
    weights: str | None = None  # detector whose weights of this seed are tested; None to train

    @property
    def name(self) -> str:
        """Name of its files."""
        return name_run(self.data_set, self.detector, self.seed)

    @property
    def source(self) -> str | None:
        """Name of the run that trains the weights, if it is another one."""
        return self.weights and name_run(self.data_set, self.weights, self.seed)

    def describe(self) -> Result:
        """Return what identifies the run in its result."""
        keys = ('detector', 'data_set', 'seed', 'config', 'options', DIGEST)
        return {key: getattr(self, key) for key in keys}

    @cached_property
    def digest(self) -> str:
        """A digest of the config with all options, as it was first read, wherever its folder is."""
        config = self.load_config()
        # On one line: where lines break depends on the length of paths.
        text = pformat(config.to_dict(), width=10**9).replace(
            f'{Path(config.filename).parent}/', ''
        )
        return hashlib.sha256(text.encode()).hexdigest()

    def load_config(self) -> Config:
        """Read the config with all options; FileNotFoundError or ValueError names a wrong one."""
        variables = {key: value for key, value in self.options.items() if key not in RUN_KEYS}
        with _replace_first_lines(variables) as replaced:
            config = load_config(self.config)
        set_options(config, {k: v for k, v in self.options.items() if k not in replaced})
        evaluator = config.get('test_evaluator')
        if isinstance(evaluator, list) and len(evaluator) == 1:
            evaluator = config.test_evaluator = evaluator[0]
        if 'ann_file' not in (evaluator or ()):
            raise ValueError(
                f'{self.config} must have one CocoMetric with an ann_file as test_evaluator, got '
                f'{evaluator}.'
            )
        return config


@contextmanager
def _replace_first_lines(values: Options) -> Iterator[set[str]]:
    """Change variables in the text of configs while mmengine reads them; yield those found.

    ``--cfg-options`` are set after a config is read, so ``data_root`` would change that line only,
    and not what is computed from it.
    """
    original = Config._substitute_predefined_vars
    found: set[str] = set()

    def replace(filename: str, copy: str) -> None:
        """Copy a config for mmengine to read, with other values of its variables."""
        original(filename, copy)
        if not copy.endswith('.py'):
            return
        text = Path(copy).read_text(encoding='utf-8')
        lines = text.splitlines(keepends=True)
        for node in reversed(ast.parse(text).body):
            if not isinstance(node, ast.Assign):
                continue
            name = getattr(node.targets[0], 'id', '')
            if name in values:
                value = values[name]
                if isinstance(value, list) and isinstance(node.value, ast.Tuple):
                    value = tuple(value)
                if name == 'data_root':
                    value = os.path.join(value, '')
                lines[node.lineno - 1 : node.end_lineno] = [f'{name} = {value!r}\n']
                found.add(name)
        Path(copy).write_text(''.join(lines), encoding='utf-8')

    Config._substitute_predefined_vars = staticmethod(replace)
    try:
        yield found
    finally:
        Config._substitute_predefined_vars = staticmethod(original)


@dataclass(frozen=True)
class Study:
    """Detectors to compare: runs in order of execution, and pairs of a detector and its control."""

    runs: tuple[Run, ...]
    comparisons: tuple[tuple[str, str], ...]


def read_study(path: str | Path) -> Study:
    """Read a study's file; docs/own_data.md has an example.

    Args:
        path: A YAML file with ``data_sets`` (name: options), ``seeds``, ``detectors`` (name:
            ``config``, or ``weights`` to test those of another detector, and optional ``options``),
            ``comparisons`` (pairs of detectors, the control last) and optional ``options`` for all
            runs.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is not YAML, a key is missing or unknown, or a value is wrong.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding='utf-8'))
        _check(content)
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f'{path}: {error}.') from error
    runs = (
        _plan_run(content, data_set, name, seed)
        for data_set in content['data_sets']
        for pair in content['comparisons']
        for seed in content['seeds']
        for detector in reversed(pair)
        for name in (content['detectors'][detector].get('weights'), detector)
        if name
    )
    comparisons = tuple((module, control) for module, control in content['comparisons'])
    return Study(tuple(dict.fromkeys(runs)), comparisons)


def _check(content: Any) -> None:
    """Raise ValueError for an entry that would fail later or be ignored."""
    if not isinstance(content, dict) or not REQUIRED <= set(content) <= {*REQUIRED, 'options'}:
        raise ValueError(f'it must have {", ".join(sorted(REQUIRED))}, and may have options')
    seeds, comparisons = content['seeds'], content['comparisons']
    if not (isinstance(seeds, list) and seeds and all(type(s) is int and s >= 0 for s in seeds)):
        raise ValueError(f'seeds must be a list of numbers from 0 on, got {seeds!r}')
    _check_mapping(content.get('options', {}), 'options')
    for group in ('data_sets', 'detectors'):
        _check_mapping(content[group], group)
        for name, part in content[group].items():
            _check_mapping(part, f'{group}.{name}')
            _check_mapping(part.get('options', {}), f'{group}.{name}.options')
    _check_detectors(content['detectors'])
    names = [*content['detectors']]
    for pair in comparisons if isinstance(comparisons, list) else [comparisons]:
        if not (isinstance(pair, list) and len(pair) == 2 and all(each in names for each in pair)):
            raise ValueError(f'comparisons must be pairs of {", ".join(names)}, got {pair!r}')
    sources = [detector.get('weights') for detector in content['detectors'].values()]
    if unused := {*names}.difference(sources, *comparisons):
        raise ValueError(f'no comparison has {", ".join(sorted(unused))}')


def _check_detectors(detectors: dict[str, Any]) -> None:
    trained = [name for name, detector in detectors.items() if 'config' in detector]
    for name, detector in detectors.items():
        if {*detector} - {'options'} not in ({'config'}, {'weights'}):
            raise ValueError(f'detectors.{name} must have config or weights, and may have options')
        if not isinstance(detector.get('config', ''), str):
            raise ValueError(f'detectors.{name}.config must be text, got {detector["config"]!r}')
        if 'weights' in detector and detector['weights'] not in trained:
            raise ValueError(
                f'detectors.{name}.weights must be one of {", ".join(trained)}, '
                f'got {detector["weights"]!r}'
            )


def _check_mapping(value: Any, name: str) -> None:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ValueError(f'{name} must be a mapping with text as keys, got {value!r}')


def _plan_run(content: dict[str, Any], data_set: str, name: str, seed: int) -> Run:
    detector = content['detectors'][name]
    weights = detector.get('weights')
    trained = content['detectors'][weights or name]
    options = {
        **content.get('options', {}),
        **content['data_sets'][data_set],
        **trained.get('options', {}),
        **detector.get('options', {}),
    }
    return Run(name, data_set, seed, trained['config'], options, weights)


def count_jobs() -> int:
    """Return the number of parallel runs: one per core, or one on a GPU."""
    return 1 if torch.cuda.is_available() else len(os.sched_getaffinity(0))


def execute(runs: Sequence[Run], folder: Path, jobs: int) -> None:
    """Execute runs without a result; resume interrupted ones and retry failed ones.

    If a run fails, its result says why, and the others continue. You can interrupt at any time:
    SIGTERM saves the current state, and after SIGKILL runs resume from the last epoch. ``folder``
    gets ``results/``, and ``runs/`` with logs and checkpoints; ``jobs`` runs are parallel.

    Raises:
        FileExistsError: If a file of the user's is where the report will be.
        FileNotFoundError: If a config is missing.
        RuntimeError: If the folder is in use by another process.
        ValueError: If an option is wrong, or a result or an interrupted run has other settings.
    """
    OutputFolder(folder).check(*REPORT_FILES)
    results = read_results(folder)
    # This reads all configs, and finds errors that would come hours later.
    waiting = [run for run in runs if not _is_finished(run, results, folder)]
    threads = max(1, len(os.sched_getaffinity(0)) // jobs)
    running: dict[BaseProcess, Run] = {}
    with _lock(folder):
        try:
            while waiting or running:
                untrained = {run.name for run in (*waiting, *running.values())}
                ready = [run for run in waiting if run.source not in untrained]
                for run in ready[: jobs - len(running)]:
                    waiting.remove(run)
                    print(f'{run.name}: started', flush=True)
                    running[_start(run, folder, threads)] = run
                connection.wait([process.sentinel for process in running])
                for process in [each for each in running if not each.is_alive()]:
                    _note(running.pop(process), process.exitcode, folder)
        finally:
            for process in running:
                process.terminate()
            for process in running:
                process.join()


def _is_finished(run: Run, results: Mapping[str, Result], folder: Path) -> bool:
    """Return whether a run has a result; ValueError if that, or what it resumes, is of another."""
    made = results.get(run.name, {'failure': 'there is none'})
    is_finished = 'failure' not in made
    if not is_finished:
        noted = folder / 'runs' / run.name / DIGEST
        resumes = noted.exists() and any(noted.parent.glob('*.pth'))
        made = {DIGEST: noted.read_text()} if resumes else {}
    settings = run.describe()
    # What earlier versions made has no digest.
    if settings.items() <= {**settings, **made}.items():
        return is_finished
    raise ValueError(
        f'{run.name} was made with other settings than the study and its config have now: move '
        f'results/{run.name}.json and runs/{run.name} away from {folder} to make the run again, or '
        'name another folder.'
    )


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / 'lock').open('w') as file:
        try:
            flock(file, LOCK_EX | LOCK_NB)
        except OSError as error:
            raise RuntimeError(f'{folder} is in use by another process.') from error
        yield


def _start(run: Run, folder: Path, threads: int) -> BaseProcess:
    arguments = run, folder, threads
    process = get_context('spawn').Process(target=_execute_alone, args=arguments)
    process.start()
    return process


def _execute_alone(run: Run, folder: Path, threads: int) -> None:
    """Execute one run, as the main function of its process."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    run_folder = folder / 'runs' / run.name
    run_folder.mkdir(parents=True, exist_ok=True)
    log = os.open(run_folder / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(log, stream.fileno())
    if 'OMP_NUM_THREADS' not in os.environ:
        torch.set_num_threads(threads)
    if replace(run).digest != run.digest:  # a copy reads the config again
        raise ValueError(f'{run.config} was changed after the study had been started.')
    (run_folder / DIGEST).write_text(run.digest)
    write_result(folder, train_and_test(run, run_folder))


def _end_with_parent() -> None:
    """Exit when the study's process is killed, so that the run is not executed twice."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _note(run: Run, exit_code: int | None, folder: Path) -> None:
    """Print how a run ended; a failure is a result, too."""
    if exit_code == 0:
        print(f'{run.name}: done', flush=True)
        return
    file = folder / 'runs' / run.name / LOG  # there is none of a run that was killed at its start
    log = file.read_text(errors='replace').strip().splitlines() if file.exists() else []
    failure = f'exit status {exit_code}: {log[-1] if log else "no output"}'
    print(f'{run.name}: FAILED, {failure}', flush=True)
    write_result(folder, {**run.describe(), 'failure': failure})


def train_and_test(run: Run, folder: Path) -> Result:
    """Train a detector, resuming if interrupted, and test the last weights.

    Logs, the newest checkpoint and the detections are in ``folder``, next to the folder of the run
    that trains the weights, if it is another one. With the option ``train_cfg.val_interval``, the
    result has the AP on the validation images, ``curve``: pairs of the epoch (or the iteration) and
    the AP.
    """
    cfg = run.load_config()
    _prepare(cfg, run, folder)
    _resume(cfg, folder, folder.with_name(run.source) if run.source else None)
    runner = Runner.from_cfg(cfg)
    runner.register_hook(_CurveHook(folder / CURVE, cfg))
    runner.train()
    runner.test()
    # These two are in checkpoints, so they survive an interruption; the CPU time does not.
    losses, _ = runner.message_hub.get_scalar('train/loss').data
    seconds, _ = runner.message_hub.get_scalar('train/time').data
    last = max(1, round(len(losses) * FINAL_SHARE))
    classes = runner.test_dataloader.dataset.metainfo['classes']
    has_gpu = torch.cuda.is_available()
    curve = read_json(folder / CURVE) if cfg.val_cfg else {}
    return {
        **run.describe(),
        'iterations': runner.iter,
        'epochs': runner.epoch,
        'final_loss': float(losses[-last:].mean()),
        'train_seconds': round(float(seconds.sum()), 1),
        'cpu_seconds': round(time.process_time(), 1),
        **evaluate(cfg.test_evaluator.ann_file, folder / 'detections.bbox.json', classes),
        **({'curve': [(int(place), ap) for place, ap in curve.items()]} if curve else {}),
        'date': date.today().isoformat(),
        'device': torch.cuda.get_device_name() if has_gpu else f'{platform.machine()} CPU',
        'threads': torch.get_num_threads(),
        'environment': describe_environment(),
        'commit': find_commit(),
    }


def _prepare(cfg: Config, run: Run, folder: Path) -> None:
    """Pair the run with others of its seed, and disable validation that no option asks for."""
    cfg.work_dir = str(folder)
    cfg.randomness = dict(seed=run.seed)
    part, name = VALIDATE_EVERY.split('.')
    validates = VALIDATE_EVERY in run.options or name in (run.options.get(part) or {})
    if not validates or run.weights:
        cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    # All runs train equally long.
    custom = cfg.get('custom_hooks') or []
    cfg.custom_hooks = [hook for hook in custom if 'EarlyStopping' not in str(hook['type'])]
    hooks = cfg.default_hooks
    hooks.sampler_seed = dict(type='mmdet_detnet.SeedHook')
    hooks.checkpoint.update(type='mmdet_detnet.DurableCheckpointHook', max_keep_ckpts=1)
    hooks.checkpoint.pop('save_best', None)
    cfg.test_evaluator.update(format_only=True, outfile_prefix=str(folder / 'detections'))


def _counts_epochs(cfg: Config) -> bool:
    return cfg.default_hooks.checkpoint.get('by_epoch', True)


class _CurveHook(Hook):
    """Add the box AP of each validation to a file at once, for a run that is resumed later."""

    def __init__(self, file: Path, cfg: Config) -> None:
        self.file = file
        self.counts_epochs = _counts_epochs(cfg)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        curve = read_json(self.file) if self.file.exists() else {}
        place = str(runner.epoch if self.counts_epochs else runner.iter)
        # CocoMetric returns nothing if there is no detection.
        found = {name.split('/')[-1]: value for name, value in (metrics or {}).items()}
        write_file(self.file, json.dumps({**curve, place: found.get('bbox_mAP', 0.0)}).encode())


def _resume(cfg: Config, folder: Path, source: Path | None) -> None:
    """Resume if interrupted; from the last checkpoint of the source, no epoch is left."""
    unit = 'epoch' if _counts_epochs(cfg) else 'iter'
    checkpoint, _ = find_newest(folder, f'{unit}_{{}}.pth')
    if source:
        checkpoint = source / f'{unit}_{cfg.train_cfg.get(f"max_{unit}s")}.pth'
        if not checkpoint.exists():
            raise FileNotFoundError(f'{checkpoint} is missing; its weights were to be tested.')
    if checkpoint:
        cfg.resume, cfg.load_from = True, str(checkpoint)
