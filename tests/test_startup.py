"""The opt-in start-up hook."""

import subprocess
import sys

from mmdet_detnet.startup import FILE_NAME, switch

# As Python does it for the files of its own site-packages.
RUN = 'import site, sys; site.addsitedir(sys.argv[1]); '
CHECK = """
assert 'torch' not in sys.modules
import mmcv.ops, mmengine.config.utils
assert 'mmdet_detnet' in mmengine.config.utils.MODULE2PACKAGE
"""


def start(folder, code, *options):
    command = [sys.executable, *options, '-c', RUN + code, str(folder)]
    return subprocess.run(command, capture_output=True, text=True)


def test_hook_imports_the_package_with_the_first_of_its_hosts(tmp_path):
    assert str(tmp_path / FILE_NAME) in switch('on', tmp_path)
    result = start(tmp_path, f'exec({CHECK!r})')
    assert (result.returncode, result.stderr) == (0, '')


def test_hook_that_outlives_the_package_does_no_harm(tmp_path):
    switch('on', tmp_path)
    (tmp_path / 'mmdet_detnet.py').write_text("raise ModuleNotFoundError(name='mmdet_detnet')")
    result = start(tmp_path, 'sys.path.insert(0, sys.argv[1]); import mmcv')
    assert (result.returncode, result.stderr) == (0, '')


def test_hook_is_removed(tmp_path):
    switch('on', tmp_path)
    switch('off', tmp_path)
    switch('off', tmp_path)
    assert not list(tmp_path.iterdir())
