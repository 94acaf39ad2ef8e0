"""Read the plan of a study from its YAML file."""

import hashlib
import inspect
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from mmengine.config import Config, ConfigDict
from mmengine.runner import Runner

from mmdet_detnet.config import load_config, set_options

Options = dict[str, Any]
REQUIRED = {'data_sets', 'seeds', 'detectors', 'comparisons'}
ALLOWED = REQUIRED | {'options'}
KINDS: dict[type, str] = {list: 'a list', dict: 'a mapping', str: 'text'}
# The first lines of a template, and where their values are used.
VARIABLES: dict[str, tuple[Any, str]] = {
    'data_root': (str, 'a folder'),
    'class_names': ((list, tuple), 'a list of names'),
    'max_epochs': (int, 'an integer of at least 1'),
}
PARTS_WITH_VARIABLES = (
    *('train_dataloader', 'val_dataloader', 'test_dataloader', 'val_evaluator', 'test_evaluator'),
    *('model', 'train_cfg', 'param_scheduler'),
)


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
        _set_template_variables(config, options)
        set_options(config, options)
        return config


@dataclass(frozen=True)
class Study:
    """Detectors to compare.

    Attributes:
        runs: In order of execution: seed after seed of each comparison.
        comparisons: Pairs of a detector with a module and its control.
    """

    runs: tuple[Run, ...]
    comparisons: tuple[tuple[str, str], ...]


def name_run(data_set: str, detector: str, seed: int) -> str:
    """Return the name of a run, also of its files."""
    return f'{data_set}_{detector}_seed{seed}'


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

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is not YAML, a key is missing or unknown, or a value has the wrong type.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
    except yaml.YAMLError as error:
        raise ValueError(f'{path} is not valid YAML: {error}.') from error
    problem = next(_find_problems(content), None)
    if problem:
        raise ValueError(f'{path}{problem}.')
    comparisons = tuple((module, control) for module, control in content['comparisons'])
    return Study(tuple(dict.fromkeys(_list_runs(content))), comparisons)


def _find_problems(content: Any) -> Iterator[str]:
    """Yield entries that would fail later or be ignored; each expects that none came before."""
    if not isinstance(content, dict) or not REQUIRED <= set(content) <= ALLOWED:
        keys = list(content) if isinstance(content, dict) else content
        yield (
            f' must have the keys {", ".join(sorted(REQUIRED))}, and may have options; got {keys}'
        )
    for name, value, expected in _list_values(content):
        if not isinstance(value, expected):
            yield f': {name} must be {KINDS[expected]}, got {value!r}'
    seeds = content['seeds']
    if not seeds or not all(type(seed) is int and seed >= 0 for seed in seeds):
        yield f': seeds must be numbers from 0 on, got {seeds}'
    yield from _find_detector_problems(content['detectors'], content['comparisons'])


def _find_detector_problems(
    detectors: dict[str, Any], comparisons: list[list[str]]
) -> Iterator[str]:
    trained = [name for name, detector in detectors.items() if 'weights' not in detector]
    for name, detector in detectors.items():
        if set(detector) - {'options'} not in ({'config'}, {'weights'}):
            yield (
                f': detectors.{name} must have config or weights, and may have options, got '
                f'{sorted(detector)}'
            )
        weights = detector.get('weights', *trained[:1])
        if weights not in trained:
            yield f': detectors.{name}.weights must be one of {", ".join(trained)}, got {weights!r}'
    for pair in comparisons:
        if len(pair) != 2 or not set(pair) <= set(detectors):
            yield f': comparisons must be pairs of {", ".join(detectors)}, got {pair}'
    sources = [detector.get('weights') for detector in detectors.values()]
    unused = set(detectors).difference(sources, *comparisons)
    if unused:
        yield f': no comparison has {", ".join(sorted(unused))}'


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


def _set_template_variables(config: Config, options: Options) -> None:
    """Set the first lines of a template in ``configs/custom/``, and all that they compute.

    ``--cfg-options`` are set after a config is read, so ``data_root`` would change that line only.
    Here, one plan trains many detectors on several datasets. Variables are removed from the
    options.
    """
    old = {name: config[name] for name in VARIABLES if name in options and name in config}
    new = {name: options.pop(name) for name in old}
    for name, value in new.items():
        kind, allowed = VARIABLES[name]
        is_small = value == '' or (isinstance(value, int) and value < 1)
        names = value if isinstance(value, (list, tuple)) else ()
        if not isinstance(value, kind) or is_small or not all(isinstance(n, str) for n in names):
            raise ValueError(f'{name} must be {allowed}, got {value!r}.')
    if 'data_root' in new:
        new['data_root'] = f'{new["data_root"].rstrip("/")}/'
    for part in PARTS_WITH_VARIABLES:
        if config.get(part) is not None:
            config[part] = _replace(part, config[part], old, new)
    for name, value in new.items():
        config[name] = value


def _replace(key: str, value: Any, old: Options, new: Options) -> Any:
    """Replace what is computed from the variables."""
    if isinstance(value, dict):
        return ConfigDict({name: _replace(name, each, old, new) for name, each in value.items()})
    if isinstance(value, (list, tuple)) and any(isinstance(each, dict) for each in value):
        return type(value)(_replace(key, each, old, new) for each in value)
    root, classes = old.get('data_root'), old.get('class_names')
    if root and key in ('ann_file', 'data_root') and isinstance(value, str):
        return re.sub(f'^{re.escape(root)}', lambda _: new['data_root'], value)
    if classes and key == 'classes' and isinstance(value, (list, tuple)):
        return tuple(new['class_names']) if tuple(value) == tuple(classes) else value
    if classes and key == 'num_classes' and value == len(classes):
        return len(new['class_names'])
    if key in ('max_epochs', 'T_max', 'end') and value == old.get('max_epochs'):
        return new.get('max_epochs', value)
    return value
