"""``mmcv._ext`` is mmcv's own if it has one, else ours; torchvision counts where it loads."""

import importlib
import sys
import warnings
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType, SimpleNamespace

import pytest
from mmengine.utils.dl_utils import collect_env

from mmdet_detnet import host
from mmdet_detnet.host import (
    OperatorFinder,
    OperatorModule,
    TorchvisionGuard,
    describe_operators,
    guard_torchvision,
    load_torchvision,
    provide_operators,
)
from mmdet_detnet.operators import FUNCTIONS


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
    monkeypatch.setattr(host, 'has_compiled_operators', lambda: False)
    monkeypatch.setitem(sys.modules, 'mmdet.structures.mask', ModuleType('mask'))
    with pytest.raises(ImportError, match='import mmdet_detnet before mmdet.structures.mask'):
        provide_operators()
    monkeypatch.setattr(host, 'has_compiled_operators', lambda: True)
    provide_operators()


def test_operators_in_use_are_described(monkeypatch, tmp_path):
    mmcv = ModuleSpec('mmcv', None)
    mmcv.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(host, 'find_spec', lambda name: mmcv)
    monkeypatch.setattr(host, 'load_torchvision', lambda: None)
    assert describe_operators() == 'PyTorch, of mmdet_detnet'
    monkeypatch.setattr(host, 'load_torchvision', lambda: SimpleNamespace(__version__='0.28.0'))
    assert 'NMS, and on CUDA RoIAlign' in describe_operators()
    (tmp_path / '_ext.abi3.so').touch()
    importlib.invalidate_caches()
    assert describe_operators() == 'compiled, of mmcv'


@pytest.fixture
def broken_torchvision(monkeypatch, tmp_path):
    """A torchvision that raises when it is imported, as one for another torch."""
    (tmp_path / 'torchvision').mkdir()
    error = "raise RuntimeError('operator torchvision::nms does not exist')"
    (tmp_path / 'torchvision' / '__init__.py').write_text(error)
    for name in [name for name in sys.modules if name.partition('.')[0] == 'torchvision']:
        monkeypatch.delitem(sys.modules, name)
    others = [finder for finder in sys.meta_path if not isinstance(finder, TorchvisionGuard)]
    monkeypatch.setattr(sys, 'meta_path', others)
    monkeypatch.syspath_prepend(tmp_path)
    load_torchvision.cache_clear()
    host._warn_once.cache_clear()
    yield
    for name in [name for name in sys.modules if name.partition('.')[0] == 'torchvision']:
        del sys.modules[name]
    load_torchvision.cache_clear()


def test_torchvision_that_does_not_fit_torch_counts_as_missing(broken_torchvision):
    with pytest.raises(RuntimeError, match='nms does not exist'):
        import_module('torchvision')
    guard_torchvision()
    guard_torchvision()  # once is enough
    with pytest.warns(UserWarning, match=r'torchvision .* does not load with torch .*pip uninst'):
        assert load_torchvision() is None
    with pytest.raises(ModuleNotFoundError, match='pip uninstall torchvision'):
        import_module('torchvision')


def test_mmengine_reports_the_environment_next_to_such_a_torchvision(broken_torchvision):
    guard_torchvision()
    with pytest.warns(UserWarning, match='does not load'):
        assert 'TorchVision' not in collect_env()


def test_torchvision_that_loads_is_as_without_the_guard(monkeypatch, broken_torchvision, tmp_path):
    code = '__version__ = "1.2"\nfrom . import extension'
    (tmp_path / 'torchvision' / '__init__.py').write_text(code)
    (tmp_path / 'torchvision' / 'extension.py').write_text('def _has_ops(): return True')
    guard_torchvision()
    torchvision = load_torchvision()
    assert torchvision.__version__ == '1.2'
    assert not isinstance(torchvision.__loader__, TorchvisionGuard)


def test_advice_names_the_torchvision_of_the_torch(monkeypatch):
    monkeypatch.setattr(host, 'version', lambda name: '2.5.1+cu124')
    host._warn_once.cache_clear()
    with pytest.warns(UserWarning, match=r'pip install --no-deps torchvision==0\.20\.1$'):
        host.advise_torchvision()
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        host.advise_torchvision()
