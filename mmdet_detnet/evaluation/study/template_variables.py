"""Set the first lines of a template in ``configs/custom/`` from the plan of a study.

The options of ``--cfg-options`` are set after a config is read, so ``data_root`` would change that
line but no option computed from it. Here, those options change, too: one plan trains many detectors
on several datasets.
"""

from collections.abc import Callable

from mmengine.config import Config, ConfigDict

Change = Callable[[str, object], object]
LOOPS = ('train_cfg', 'param_scheduler')
DATA = ('train_dataloader', 'val_dataloader', 'test_dataloader', 'val_evaluator', 'test_evaluator')


def set_template_variables(config: Config, options: dict[str, object]) -> list[str]:
    """Set the variables of a template and all options computed from them.

    Args:
        config: A config; it is changed.
        options: Options of the command line; variables of the template are removed.

    Returns:
        The names of the variables that were set.

    Raises:
        ValueError: If a value has the wrong type.
    """
    names = [name for name in SETTERS if name in options and name in config]
    for name in names:
        SETTERS[name](config, options.pop(name))
    return names


def _set_data_root(config: Config, value: object) -> None:
    if not isinstance(value, str) or not value:
        raise ValueError(f'data_root must be a folder, got {value!r}.')
    old, new = config.data_root, f'{value.rstrip("/")}/'

    def move(key: str, path: object) -> object:
        if key == 'data_root' and path == old:
            return new
        if key in ('ann_file', 'data_root') and isinstance(path, str) and path.startswith(old):
            return new + path[len(old) :]
        return path

    _change(config, DATA, move)
    config.data_root = new


def _set_class_names(config: Config, value: object) -> None:
    if not isinstance(value, (list, tuple)) or not all(isinstance(name, str) for name in value):
        raise ValueError(f'class_names must be a list of names, got {value!r}.')
    old, new = tuple(config.class_names), tuple(value)

    def rename(key: str, option: object) -> object:
        if key == 'classes' and isinstance(option, (list, tuple)) and tuple(option) == old:
            return new
        return len(new) if key == 'num_classes' and option == len(old) else option

    _change(config, (*DATA, 'model'), rename)
    config.class_names = new


def _set_max_epochs(config: Config, value: object) -> None:
    if not isinstance(value, int) or value < 1:
        raise ValueError(f'max_epochs must be an integer of at least 1, got {value!r}.')
    old = config.max_epochs

    def extend(key: str, option: object) -> object:
        return value if key in ('max_epochs', 'T_max', 'end') and option == old else option

    _change(config, LOOPS, extend)
    config.max_epochs = value


SETTERS: dict[str, Callable[[Config, object], None]] = {
    'data_root': _set_data_root,
    'class_names': _set_class_names,
    'max_epochs': _set_max_epochs,
}


def _change(config: Config, parts: tuple[str, ...], change: Change) -> None:
    for name in parts:
        if config.get(name) is not None:
            config[name] = _changed(name, config[name], change)


def _changed(key: str, value: object, change: Change) -> object:
    value = change(key, value)
    if isinstance(value, dict):
        return ConfigDict({name: _changed(name, each, change) for name, each in value.items()})
    if isinstance(value, (list, tuple)) and any(isinstance(each, dict) for each in value):
        return type(value)(_changed(key, each, change) for each in value)
    return value
