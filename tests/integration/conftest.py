"""The wheel, installed for subprocesses as a user has it, and a folder of another project."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmdet_detnet.data.drawn_shapes import generate_shapes

FORK_SERVER = Path(__file__).with_name('fork_server.py')


class Installation:
    """The installed wheel, ahead of the editable install of the environment that runs the tests.

    Args:
        folder: Where pip put the package. It comes first on the path of every subprocess, where
            `import` and mim's `pkg_resources` both take the first package of a name.
        imported: Modules that every program finds imported, besides those of the fork server.
    """

    def __init__(self, folder, *imported):
        self.folder = folder
        self.module = folder / 'mmdet_detnet'
        self.env = {
            **os.environ,
            'PATH': os.pathsep.join([str(folder / 'bin'), os.environ['PATH']]),
            'PYTHONPATH': str(folder),
            'PYTHONWARNINGS': 'ignore',
            'CUDA_VISIBLE_DEVICES': '-1',
            'OMP_NUM_THREADS': '1',
        }
        self.server = subprocess.Popen(
            [sys.executable, str(FORK_SERVER), *imported],
            env=self.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def python(self, *arguments, cwd, expect_failure=False):
        """Run Python in a folder, in a process of its own, and return its output, both streams."""
        output = self.folder.with_name('output.txt')
        output.unlink(missing_ok=True)
        request = json.dumps([str(cwd), [str(part) for part in arguments], str(output)])
        print(request, file=self.server.stdin, flush=True)
        exit_code = int(self.server.stdout.readline())
        assert (exit_code != 0) == expect_failure, output.read_text()[-3000:]
        return output.read_text()

    def close(self):
        """End the server; processes forked by torch may hold its input open."""
        self.server.terminate()
        self.server.wait()

    def mim(self, *arguments, **options):
        """Run mim's command line."""
        return self.python(Path(sys.executable).with_name('mim'), *arguments, **options)


@pytest.fixture(scope='session')
def installation(wheel, tmp_path_factory):
    """Install the wheel, not editable, in a folder of its own."""
    folder = tmp_path_factory.mktemp('installed') / 'packages'
    install = 'pip install --quiet --no-deps --target'.split()
    subprocess.run([sys.executable, '-m', *install, str(folder), str(wheel)], check=True)
    installation = Installation(folder)
    yield installation
    installation.close()


@pytest.fixture(scope='session')
def make_project(tmp_path_factory):
    """Make a folder that holds drawn images in data/shapes and nothing of this package."""

    def make(name):
        folder = tmp_path_factory.mktemp(name)
        generate_shapes(folder / 'data' / 'shapes', num_train=2, num_val=1)
        return folder

    return make
