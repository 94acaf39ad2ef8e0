"""``mmcv.ops`` on this package's functions."""

import sys
from contextlib import contextmanager

import mmcv.ops  # noqa: F401
import pytest

from mmdet_detnet.operators.provider import OperatorFinder


@pytest.fixture(scope='session')
def own_operators():
    """A context in which ``mmcv.ops`` calls our functions, even where it has compiled ones."""
    finder = OperatorFinder()
    module = finder.create_module(finder.find_spec('mmcv._ext'))
    finder.exec_module(module)

    @contextmanager
    def use():
        with pytest.MonkeyPatch.context() as patch:
            for name in list(sys.modules):
                if name.startswith('mmcv.ops.') and hasattr(sys.modules[name], 'ext_module'):
                    patch.setattr(sys.modules[name], 'ext_module', module)
            yield

    return use


@pytest.fixture
def on_own_operators(own_operators):
    with own_operators():
        yield
