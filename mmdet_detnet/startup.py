"""Opt-in start-up hook that imports the package in every program of a Python environment.

``python -m mmdet_detnet.startup on`` writes a ``.pth`` file that Python runs on start-up.
``mmdet_detnet::`` configs and the operators then also work in mmdet's own scripts, without an
import of this package. The package is imported only with the first module of mmcv or mmdet, so
other programs do not start more slowly.
"""

import argparse
import sysconfig
from pathlib import Path

FILE_NAME = 'mmdet_detnet.pth'
HOOK = '''\
import sys
from importlib.abc import MetaPathFinder


class ImportFirst(MetaPathFinder):
    """Imports mmdet_detnet before the first module of mmcv or mmdet."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname in ('mmcv', 'mmdet'):
            sys.meta_path.remove(self)
            try:
                import mmdet_detnet
            except ModuleNotFoundError as error:
                if error.name != 'mmdet_detnet':  # uninstalled since
                    raise


sys.meta_path.insert(0, ImportFirst())
'''


def switch(state: str, folder: Path) -> str:
    """Switch the hook on or off.

    Args:
        state: ``'on'`` or ``'off'``.
        folder: The environment's ``site-packages``.

    Returns:
        What was done.
    """
    path = folder / FILE_NAME
    if state == 'off':
        path.unlink(missing_ok=True)
        return f'start-up hook removed: {path}'
    path.write_text(f'import sys; exec({HOOK!r}, {{}})\n')
    return f'start-up hook written: {path}'


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('state', choices=['on', 'off'])
    print(switch(parser.parse_args().state, Path(sysconfig.get_path('purelib'))))
