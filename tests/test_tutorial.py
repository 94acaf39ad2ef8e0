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


def count_pictures(notebook):
    outputs = [output for cell in notebook.cells for output in cell.get('outputs', [])]
    assert not [output for output in outputs if output.output_type == 'error']
    return sum('image/jpeg' in output.get('data', {}) for output in outputs)


def test_stored_outputs_are_complete_and_of_no_machine(notebook):
    nbformat.validate(notebook)
    if any(cell.get('outputs') for cell in notebook.cells):
        assert count_pictures(notebook) == 3
    text = TUTORIAL.read_text()
    assert not [folder for folder in ('/tmp/', '/home/', '/root/', '/Users/') if folder in text]


def test_cells_run(notebook, tmp_path, monkeypatch):
    settings = dict(TUTORIAL_IMAGES='8', TUTORIAL_EPOCHS='1', TUTORIAL_WORK_DIR=str(tmp_path))
    settings.update(CUDA_VISIBLE_DEVICES='-1', OMP_NUM_THREADS='1')
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    resources = {'metadata': {'path': str(TUTORIAL.parent)}}
    NotebookClient(notebook, timeout=TIMEOUT, resources=resources).execute()
    assert count_pictures(notebook) == 3
    assert list((tmp_path / 'detector').glob('*/best_*_epoch_1.pth'))
