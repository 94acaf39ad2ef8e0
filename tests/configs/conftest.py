"""Configs of the package, each parsed once."""

import copy
import functools

import pytest
from mmengine.config import Config

from mmdet_detnet import config_path


@pytest.fixture(scope='session')
def load_config(tmp_path_factory):
    """Read configs from a folder that has nothing to do with the project; copies of one reading."""
    folder = tmp_path_factory.mktemp('elsewhere')

    @functools.cache
    def read(name):
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            return Config.fromfile(config_path(name))

    return lambda name: copy.deepcopy(read(name))
