"""The built wheel: what mim needs is inside, and nothing becomes a top-level package."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope='module')
def wheel_names(tmp_path_factory):
    """Build the wheel from a copy of the sources and list its files."""
    folder = tmp_path_factory.mktemp('wheel')
    sources = folder / 'sources'
    for name in ('mmdet_detnet', 'configs', 'tools'):
        shutil.copytree(ROOT / name, sources / name)
    for name in ('setup.py', 'pyproject.toml', 'README.md', 'MANIFEST.in', 'model-index.yml'):
        shutil.copy(ROOT / name, sources)
    build = 'pip wheel --quiet --no-deps --no-build-isolation --wheel-dir'.split()
    subprocess.run([sys.executable, '-m', *build, str(folder), str(sources)], check=True)
    (wheel,) = folder.glob('*.whl')
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_every_config_and_tool_is_in_the_mim_folder(wheel_names):
    expected = {
        f'mmdet_detnet/.mim/{path.relative_to(ROOT)}'
        for folder in ('configs', 'tools')
        for path in (ROOT / folder).rglob('*')
        if path.suffix in ('.py', '.sh', '.yml', '.md') and 'environment_setup' not in path.parts
    }
    assert expected <= set(wheel_names)
    assert 'mmdet_detnet/.mim/model-index.yml' in wheel_names


def test_set_up_scripts_stay_out(wheel_names):
    assert not [name for name in wheel_names if 'environment_setup' in name]


def test_package_is_the_only_top_level_module(wheel_names):
    tops = {name.split('/')[0] for name in wheel_names}
    assert {top for top in tops if not top.endswith('.dist-info')} == {'mmdet_detnet'}


def test_config_basenames_are_unique_in_the_wheel(wheel_names):
    configs = [Path(name).name for name in wheel_names if '/.mim/configs/' in name]
    leaves = [name for name in configs if name.endswith('.py')]
    assert len(leaves) == len(set(leaves))
