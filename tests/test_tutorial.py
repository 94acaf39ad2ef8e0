"""docs/tutorial.ipynb runs from top to bottom; here with few images."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

TUTORIAL = Path(__file__).resolve().parent.parent / 'docs' / 'tutorial.ipynb'
TIMEOUT = 120  # seconds, of a cell


@pytest.fixture
def notebook():
    return nbformat.read(TUTORIAL, as_version=4)


def test_notebook_is_committed_without_outputs(notebook):
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert not cell.get('outputs')
        assert cell.get('execution_count') is None


def test_cells_run(notebook, tmp_path, monkeypatch):
    settings = dict(TUTORIAL_IMAGES='4', TUTORIAL_EPOCHS='1', TUTORIAL_WORK_DIR=str(tmp_path))
    settings.update(CUDA_VISIBLE_DEVICES='-1', OMP_NUM_THREADS='1')
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    resources = {'metadata': {'path': str(TUTORIAL.parent)}}
    NotebookClient(notebook, timeout=TIMEOUT, resources=resources).execute()
    pictures = [
        output['data']['image/png']
        for cell in notebook.cells
        for output in cell.get('outputs', [])
        if 'image/png' in output.get('data', {})
    ]
    assert len(pictures) == 2
    assert (tmp_path / 'epoch_1.pth').exists()
