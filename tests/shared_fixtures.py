"""Fixtures that every test shares; conftest.py loads them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

# First, since it provides mmcv's operators where mmcv has none.
import mmdet_detnet  # noqa: F401

# isort: split
import pytest
import quick_configs  # noqa: F401
import torch
from helpers import save_detector
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.registry import init_default_scope
from run_demo import write_config

from mmdet_detnet.data.drawn_shapes import generate_shapes

ROOT = Path(__file__).resolve().parent.parent

# The tensors are small: more threads cost more than they give, and wait by spinning where other
# programs want the cores.
if 'OMP_NUM_THREADS' not in os.environ:
    torch.set_num_threads(1)


@pytest.hookimpl(tryfirst=True)  # before the fixtures, of any scope
def pytest_runtest_setup():
    """Build unprefixed types from mmdet: a Runner of an earlier test may leave its own scope."""
    init_default_scope('mmdet')


@pytest.fixture(scope='session', autouse=True)
def mmdet_scope():
    """Register mmdet's modules, and build unprefixed types from them, as its scripts do."""
    register_all_modules(init_default_scope=True)


@pytest.fixture(autouse=True)
def fixed_seed():
    """Give every test the same random numbers, whatever ran before it."""
    torch.manual_seed(0)


@pytest.fixture(scope='session')
def shapes_root(tmp_path_factory):
    """Two training and two validation images."""
    return generate_shapes(tmp_path_factory.mktemp('data') / 'shapes', num_train=2, num_val=2)


@pytest.fixture(scope='session')
def tiny_detector(tmp_path_factory, shapes_root):
    """Config file and checkpoint of the demo's detector at a quarter of its width, untrained.

    Training takes one step an epoch, with both images, and no data loader has workers.
    """
    folder = tmp_path_factory.mktemp('detector')
    write_config(folder / 'new' / 'config.py', shapes_root)
    cfg = Config.fromfile(folder / 'new' / 'config.py')
    cfg.model.backbone.base_channels = 4
    cfg.model.neck.in_channels = [16, 32, 64, 64, 64]
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.update(batch_size=2, num_workers=0, persistent_workers=False)
    cfg.dump(folder / 'config.py')
    model = MODELS.build(cfg.model)
    model.init_weights()
    save_detector(model, cfg, folder / 'detector.pth')
    return folder / 'config.py', folder / 'detector.pth'


@pytest.fixture(scope='session')
def copy_sources():
    """Copy what a build reads to a new folder, so that it leaves nothing in the checkout."""

    def copy(folder):
        for name in ('mmdet_detnet', 'configs', 'tools'):
            ignored = shutil.ignore_patterns('__pycache__')
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        for name in ('setup.py', 'pyproject.toml', 'README.md', 'LICENSE', 'MANIFEST.in'):
            shutil.copy(ROOT / name, folder)
        for name in ('model-index.yml', 'requirements.txt', 'requirements-test.txt'):
            shutil.copy(ROOT / name, folder)
        return folder

    return copy


@pytest.fixture(scope='session')
def wheel(tmp_path_factory, copy_sources):
    """Build the wheel as `pip wheel .` does; the path of the file."""
    folder = tmp_path_factory.mktemp('wheel')
    sources = copy_sources(folder / 'sources')
    build = 'pip wheel --quiet --no-deps --no-build-isolation --wheel-dir'.split()
    subprocess.run([sys.executable, '-m', *build, str(folder), str(sources)], check=True)
    (file,) = folder.glob('*.whl')
    return file
