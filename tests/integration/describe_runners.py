"""Another project's script: build the Runner of each config and print what it would train.

Usage:
    python describe_runners.py CONFIG... --import MODULE --then CONFIG...
"""

import argparse
import importlib
import json
from pathlib import Path

from mmengine.config import Config
from mmengine.runner import Runner


def describe(path):
    """Say what a child config overrides, as the built objects have it, or why there are none."""
    try:
        config = Config.fromfile(path)
        config.work_dir = f'work_dirs/{Path(path).stem}'
        runner = Runner.from_cfg(config)
        optimizer = runner.build_optim_wrapper(runner.optim_wrapper).optimizer
        dataset = runner.train_dataloader.dataset
        if config.get('val_evaluator'):
            runner.build_evaluator(config.val_evaluator)
    except Exception as error:
        return {'error': repr(error)}
    modules = {type(module) for module in runner.model.modules()}
    return {
        'modules': sorted(f'{module.__module__}.{module.__name__}' for module in modules),
        'num_classes': runner.model.bbox_head.num_classes,
        'classes': list(dataset.metainfo['classes']),
        'num_images': len(dataset),
        'epochs': runner.max_epochs,
        'lr': optimizer.param_groups[0]['lr'],
    }


if __name__ == '__main__':
    parser = argparse.ArgumentParser()
    parser.add_argument('configs', nargs='+', help='read before the import')
    parser.add_argument('--import', dest='module', help='package to import')
    parser.add_argument('--then', nargs='+', help='configs to read after the import')
    args = parser.parse_args()
    before = {path: describe(path) for path in args.configs}
    importlib.import_module(args.module)
    print(json.dumps({**before, **{path: describe(path) for path in args.then}}))
