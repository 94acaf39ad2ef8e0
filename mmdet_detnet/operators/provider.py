"""Provide ``import mmcv._ext`` if mmcv has no compiled operators."""

import logging
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from types import ModuleType
from typing import Any

EXTENSION = 'mmcv._ext'
# The first of mmdet's modules to import them. In the forks, functions that raise take their place.
USES_OPERATORS = 'mmdet.structures.mask'


class OperatorFinder(MetaPathFinder, Loader):
    """Finds ``mmcv._ext`` if no other finder does, so that a compiled one takes precedence."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See :meth:`importlib.abc.MetaPathFinder.find_spec`."""
        return ModuleSpec(fullname, self, origin=__package__) if fullname == EXTENSION else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Create the module; this, not the import of the package, imports the operators."""
        return OperatorModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Put the operators into the module."""
        from .functions import FUNCTIONS

        vars(module).update(FUNCTIONS)


class OperatorModule(ModuleType):
    """Module that replaces ``mmcv._ext``.

    At import, ``mmcv.ops`` looks up every function that it might call. Functions that are not
    provided exist, but raise NotImplementedError when called.
    """

    def __getattr__(self, name: str) -> Callable:
        if name.startswith('__'):
            raise AttributeError(f'module {self.__name__!r} has no attribute {name!r}')

        def missing(*args: Any, **kwargs: Any) -> None:
            raise NotImplementedError(
                f"mmdet_detnet does not provide mmcv's operator {name!r}; a compiled mmcv has it."
            )

        return missing


def provide_operators() -> None:
    """Make ``import mmcv._ext`` return this package's operators if mmcv has none.

    Logs the operators in use at INFO level.

    Raises:
        ImportError: If a fork's mmdet, imported before, has found none and goes without.
    """
    if not any(isinstance(finder, OperatorFinder) for finder in sys.meta_path):
        if USES_OPERATORS in sys.modules and not has_compiled_operators():
            raise ImportError(
                f'import mmdet_detnet before {USES_OPERATORS}, which found no operators of mmcv.'
            )
        sys.meta_path.append(OperatorFinder())
        logging.getLogger(__name__).info('operators in use: %s', describe_operators())


def has_compiled_operators() -> bool:
    """Tell whether the installed mmcv has a compiled ``_ext``, without importing mmcv."""
    mmcv = find_spec('mmcv')
    return mmcv is not None and bool(
        PathFinder.find_spec(EXTENSION, mmcv.submodule_search_locations)
    )


def describe_operators() -> str:
    """Name the operators that ``mmcv.ops`` uses in this environment."""
    return 'compiled, of mmcv' if has_compiled_operators() else 'PyTorch, of mmdet_detnet'
