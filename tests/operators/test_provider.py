"""``mmcv._ext`` is mmcv's own if it has one, else ours."""

import sys
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

import pytest

from mmdet_detnet.operators import describe_operators, provider
from mmdet_detnet.operators.functions import FUNCTIONS
from mmdet_detnet.operators.provider import OperatorFinder, OperatorModule, provide_operators


@pytest.fixture
def module():
    """The module that stands in for ``mmcv._ext``, as the import system would make it."""
    spec = OperatorFinder().find_spec('mmcv._ext')
    module = spec.loader.create_module(spec)
    spec.loader.exec_module(module)
    return module


def test_module_has_the_operators(module):
    assert isinstance(module, OperatorModule)
    assert all(getattr(module, name) is function for name, function in FUNCTIONS.items())


def test_missing_operator_is_named_when_it_is_called(module):
    with pytest.raises(NotImplementedError, match="operator 'knn_forward'.*compiled mmcv"):
        module.knn_forward(1, k=2)


def test_module_answers_the_import_system_as_any_other(module):
    assert not hasattr(module, '__path__')


def test_finder_is_asked_after_the_one_for_files_and_for_this_module_only():
    provide_operators()
    (place,) = [i for i, f in enumerate(sys.meta_path) if isinstance(f, OperatorFinder)]
    assert place > sys.meta_path.index(PathFinder)
    assert OperatorFinder().find_spec('mmcv.ops') is None


def test_mmdet_without_operators_is_refused(monkeypatch):
    monkeypatch.setattr(sys, 'meta_path', [PathFinder])
    monkeypatch.setattr(provider, 'has_compiled_operators', lambda: False)
    monkeypatch.setitem(sys.modules, 'mmdet.structures.mask', ModuleType('mask'))
    with pytest.raises(ImportError, match='import mmdet_detnet before mmdet.structures.mask'):
        provide_operators()
    monkeypatch.setattr(provider, 'has_compiled_operators', lambda: True)
    provide_operators()


@pytest.mark.parametrize(
    ('compiled', 'expected'), [(True, 'compiled, of mmcv'), (False, 'PyTorch, of mmdet_detnet')]
)
def test_operators_in_use_are_described(monkeypatch, tmp_path, compiled, expected):
    if compiled:
        (tmp_path / '_ext.abi3.so').touch()
    mmcv = ModuleSpec('mmcv', None)
    mmcv.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(provider, 'find_spec', lambda name: mmcv)
    assert describe_operators() == expected
