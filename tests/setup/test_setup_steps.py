"""The set-up as a whole: what it skips, what it notices, how it fails."""

import os
import re
import sysconfig

import pytest
from environment_setup import environment, installed, mmcv_wheel
from environment_setup.checks import SetupError


@pytest.fixture
def complete(monkeypatch, tmp_path):
    """A stamped environment with its requirements in a temporary folder."""
    for name in ('PYTHON', 'STAMP', 'REQUIREMENTS', 'TEST_REQUIREMENTS'):
        monkeypatch.setattr(environment, name, tmp_path / name)
        (tmp_path / name).write_text('numpy==2.4.6\n')
    monkeypatch.setattr(
        environment, 'compare_with_requirements', lambda: {'problems': [], 'torch': '2.13.0+cpu'}
    )
    environment.STAMP.write_text(f'{environment.fingerprint()} 2.13.0+cpu')


def test_complete_environment_is_left_alone(complete, monkeypatch, capsys):
    monkeypatch.setattr(environment, 'check_machine', lambda: pytest.fail('a step was run'))
    environment.set_up()
    assert 'complete' in capsys.readouterr().out


@pytest.mark.parametrize('cached, checks', [(False, 1), (True, 0)])
def test_compiler_is_asked_for_early_only_if_mmcv_is_not_cached(
    monkeypatch, tmp_path, cached, checks
):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    this_python = sysconfig.get_config_var('SOABI')
    folder = environment.cache_root(os.environ) / f'mmcv2.1.0_{this_python}_x86_64_torch2.13.0_cpu'
    folder.mkdir(parents=True)
    if cached:
        (folder / 'mmcv-2.1.0.whl').touch()
    asked = []
    monkeypatch.setattr(environment, 'check_compiler', lambda: asked.append('compiler'))
    monkeypatch.setattr(environment, 'check_disk', lambda *arguments: None)
    environment.check_machine()
    assert len(asked) == checks


@pytest.mark.parametrize('name', ['REQUIREMENTS', 'TEST_REQUIREMENTS'])
def test_changed_requirements_are_noticed(complete, name):
    getattr(environment, name).write_text('numpy==2.5.0\n')
    assert not environment.is_complete()


@pytest.mark.parametrize('name', ['MMCV', 'OPENMIM'])
def test_changed_version_in_the_set_up_is_noticed(complete, monkeypatch, name):
    monkeypatch.setattr(environment, name, 'other==1.0')
    assert not environment.is_complete()


@pytest.mark.parametrize('name', ['PYTHON', 'STAMP'])
def test_missing_part_is_noticed(complete, name):
    getattr(environment, name).unlink()
    assert not environment.is_complete()


def test_half_written_stamp_is_not_believed(complete):
    environment.STAMP.write_text(environment.fingerprint()[:20])
    assert not environment.is_complete()


@pytest.mark.parametrize('torch', ['2.13.0', '2.13.0+cu130'])
def test_other_build_of_torch_is_noticed(complete, monkeypatch, torch):
    found = {'problems': [], 'torch': torch}
    monkeypatch.setattr(environment, 'compare_with_requirements', lambda: found)
    assert not environment.is_complete()


def test_package_changed_behind_our_back_is_noticed(complete, monkeypatch):
    found = {'problems': ['numpy==2.4.6 (1.26.4 is installed)'], 'torch': '2.13.0+cpu'}
    monkeypatch.setattr(environment, 'compare_with_requirements', lambda: found)
    assert not environment.is_complete()


def test_wrong_version_at_the_end_fails_without_a_stamp(complete, monkeypatch):
    environment.STAMP.unlink()
    problem = 'setuptools==80.8.0 (84.2.1 is installed)'
    monkeypatch.setattr(
        environment, 'compare_with_requirements', lambda: {'problems': [problem], 'torch': ''}
    )
    with pytest.raises(SetupError, match=re.escape(problem)):
        environment.check_result()
    assert not environment.STAMP.exists()


@pytest.mark.parametrize(
    'error, status, sentence',
    [
        (SetupError('no compiler.'), 1, 'make setup: no compiler.\n'),
        (PermissionError(13, 'Permission denied', 'x'), 1, 'make setup: Permission denied (x).\n'),
        (KeyboardInterrupt(), 130, 'make setup: interrupted; run it again'),
    ],
)
def test_every_failure_is_one_sentence(monkeypatch, capsys, error, status, sentence):
    def fail():
        raise error

    monkeypatch.setattr(environment, 'set_up', fail)
    monkeypatch.setattr(environment.signal, 'signal', lambda *arguments: None)
    assert environment.main() == status
    assert capsys.readouterr().err.startswith(sentence)


def test_by_hand_and_by_make_install_the_same_versions():
    text = environment.REQUIREMENTS.read_text()
    assert f'--no-deps {environment.OPENMIM}\n' in text
    assert f' {environment.MMCV}\n' in text


def test_met_and_unmet_requirements(monkeypatch):
    versions = {'numpy': '2.4.6', 'torch': '2.13.0+cpu', 'opencv-python-headless': '5.0.0.93'}

    def version(name):
        if name not in versions:
            raise installed.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(installed, 'version', version)
    lines = ['# a comment', '', 'torch==2.13.0  # the newest', 'opencv-python==5.0.0.93']
    assert installed.unmet_requirements(lines) == []
    assert installed.unmet_requirements(['numpy==1.0; python_version < "3"']) == []
    assert installed.unmet_requirements(['numpy==2.5.0', 'torch==2.13.0+cu130', 'scipy']) == [
        'numpy==2.5.0 (2.4.6 is installed)',
        'torch==2.13.0+cu130 (2.13.0+cpu is installed)',
        'scipy (not installed)',
    ]


def test_mmcv_of_this_torch_is_not_installed_again(monkeypatch, tmp_path):
    monkeypatch.setattr(mmcv_wheel, 'INSTALLED_KEY', tmp_path / 'key')
    monkeypatch.setattr(mmcv_wheel, 'find_target', lambda variables: mmcv_wheel.Target('2.13.0'))
    monkeypatch.setattr(mmcv_wheel, 'operators_problem', lambda target: '')
    monkeypatch.setattr(mmcv_wheel, 'install_cached', lambda *arguments: pytest.fail('installed'))
    key = mmcv_wheel.cache_key(mmcv_wheel.Target('2.13.0'), mmcv_wheel.os.environ)
    mmcv_wheel.INSTALLED_KEY.write_text(key)
    mmcv_wheel.set_up_mmcv()
