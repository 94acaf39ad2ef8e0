"""Networks of one block a stage, and the choice of model families."""

import pytest
from mmdet.models.backbones import DetectoRS_ResNet, Res2Net, ResNeSt, ResNet, ResNeXt
from mmdet_families import all_families


def pytest_generate_tests(metafunc):
    """Give a test of model families those of its module's slice, or all with ``--all-configs``."""
    if 'family' in metafunc.fixturenames:
        every = metafunc.config.getoption('all_configs')
        metafunc.parametrize('family', all_families() if every else metafunc.module.SLICE)


@pytest.fixture
def one_block_a_stage(monkeypatch):
    """Shorten mmdet's ResNets."""
    for net in (DetectoRS_ResNet, Res2Net, ResNeSt, ResNet, ResNeXt):
        settings = {depth: (block, (1, 1, 1, 1)) for depth, (block, _) in net.arch_settings.items()}
        monkeypatch.setattr(net, 'arch_settings', settings)
