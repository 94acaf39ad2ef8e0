"""Valid configs, for tests to break."""

import copy

import pytest

from mmdet_detnet.config import load_config

BASES = {
    'template': 'custom/faster-rcnn_detnet59-slim_fpn_custom.py',
    'cascade': 'detnet/cascade-rcnn_detnet59_fpn_1x_coco.py',
    'coco': 'ipgnet/faster-rcnn_ipgnet50_fpn_8xb4-1x_coco.py',
}


@pytest.fixture(scope='session')
def valid_configs():
    return {name: load_config(path) for name, path in BASES.items()}


@pytest.fixture
def make_config(valid_configs):
    """Copy one of the valid configs, and set an option of it."""

    def make(base, key=None, value=None):
        config = copy.deepcopy(valid_configs[base])
        if key is not None:
            config.merge_from_dict({key: value})
        return config

    return make
