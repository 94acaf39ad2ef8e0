"""Another project's script: build the Runner of each config and print what it would train.

Usage:
    python describe_runners.py CONFIG... --import MODULE --then CONFIG...
"""

import argparse
import importlib
import json
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner


def describe(path: str) -> dict[str, Any]:
    """Build a config's Runner, data and optimizer.

    Args:
        path: Config file.

    Returns:
        What a child config overrides, as the built objects have it, and the names of their types.
    """
    config = Config.fromfile(path)
    config.work_dir = f'work_dirs/{Path(path).stem}'
    runner = Runner.from_cfg(config)
    optimizer = runner.build_optim_wrapper(runner.optim_wrapper).optimizer
    dataset = runner.train_dataloader.dataset
    if config.get('val_evaluator'):
        runner.build_evaluator(config.val_evaluator)
    modules = {type(module) for module in runner.model.modules()}
    return {
        'modules': sorted(f'{module.__module__}.{module.__name__}' for module in modules),
        'num_classes': getattr(runner.model, 'bbox_head', runner.model).num_classes,
        'classes': list(dataset.metainfo['classes']),
        'num_images': len(dataset),
        'epochs': runner.max_epochs,
        'lr': optimizer.param_groups[0]['lr'],
    }


def try_to_describe(path: str) -> dict[str, Any]:
    """Describe a config's Runner, or say why there is none.

    Args:
        path: Config file.

    Returns:
        The description, or the error.
    """
    try:
        return describe(path)
    except Exception as error:
        return {'error': repr(error)}


def main() -> None:
    """Describe the configs of the command line, in JSON on the last line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('configs', nargs='+', help='read before the import')
    parser.add_argument('--import', dest='module', help='package to import')
    parser.add_argument('--then', nargs='+', help='configs to read after the import')
    args = parser.parse_args()
    before = {path: try_to_describe(path) for path in args.configs}
    importlib.import_module(args.module)
    after = {path: try_to_describe(path) for path in args.then}
    print(json.dumps({**before, **after}))


if __name__ == '__main__':
    main()
