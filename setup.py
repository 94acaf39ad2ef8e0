"""Build hook: put configs, tools and the model index where mim looks for them."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent


class BuildWithMimFolder(build_py):
    """Copy what mim needs to ``mmdet_detnet/.mim`` of the built package.

    The copies go into the build folder, never into the source tree. An editable install
    builds nothing and so has no ``.mim``: there, scripts and configs are used by path.
    """

    def run(self) -> None:
        """Build the package, then add the ``.mim`` folder."""
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / 'mmdet_detnet' / '.mim'
        shutil.rmtree(target, ignore_errors=True)
        ignored = shutil.ignore_patterns('__pycache__')
        for folder in ('configs', 'tools'):
            shutil.copytree(ROOT / folder, target / folder, ignore=ignored)
        shutil.copy(ROOT / 'model-index.yml', target)


setup(cmdclass={'build_py': BuildWithMimFolder})
