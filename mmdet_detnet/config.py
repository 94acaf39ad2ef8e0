"""Read a config once, with options, and say what is wrong with it."""

import contextlib
import copy
import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.config.config import DELETE_KEY
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmdet_detnet.files import find_in_package

# Read by mmengine and MMDetection's scripts, besides the arguments of the Runner.
RUN_KEYS = {
    *inspect.signature(Runner.__init__).parameters,
    'activation_checkpointing',
    'auto_scale_lr',
    'compile',
    'custom_imports',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'runner_type',
    'strategy',
    'sync_bn',
    'tta_model',
    'tta_pipeline',
}
LOADER_KEYS = {*inspect.signature(DataLoader.__init__).parameters, 'num_batch_per_epoch'}
# Parts that accept any key, in themselves and below.
FREE_PARTS = {
    'clip_grad',
    'default_hooks',
    'env_cfg',
    'filter_cfg',
    'init_kwargs',
    'metainfo',
    'paramwise_cfg',
    'randomness',
}
# From these, mmengine builds a class even if they name none.
BUILT_PARTS = (['optim_wrapper'], ['train_cfg'], ['val_cfg'], ['test_cfg'])
# mmengine's Config is not a Mapping.
MAPPINGS = (Mapping, Config)


class ConfigProblem(ValueError):
    """Problems of a config, its data or its weights, one line each."""


def raise_problems(problems: Sequence[str]) -> None:
    """Raise :class:`ConfigProblem` with all problems, one per line, if there are any."""
    if problems:
        raise ConfigProblem('\n'.join(problems))


def load_config(name: str | Path, options: Mapping[str, Any] | None = None) -> Config:
    """Read a config and set options in it.

    Args:
        name: Path of the file, ``package::folder/file.py``, or a path below this package's configs.
        options: As for :func:`set_options`.

    Raises:
        FileNotFoundError: If there is no such config.
        ConfigProblem: If the config cannot be read, or as in :func:`set_options`.
    """
    paths = (find_in_package(str(name)), Path(name), find_in_package(f'mmdet_detnet::{name}'))
    path = next((each for each in paths if each is not None and each.is_file()), None)
    if path is None:
        raise FileNotFoundError(f'No such file: {name}.')
    try:
        with _quick_bases():
            config = Config.fromfile(path)
    # A config is a program: it can raise anything.
    except Exception as error:
        raise ConfigProblem(f'{path} cannot be read: {type(error).__name__}: {error}') from error
    set_options(config, options or {})
    return config


def set_options(config: Config, options: Mapping[str, Any]) -> None:
    """Set options of a config, as ``--cfg-options`` does.

    Lists become tuples where the config has one: YAML and the command line have none, and
    MMDetection's ``Resize`` requires a tuple, its ``FPN`` a list. Beyond what mmengine can do,
    options may add to what is None, and replace one item of a list.

    Args:
        config: The config; it is changed.
        options: Values by dotted key, such as ``{'train_cfg.max_epochs': 3}``, set in their order;
            ``_delete_`` in a part empties it before.

    Raises:
        ConfigProblem: If an option would have no effect, or a dictionary does not fit.
    """
    problems = []
    deleting = [key for key in options if key.endswith(f'.{DELETE_KEY}')]
    emptied = tuple(key.removesuffix(DELETE_KEY) for key in deleting)
    for key in (*deleting, *(each for each in options if each not in deleting)):
        value = options[key]
        first, *rest = key.split('.')
        # What is in an emptied part is new.
        is_new = key.startswith(emptied) and key not in deleting
        if not is_new and (problem := _check_key(config, [first, *rest], key)):
            problems.append(problem)
            continue
        try:
            config[first] = _replace(config.get(first), rest, value)
        except (KeyError, TypeError) as error:  # such as a name in a list
            problems.append(f'--cfg-options {key}: {value} cannot be merged here: {error}')
    raise_problems(problems)


def _replace(node: Any, names: Sequence[str], value: Any) -> Any:
    """Return a copy of a part of a config, with a value below it."""
    if names == [DELETE_KEY]:
        return ConfigDict() if value else node
    if names:
        name, *rest = names
        if isinstance(node, (list, tuple)):
            items = [*node]
            items[int(name)] = _replace(items[int(name)], rest, value)
            return type(node)(items)
        copied = node.copy() if isinstance(node, (dict, Config)) else ConfigDict()
        copied[name] = _replace(copied.get(name), rest, value)
        return copied
    # mmengine takes `_delete_` out of the dictionary that it is given.
    value = copy.deepcopy(value)
    if isinstance(value, Mapping):
        is_tuple = isinstance(node, tuple)
        parent = Config({'node': {} if node is None else [*node] if is_tuple else node})
        parent.merge_from_dict({'node': value})
        return tuple(parent.node) if is_tuple and isinstance(parent.node, list) else parent.node
    return tuple(value) if isinstance(value, list) and isinstance(node, tuple) else value


@contextlib.contextmanager
def _quick_bases() -> Iterator[None]:
    """Find ``package::`` bases by their path.

    For each, mmengine reads all of the package's metafiles, 102 of MMDetection, which takes 1.4 s.
    It also finds none of a package in a source checkout.
    """
    slow = Config._get_cfg_path

    def find(base: str, filename: str) -> tuple[str, str | None]:
        path = find_in_package(base)
        return (str(path), base.partition('::')[0]) if path else slow(base, filename)

    Config._get_cfg_path = staticmethod(find)
    try:
        yield
    finally:
        Config._get_cfg_path = staticmethod(slow)


def _check_key(config: Config, names: list[str], key: str) -> str:
    """Explain why a dotted key would have no effect; empty if it has one.

    A new key is fine if a class is built from its dictionary: the class checks it.
    """
    if names[0] in config and names[0] not in RUN_KEYS:
        return (
            f'--cfg-options {key}: {names[0]} is a variable of the config file, and what was '
            'computed from it would not change. Change it in the file, or set the options where '
            'it is used.'
        )
    node: Any = config
    for depth, name in enumerate(names):
        known = _known_names(node, names[:depth])
        if known is not None and name not in known:
            return _describe(key, names[: depth + 1], known)
        if known is None and name not in (node or {}):
            return ''
        node = _descend(node, name)
    return ''


def _known_names(node: Any, path: list[str]) -> Iterable[str] | None:
    """List the allowed next names; None if all are."""
    if node is None:
        return None
    if isinstance(node, (list, tuple)):
        return [str(index) for index in range(len(node))]
    if not isinstance(node, MAPPINGS):
        return []
    if not path:
        return {*node, *RUN_KEYS}
    if 'type' in node or FREE_PARTS.intersection(path) or path in BUILT_PARTS:
        return None
    if len(path) == 1 and path[0].endswith('_dataloader'):
        return {*node, *LOADER_KEYS}
    return [*node]


def _descend(node: Any, name: str) -> Any:
    return node[int(name)] if isinstance(node, (list, tuple)) else node.get(name)


def _describe(key: str, names: list[str], known: Iterable[str]) -> str:
    similar = get_close_matches(names[-1], known, n=1)
    suggestion = '.'.join([*names[:-1], *similar])
    hint = f'did you mean {suggestion}?' if similar else 'nothing would read it.'
    return f'--cfg-options {key}: the config has no {".".join(names)}; {hint}'
