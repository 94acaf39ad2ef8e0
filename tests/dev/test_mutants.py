"""The gate of deliberate faults, on a tree of two files."""

import subprocess
import sys

import pytest
from faults import Fault, read_faults
from mutants import ROOT, judge_all

MODULE = 'mmdet_detnet/__init__.py'
TEST = 'tests/test_numbers.py::test_one'


@pytest.fixture
def tree(tmp_path):
    """A package of two numbers, and a test of the first."""
    files = {
        MODULE: 'ONE = 1\nTWO = 2\n',
        'tests/test_numbers.py': 'from mmdet_detnet import ONE\n\n\n'
        'def test_one():\n    assert ONE == 1\n',
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    subprocess.run(['git', 'init', '--quiet', str(tmp_path)], check=True)
    return tmp_path


def make_fault(old, new):
    return Fault(f'{old} becomes {new}', MODULE, old, new, (TEST,))


def test_fault_is_noticed_or_not_or_no_fault_at_all(tree, monkeypatch):
    for name in [name for name in sys.modules if name.split('.')[0] == 'mmdet_detnet']:
        monkeypatch.delitem(sys.modules, name)  # as where the gate runs
    faults = [make_fault('= 1', '= 3'), make_fault('= 2', '= 3'), make_fault('= 1', '= (')]
    verdicts = {verdict.fault: verdict for verdict in judge_all(faults, jobs=2, root=tree)}
    assert {fault: verdict.unnoticed for fault, verdict in verdicts.items()} == {
        None: (),
        faults[0]: (),
        faults[1]: (TEST,),
        faults[2]: (),
    }
    assert [bool(verdicts[fault].error) for fault in faults] == [False, False, True]
    assert (tree / MODULE).read_text() == 'ONE = 1\nTWO = 2\n'


@pytest.mark.parametrize(('old', 'times'), [('THREE', 0), (' = ', 2)])
def test_fault_that_does_not_apply_is_an_error(tree, old, times):
    with pytest.raises(ValueError, match=f'{MODULE} has .* {times} times instead of once'):
        next(judge_all([make_fault(old, 'x')], jobs=1, root=tree))


def test_faults_are_many_and_each_has_its_tests():
    faults = read_faults()
    assert len({fault.name for fault in faults}) == len(faults) > 50
    assert all(fault.tests and fault.old != fault.new for fault in faults)


@pytest.mark.parametrize('fault', read_faults(), ids=lambda fault: fault.name)
def test_fault_is_up_to_date(fault):
    assert fault.new in fault.make_text(ROOT)
    for test in fault.tests:
        file, name = test.split('::')
        assert f'def {name.split("[")[0]}(' in (ROOT / file).read_text()


def test_incomplete_fault_is_named(tmp_path):
    (tmp_path / 'models.yml').write_text('- name: half a fault\n  tests: [a]\n')
    with pytest.raises(ValueError, match=r'models.yml: .*half a fault.* is not a fault: .*old'):
        read_faults(tmp_path)
