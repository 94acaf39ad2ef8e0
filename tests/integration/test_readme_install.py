"""README's lines install an environment in which the commands run."""

import os
import re
import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from data.folders import CAT, write_image, write_text, yolo_row

ROOT = Path(__file__).resolve().parents[2]
UV = Path(sys.executable).with_name('uv')


def installation_lines():
    """Read the lines of README's installation, each as a list of arguments."""
    section = (ROOT / 'README.md').read_text().split('\n## Install\n')[1]
    block = re.search(r'```shell\n(.*?)```', section, re.DOTALL)[1]
    return [shlex.split(line, comments=True) for line in block.splitlines()]


def link_distribution(name, folder, linked):
    """Link an installed distribution and what it requires; torch is too large to install again."""
    try:
        found = distribution(name)
    except PackageNotFoundError:  # of another platform, or an extra
        return
    linked.add(name)
    for top in {file.parts[0] for file in found.files} - {'..', '__pycache__'}:
        if not (folder / top).exists():
            (folder / top).symlink_to(found.locate_file(top))
    for requirement in found.requires or []:
        needed = re.match(r'[\w.-]+', requirement)[0]
        if 'extra ==' not in requirement and needed not in linked:
            link_distribution(needed, folder, linked)


@pytest.fixture(scope='module')
def environment(copy_sources, tmp_path_factory):
    """Make an environment that holds torch and what README's other lines install."""
    folder = tmp_path_factory.mktemp('environment')
    sources = copy_sources(folder / 'sources')
    subprocess.run([UV, 'venv', '--quiet', '--python', sys.executable, folder / 'env'], check=True)
    (packages,) = (folder / 'env' / 'lib').glob('python*/site-packages')
    link_distribution('torch', packages, {'numpy'})
    settings = {
        'UV_FIND_LINKS': os.environ.get('PIP_FIND_LINKS', ''),
        'UV_INDEX_URL': os.environ.get('PIP_INDEX_URL', ''),
        'UV_EXTRA_INDEX_URL': os.environ.get('PIP_EXTRA_INDEX_URL', ''),
        'SSL_CERT_FILE': os.environ.get('PIP_CERT', ''),
    }
    env = {**os.environ, **{name: value for name, value in settings.items() if value}}
    torch_line, *lines = installation_lines()
    assert 'torch==' in ' '.join(torch_line)
    for pip, install, *arguments in lines:
        assert (pip, install) == ('pip', 'install')
        command = [UV, 'pip', 'install', '--quiet', '--python', folder / 'env', '--no-config']
        subprocess.run([*command, *arguments], check=True, cwd=sources, env=env)
    return folder / 'env' / 'bin'


def test_new_runs_in_an_environment_of_readme_and_nothing_else(environment, tmp_path):
    for number in range(6):
        write_image(tmp_path / 'cats' / f'{number}.png')
        write_text(tmp_path / 'cats' / f'{number}.txt', yolo_row(0, CAT[1]))
    write_text(tmp_path / 'cats' / 'classes.txt', 'cat\n')
    done = subprocess.run(
        [environment / 'mmdet-detnet', 'new', 'cats'],
        cwd=tmp_path,
        env={'PATH': os.environ['PATH'], 'OMP_NUM_THREADS': '1'},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert 'Warning' not in done.stdout
    assert list(tmp_path.glob('cats-detector/*.py'))
