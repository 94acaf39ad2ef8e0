"""What importing the package does: it checks the host libraries and adds what they lack.

mmcv gets operators where none are compiled, mmengine learns to read ``mmdet_detnet::`` configs, and
a torchvision of another build than torch no longer stops a program.
"""

import re
import sys
import warnings
from collections.abc import Callable
from functools import cache, partial
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from types import ModuleType
from typing import Any

# The oldest accepted version, below which the import fails, and the newest tested one, above which
# it warns.
SUPPORTED_VERSIONS = {
    'torch': ('2.1.0', '2.13.0'),
    'mmengine': ('0.10.7', '0.10.7'),
    'mmcv': ('2.1.0', '2.1.0'),
    'mmdet': ('3.3.0', '3.3.0'),
    'setuptools': ('60.2.0', '81.0.0'),
}
EXTENSION = 'mmcv._ext'
# The first of mmdet's modules to import them. In the forks, functions that raise take their place.
USES_OPERATORS = 'mmdet.structures.mask'


def check_dependencies() -> None:
    """Check that every dependency is installed in a supported version.

    An importable dependency without a distribution of its name (the onedl forks of the OpenMMLab
    libraries) is accepted unchecked.

    Raises:
        ImportError: If a dependency is missing or too old, or if two installed versions are
            incompatible.
    """
    for name, (minimum, tested_maximum) in SUPPORTED_VERSIONS.items():
        if find_spec(name) is None:
            raise ImportError(
                f'mmdet_detnet needs {name} >= {minimum}, which is not installed; '
                f'tested with {name}=={tested_maximum}.'
            )
        installed = find_version(name)
        if () < _release(installed) < _release(minimum):
            raise ImportError(
                f'mmdet_detnet needs {name} >= {minimum}, but {installed} is installed.'
            )
        if _release(installed) > _release(tested_maximum):
            warnings.warn(
                f'mmdet_detnet was tested with {name} up to {tested_maximum}, '
                f'but {installed} is installed.',
                stacklevel=3,
            )
    # Combinations that would fail later, with a misleading message; unknown ones pass.
    torch, numpy, mmdet = map(find_version, ('torch', 'numpy', 'mmdet'))
    if () < _release(torch) < (2, 3, 0) and _release(numpy) >= (2, 0, 0):
        raise ImportError(
            f'torch {torch} was built for numpy 1, but numpy {numpy} is '
            "installed: pip install 'numpy<2', or torch 2.3 and newer."
        )
    mmcv = find_version('mmcv') or find_version('mmcv-lite')
    if () < _release(mmdet) < (3, 4, 0) and _release(mmcv) >= (2, 2, 0):
        raise ImportError(
            f"mmdet {mmdet} refuses mmcv 2.2 and newer: pip install 'mmcv-lite==2.1.0'."
        )


def find_version(name: str) -> str:
    """Return the version of a distribution; an empty text if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ''


def _release(text: str) -> tuple[int, ...]:
    """Convert '2.13.0+cpu' to (2, 13, 0), and an empty text to an empty tuple."""
    numbers = [int(number) for number in re.findall(r'\d+', re.split(r'[a-z+]', text)[0])]
    return tuple((numbers + [0, 0, 0])[:3]) if text else ()


def register_config_package() -> None:
    """Allow ``_base_ = 'mmdet_detnet::folder/file.py'`` in configs of other projects.

    mmengine 0.10.7 accepts ``package::`` only for packages in this table, which it reads together
    with a config. A launch script must therefore import ``mmdet_detnet`` first, as ours do.
    """
    import_module('mmengine.config.utils').MODULE2PACKAGE.setdefault('mmdet_detnet', 'mmdet_detnet')


class OperatorFinder(MetaPathFinder, Loader):
    """Finds ``mmcv._ext`` if no other finder does, so that a compiled one takes precedence."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """See :meth:`importlib.abc.MetaPathFinder.find_spec`."""
        return ModuleSpec(fullname, self, origin=__package__) if fullname == EXTENSION else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Create the module; this, not the import of the package, imports the operators."""
        return OperatorModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Put the operators into the module."""
        from .operators import FUNCTIONS

        vars(module).update(FUNCTIONS)


class OperatorModule(ModuleType):
    """Replaces ``mmcv._ext``, in which ``mmcv.ops`` looks up every function that it might call."""

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

    Raises:
        ImportError: If a fork's mmdet, imported before, has found none and goes without.
    """
    if not any(isinstance(finder, OperatorFinder) for finder in sys.meta_path):
        if USES_OPERATORS in sys.modules and not has_compiled_operators():
            raise ImportError(
                f'import mmdet_detnet before {USES_OPERATORS}, which found no operators of mmcv.'
            )
        sys.meta_path.append(OperatorFinder())


def has_compiled_operators() -> bool:
    """Return whether the installed mmcv has a compiled ``_ext``, without importing mmcv."""
    mmcv = find_spec('mmcv')
    return mmcv is not None and bool(
        PathFinder.find_spec(EXTENSION, mmcv.submodule_search_locations)
    )


def describe_operators() -> str:
    """Name the operators that ``mmcv.ops`` uses in this environment; imports torchvision."""
    if has_compiled_operators():
        return 'compiled, of mmcv'
    torchvision = load_torchvision()
    if torchvision is None:
        return 'PyTorch, of mmdet_detnet'
    return (
        f'PyTorch, of mmdet_detnet; NMS, and on CUDA RoIAlign and deformable convolution, '
        f'of torchvision {torchvision.__version__}'
    )


class TorchvisionGuard(MetaPathFinder):
    """Lets ``import torchvision`` fail as if it were not installed, where it does not fit torch.

    A torchvision built for another torch raises RuntimeError at its import. Programs that can do
    without it, such as the report of the environment with which mmengine starts a run, expect
    a ModuleNotFoundError.
    """

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Find the installed torchvision, and load it by :meth:`_run`."""
        spec = PathFinder.find_spec(fullname, path) if fullname == 'torchvision' else None
        if spec is not None and spec.loader is not None:
            run = partial(self._run, spec.loader.exec_module)
            setattr(spec.loader, 'exec_module', run)  # noqa: B010 - mypy allows no method
        return spec

    @staticmethod
    def _run(exec_module: Callable, module: ModuleType) -> None:
        try:
            exec_module(module)
        except (RuntimeError, OSError) as error:
            reason = (
                f'torchvision {find_version("torchvision") or "?"} does not load with torch '
                f'{find_version("torch") or "?"} ({str(error).splitlines()[0]}), so '
                'mmdet_detnet uses its own operators: pip uninstall torchvision, or install the '
                'build for this torch.'
            )
            _warn_once(reason)
            raise ModuleNotFoundError(reason, name='torchvision') from error


def guard_torchvision() -> None:
    """Install the :class:`TorchvisionGuard`, unless torchvision is already imported."""
    if 'torchvision' not in sys.modules and not any(
        isinstance(finder, TorchvisionGuard) for finder in sys.meta_path
    ):
        sys.meta_path.insert(0, TorchvisionGuard())


@cache
def load_torchvision() -> ModuleType | None:
    """Import torchvision; None if it is not installed, does not fit torch or has no operators."""
    try:
        torchvision = import_module('torchvision')
    except ImportError:
        return None
    return torchvision if torchvision.extension._has_ops() else None


def advise_torchvision() -> None:
    """Warn once that RoIAlign on this device is slow without torchvision."""
    torch = _release(find_version('torch') or '2.0.0')
    _warn_once(
        'mmdet_detnet: RoIAlign on CUDA in PyTorch is about 50 times slower than compiled: '
        f'pip install --no-deps torchvision==0.{torch[1] + 15}.{torch[2]}'
    )


@cache
def _warn_once(message: str) -> None:
    warnings.warn(message, stacklevel=3)
