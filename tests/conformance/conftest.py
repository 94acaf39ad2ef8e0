"""Networks of one block a stage, and the choice of model families."""

import pytest
from helpers import few_blocks
from mmdet_families import all_families


def pytest_generate_tests(metafunc):
    """Give a test of model families those of its module's slice, or all with ``--all-configs``."""
    if 'family' in metafunc.fixturenames:
        every = metafunc.config.getoption('all_configs')
        metafunc.parametrize('family', all_families() if every else metafunc.module.SLICE)


@pytest.fixture
def one_block_a_stage():
    with few_blocks():
        yield
