"""The wheel, installed for subprocesses as a user has it, and a folder of another project."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmdet_detnet.analysis.dataset.shapes import generate_shapes

TIMEOUT = 240  # seconds


class Installation:
    """The installed wheel, ahead of the editable install of the environment that runs the tests.

    Args:
        folder: Where pip put the package. It comes first on the path of every subprocess, where
            `import` and mim's `pkg_resources` both take the first package of a name.
    """

    def __init__(self, folder):
        self.folder = folder
        self.module = folder / 'mmdet_detnet'
        self.environment = {
            **os.environ,
            'PYTHONPATH': str(folder),
            'PYTHONWARNINGS': 'ignore',
            'CUDA_VISIBLE_DEVICES': '-1',
            'OMP_NUM_THREADS': '1',
        }

    def run(self, *command, cwd, expect_failure=False, **environment):
        """Run a program in a folder and return its output, both streams."""
        result = subprocess.run(
            [str(part) for part in command],
            cwd=cwd,
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT,
        )
        assert (result.returncode != 0) == expect_failure, result.stdout[-3000:]
        return result.stdout

    def python(self, *arguments, **options):
        return self.run(sys.executable, *arguments, **options)

    def mim(self, *arguments, **options):
        """Run mim's command line."""
        return self.run(Path(sys.executable).with_name('mim'), *arguments, **options)


@pytest.fixture(scope='session')
def installation(wheel, tmp_path_factory):
    """Install the wheel, not editable, in a folder of its own."""
    folder = tmp_path_factory.mktemp('installed')
    install = 'pip install --quiet --no-deps --target'.split()
    subprocess.run([sys.executable, '-m', *install, str(folder), str(wheel)], check=True)
    return Installation(folder)


@pytest.fixture(scope='session')
def make_project(tmp_path_factory):
    """Make a folder that holds drawn images in data/shapes and nothing of this package."""

    def make(name):
        folder = tmp_path_factory.mktemp(name)
        generate_shapes(folder / 'data' / 'shapes', num_train=2, num_val=1)
        return folder

    return make
