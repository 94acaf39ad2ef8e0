"""Every Python block of the documents works as written.

A block whose first line is a file's name is that file, a config of another project: its model is
built. All other blocks of a document are run together, from top to bottom, in a folder that holds
the drawn images, the named files and an empty checkpoint `epoch_12.pth`. No block is left out.
"""

import re
from pathlib import Path
from textwrap import dedent

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [*ROOT.glob('*.md'), *ROOT.glob('docs/*.md'), *ROOT.glob('configs/*/README.md')]
PYTHON_BLOCK = re.compile(r'^ *```python\n(.*?)^ *```', re.DOTALL | re.MULTILINE)
FILE_NAME = re.compile(r'# (\S+\.py)\n')


def python_blocks(document):
    return [dedent(block) for block in PYTHON_BLOCK.findall(document.read_text())]


def config_blocks():
    """Find the documents and the blocks that are files of their own."""
    named = [(path, block) for path in DOCUMENTS for block in python_blocks(path)]
    return [
        pytest.param(block, id=f'{path.name}-{FILE_NAME.match(block)[1]}')
        for path, block in named
        if FILE_NAME.match(block)
    ]


def scripts():
    """Join the other blocks of each document."""
    for path in DOCUMENTS:
        blocks = [block for block in python_blocks(path) if not FILE_NAME.match(block)]
        if blocks:
            yield pytest.param(path, '\n'.join(blocks), id=str(path.relative_to(ROOT)))


@pytest.mark.parametrize('block', config_blocks())
def test_config_builds_a_model_with_our_modules(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('config.py').write_text(block)
    config = Config.fromfile('config.py')
    scope = config.get('default_scope', 'mmdet')
    with DefaultScope.overwrite_default_scope(scope), torch.device('meta'):
        modules = list(MODELS.build(config.model).modules())
    assert [m for m in modules if type(m).__module__.startswith('mmdet_detnet')]


@pytest.mark.parametrize(('path', 'script'), scripts())
def test_script_runs(path, script, installation, make_project):
    folder = make_project('document')
    for block in python_blocks(path):
        if name := FILE_NAME.match(block):
            (folder / Path(name[1]).name).write_text(block)
    torch.save({'state_dict': {}, 'meta': {}}, folder / 'epoch_12.pth')
    (folder / 'script.py').write_text(script)
    installation.python('script.py', cwd=folder)


def test_every_linked_file_exists():
    for document in DOCUMENTS:
        for target in re.findall(r'\]\((?!https?:)([^)#]+)\)', document.read_text()):
            assert (document.parent / target).exists(), f'{document.name}: {target}'
