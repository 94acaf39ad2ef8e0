"""The built wheel: what mim needs is inside, and nothing becomes a top-level package."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BUILD_OPTIONS = '--quiet --no-deps --no-build-isolation'.split()


def list_files(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


@pytest.fixture(scope='session')
def wheel_names(wheel):
    return list_files(wheel)


def test_every_config_and_tool_is_in_the_mim_folder(wheel_names):
    expected = {
        f'mmdet_detnet/.mim/{path.relative_to(ROOT)}'
        for folder in ('configs', 'tools')
        for path in (ROOT / folder).rglob('*')
        if path.suffix in ('.py', '.sh', '.yml', '.md')
    }
    assert expected <= set(wheel_names)
    assert 'mmdet_detnet/.mim/model-index.yml' in wheel_names


def test_package_is_the_only_top_level_module(wheel_names):
    tops = {name.split('/')[0] for name in wheel_names}
    assert {top for top in tops if not top.endswith('.dist-info')} == {'mmdet_detnet'}


def test_no_other_file_of_the_module_directory_has_the_name_of_a_config(wheel_names):
    # mim looks for a config's basename in the whole directory, and stops if it finds two.
    configs = [Path(name).name for name in wheel_names if '/.mim/configs/' in name]
    leaves = [name for name in configs if name.endswith('.py')]
    all_names = [Path(name).name for name in wheel_names]
    assert leaves
    assert [name for name in leaves if all_names.count(name) > 1] == []


def test_description_for_a_package_index_links_to_urls_only(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith('.dist-info/METADATA'))
        metadata = archive.read(name).decode()
    assert 'Description-Content-Type: text/markdown' in metadata
    assert '# mmdet_detnet' in metadata
    targets = re.findall(r'\]\(([^)]*)\)', metadata)
    assert targets
    assert [target for target in targets if not target.startswith('https://')] == []


def run(*command, folder):
    subprocess.run([sys.executable, *command], cwd=folder, check=True, stdout=subprocess.DEVNULL)


def test_wheel_from_the_source_distribution_is_the_same(wheel_names, copy_sources, tmp_path):
    sources = copy_sources(tmp_path / 'sources')
    run('setup.py', '--quiet', 'sdist', folder=sources)
    (archive,) = (sources / 'dist').glob('*.tar.gz')
    run('-m', 'pip', 'wheel', *BUILD_OPTIONS, str(archive), folder=tmp_path)
    (wheel,) = tmp_path.glob('*.whl')
    assert set(list_files(wheel)) == set(wheel_names)
