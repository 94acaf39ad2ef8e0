"""Read the plan of a study from its YAML file."""

import hashlib
import inspect
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from mmengine.config import Config
from mmengine.runner import Runner

from mmdet_detnet.config import load_config, set_options

from .template_variables import set_template_variables

Options = dict[str, Any]
REQUIRED = {'data_sets', 'seeds', 'detectors', 'comparisons'}
ALLOWED = REQUIRED | {'options'}
KINDS: dict[type, str] = {list: 'a list', dict: 'a mapping', str: 'text'}


def name_run(data_set: str, detector: str, seed: int) -> str:
    """Return the name of a run, also of its files."""
    return f'{data_set}_{detector}_seed{seed}'


@dataclass(frozen=True)
class Run:
    """One run of one detector.

    Attributes:
        detector: Its name in the study.
        data_set: Name of the dataset.
        seed: Seed of all random numbers.
        config: Path of the config file.
        options: Settings that override the config's, as for ``--cfg-options``.
        weights: Detector whose weights of this seed are tested; None to train.
    """

    detector: str
    data_set: str
    seed: int
    config: str
    options: Options = field(hash=False, compare=False)
    weights: str | None = None

    @property
    def name(self) -> str:
        """Name of its files."""
        return name_run(self.data_set, self.detector, self.seed)

    @property
    def source(self) -> str | None:
        """Name of the run that trains the weights, if it is another one."""
        return self.weights and name_run(self.data_set, self.weights, self.seed)

    def load_config(self) -> Config:
        """Read the config, with all options.

        Raises:
            FileNotFoundError: If there is no such config.
            ValueError: If an option has no effect or a value of the wrong type.
        """
        config, options = load_config(self.config), dict(self.options)
        set_template_variables(config, options)
        set_options(config, options)
        return config


@dataclass(frozen=True)
class Study:
    """Detectors to compare.

    Attributes:
        name: Name of the file.
        runs: In order of execution: seed after seed of each comparison.
        comparisons: Pairs of a detector with a module and its control.
    """

    name: str
    runs: tuple[Run, ...]
    comparisons: tuple[tuple[str, str], ...]


def hash_config(cfg: Config) -> str:
    """Compute a hash of what a config's training reads, without the variables of its bases."""
    read = {key: cfg[key] for key in inspect.signature(Runner).parameters if key in cfg}
    content = json.dumps(Config(read).to_dict(), sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def read_study(path: str | Path) -> Study:
    """Read a study's file; docs/own_data.md has an example.

    Args:
        path: A YAML file with ``data_sets`` (name: options), ``seeds``, ``detectors`` (name:
            ``config``, or ``weights`` to test those of another detector, and optional ``options``),
            ``comparisons`` (pairs of detectors, the control last) and optional ``options`` for all
            runs.

    Returns:
        The study.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is not YAML, a key is missing or unknown, or a value has the wrong type.
    """
    path = Path(path)
    content = _read_yaml(path)
    if not isinstance(content, dict) or not REQUIRED <= set(content) <= ALLOWED:
        keys = list(content) if isinstance(content, dict) else content
        raise ValueError(
            f'{path} must have the keys {", ".join(sorted(REQUIRED))}, and may have options; '
            f'got {keys}.'
        )
    _check(path, content)
    comparisons = tuple((module, control) for module, control in content['comparisons'])
    return Study(path.stem, tuple(dict.fromkeys(_list_runs(content))), comparisons)


def _read_yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding='utf-8'))
    except yaml.YAMLError as error:
        raise ValueError(f'{path} is not valid YAML: {error}.') from error


def _check_types(path: Path, content: dict[str, Any]) -> None:
    for name, value, expected in _list_values(content):
        if not isinstance(value, expected):
            raise ValueError(f'{path}: {name} must be {KINDS[expected]}, got {value!r}.')


def _list_values(content: dict[str, Any]) -> Iterator[tuple[str, Any, type]]:
    """List the values with the types that they must have, outer ones first."""
    yield 'seeds', content['seeds'], list
    yield 'options', content.get('options', {}), dict
    for group in ('data_sets', 'detectors'):
        yield group, content[group], dict
        for name, value in content[group].items():
            yield f'a name in {group}', name, str
            yield f'{group}.{name}', value, dict
    for name, detector in content['detectors'].items():
        yield f'detectors.{name}.options', detector.get('options', {}), dict
        yield f'detectors.{name}.config', detector.get('config', ''), str
    yield 'comparisons', content['comparisons'], list
    for place, pair in enumerate(content['comparisons']):
        yield f'comparisons.{place}', pair, list
        for name in pair:
            yield f'a name in comparisons.{place}', name, str


def _check(path: Path, content: dict[str, Any]) -> None:
    """Reject entries that would fail later or be ignored."""
    _check_types(path, content)
    seeds, detectors = content['seeds'], content['detectors']
    if not seeds or not all(type(seed) is int and seed >= 0 for seed in seeds):
        raise ValueError(f'{path}: seeds must be numbers from 0 on, got {seeds}.')
    trained = [name for name, detector in detectors.items() if 'weights' not in detector]
    for name, detector in detectors.items():
        if set(detector) - {'options'} not in ({'config'}, {'weights'}):
            raise ValueError(
                f'{path}: detectors.{name} must have config or weights, and may have options, '
                f'got {sorted(detector)}.'
            )
        if name not in trained and detector['weights'] not in trained:
            raise ValueError(
                f'{path}: detectors.{name}.weights must be one of {", ".join(trained)}, '
                f'got {detector["weights"]!r}.'
            )
    for pair in content['comparisons']:
        if len(pair) != 2 or not set(pair) <= set(detectors):
            raise ValueError(
                f'{path}: comparisons must be pairs of {", ".join(detectors)}, got {pair}.'
            )
    sources = [detector.get('weights') for detector in detectors.values()]
    unused = set(detectors).difference(sources, *content['comparisons'])
    if unused:
        raise ValueError(f'{path}: no comparison has {", ".join(sorted(unused))}.')


def _list_runs(content: dict[str, Any]) -> Iterator[Run]:
    """List the runs of each comparison, with its control; first those that train the weights."""
    for data_set in content['data_sets']:
        for module, control in content['comparisons']:
            for seed in content['seeds']:
                for name in (control, module):
                    run = _make_run(content, data_set, name, seed)
                    if run.weights:
                        yield _make_run(content, data_set, run.weights, seed)
                    yield run


def _make_run(content: dict[str, Any], data_set: str, name: str, seed: int) -> Run:
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
