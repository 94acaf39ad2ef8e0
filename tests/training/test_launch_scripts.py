"""What tools/dist_*.sh start, by the pairs of lines in docs/distributed.md."""

import os
import re
import runpy
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / 'docs' / 'distributed.md').read_text()
PAIRS = re.findall(r'```shell\n(.*tools/dist_.*)\n\n(python .*)\n```', DOCUMENT)
PRINT_ARGUMENTS = '#!/bin/sh\necho python "$@"\n'


@pytest.fixture
def run_line(tmp_path):
    """Run a shell line in the checkout, where `python` only prints how it was called."""
    stub = tmp_path / 'python'
    stub.write_text(PRINT_ARGUMENTS)
    stub.chmod(0o755)
    environment = {'PATH': f'{tmp_path}{os.pathsep}{os.environ["PATH"]}'}

    def run(line):
        return subprocess.run(
            ['bash', '-c', line], cwd=ROOT, env=environment, capture_output=True, text=True
        )

    return run


def test_both_scripts_are_documented():
    scripts = [re.search(r'tools/(\w+)\.sh', typed)[1] for typed, _ in PAIRS]
    assert sorted(scripts) == ['dist_test', 'dist_train', 'dist_train']


@pytest.mark.parametrize(('typed', 'started'), PAIRS)
def test_script_starts_what_the_document_says(typed, started, run_line):
    assert run_line(typed).stdout.strip() == started


def test_options_keep_their_spaces(run_line):
    output = run_line(
        'python() { printf \'<%s>\' "$@"; }; export -f python; '
        "tools/dist_train.sh CONFIG 2 --work-dir 'a b'"
    ).stdout
    assert output.endswith('<--work-dir><a b>')


@pytest.mark.parametrize('line', ['tools/dist_train.sh CONFIG', 'tools/dist_test.sh CONFIG a.pth'])
def test_missing_number_of_gpus_starts_nothing(line, run_line):
    result = run_line(line)
    assert result.returncode != 0
    assert result.stdout == ''


@pytest.mark.parametrize(('wanted', 'expected'), [(None, 'passive'), ('active', 'active')])
@pytest.mark.parametrize('name', ['train', 'test', 'analysis_tools/misalignment'])
def test_threads_wait_without_spinning_unless_told(name, wanted, expected, monkeypatch):
    # Where other programs want the cores, spinning made a training step four times as slow.
    monkeypatch.setenv('OMP_WAIT_POLICY', wanted or '')
    if wanted is None:
        monkeypatch.delenv('OMP_WAIT_POLICY')
    runpy.run_path(str(ROOT / 'tools' / f'{name}.py'))
    assert os.environ['OMP_WAIT_POLICY'] == expected
