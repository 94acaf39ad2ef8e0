"""Names of modules, with and without a scope."""

import pytest
from mmdet.registry import MODELS as MMDET_MODELS
from mmengine.registry import DATASETS, HOOKS, DefaultScope
from mmengine.registry import MODELS as MMENGINE_MODELS

from mmdet_detnet.registry import MODELS


@pytest.mark.parametrize('registry', [MMENGINE_MODELS, MMDET_MODELS, MODELS])
def test_module_is_found_by_its_prefixed_name(registry):
    assert registry.get('mmdet_detnet.DetNet').__module__.startswith('mmdet_detnet')


@pytest.mark.parametrize(
    ('registry', 'name', 'package'),
    [
        (HOOKS, 'NumClassCheckHook', 'mmdet'),
        (HOOKS, 'CheckpointHook', 'mmengine'),
        (DATASETS, 'CocoDataset', 'mmdet'),
        (MMENGINE_MODELS, 'RetinaHead', 'mmdet'),
        (MMENGINE_MODELS, 'DetNet', 'mmdet_detnet'),
    ],
)
def test_name_without_prefix_in_our_scope(registry, name, package):
    with DefaultScope.overwrite_default_scope('mmdet_detnet'):
        with registry.switch_scope_and_registry('mmdet_detnet') as ours:
            assert ours.get(name).__module__.split('.')[0] == package


@pytest.mark.parametrize('name', ['Nothing', 'mmdet_detnet.Nothing', 'mmdet.Nothing'])
def test_unknown_name_is_not_found(name):
    assert MODELS.get(name) is None


def test_other_scopes_need_the_prefix():
    with DefaultScope.overwrite_default_scope('mmdet'), pytest.raises(KeyError, match='DetNet'):
        MMENGINE_MODELS.build(dict(type='DetNet', depth=59))
