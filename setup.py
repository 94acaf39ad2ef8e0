"""Build hooks: mim's folder, and a README for package indexes."""

import re
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
LOCAL_PICTURE = re.compile(r'!\[[^]]*\]\((?!https?:)[^)]*\)\n*')
LOCAL_LINK = re.compile(r'\[([^]]*)\]\((?!https?:)[^)]*\)')


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


def read_description() -> str:
    """Read the README without local pictures and links, which do not work on a package index."""
    text = (ROOT / 'README.md').read_text(encoding='utf-8')
    return LOCAL_LINK.sub(r'\1', LOCAL_PICTURE.sub('', text))


setup(
    cmdclass={'build_py': BuildWithMimFolder},
    long_description=read_description(),
    long_description_content_type='text/markdown',
)
