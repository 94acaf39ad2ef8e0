"""Fixtures that every test shares."""

import pytest
import torch
from mmdet.utils import register_all_modules

# The tensors are small: more threads cost more than they give, and wait by spinning where other
# programs want the cores.
torch.set_num_threads(1)


@pytest.fixture(scope='session', autouse=True)
def mmdet_scope():
    """Register mmdet's modules, and build unprefixed types from them, as its scripts do."""
    register_all_modules(init_default_scope=True)


@pytest.fixture(autouse=True)
def fixed_seed():
    """Give every test the same random numbers, whatever ran before it."""
    torch.manual_seed(0)


def pytest_collection_modifyitems(items):
    """Skip the tests marked `cuda` where there is no CUDA device."""
    if torch.cuda.is_available():
        return
    no_device = pytest.mark.skip(reason='needs a CUDA device')
    for item in items:
        if 'cuda' in item.keywords:
            item.add_marker(no_device)
