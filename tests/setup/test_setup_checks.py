"""Sentences about what a machine lacks."""

import errno
import importlib.util
import shutil
import sysconfig

import pytest
from environment_setup import __main__, checks
from environment_setup.__main__ import python_problem


@pytest.mark.parametrize('version', [(3, 10, 0), (3, 11, 7), (3, 12, 99)])
def test_supported_python_is_accepted(version):
    assert python_problem(version, in_venv=False) == ''


@pytest.mark.parametrize('version', [(2, 7, 18), (3, 9, 18), (3, 13, 0), (4, 0, 0)])
def test_other_python_is_named_in_one_sentence(monkeypatch, version):
    monkeypatch.setattr(shutil, 'which', lambda name: None)
    problem = python_problem(version, in_venv=False)
    assert f'this is Python {version[0]}.{version[1]}:' in problem
    assert '3.10 to 3.12' in problem
    assert '\n' not in problem


def test_advice_names_a_python_that_is_there(monkeypatch):
    monkeypatch.setattr(shutil, 'which', lambda name: name if name == 'python3.12' else None)
    assert 'make setup PYTHON=python3.12' in python_problem((3, 9), in_venv=False)


def test_venv_with_another_python_has_to_be_removed():
    assert '`make clean`' in python_problem((3, 9), in_venv=True)


def test_set_up_goes_on_without_a_venv(monkeypatch, tmp_path):
    monkeypatch.setattr(__main__, 'PYTHON', tmp_path / 'python')
    assert __main__.continue_in_venv() is None


@pytest.mark.parametrize('module', ['venv', 'ensurepip'])
def test_missing_venv_module_names_the_package_to_install(monkeypatch, module):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, 'find_spec', lambda name: None if name == module else find_spec(name)
    )
    with pytest.raises(checks.SetupError, match=rf'no {module} module.*apt install python3\.\d+-'):
        checks.check_venv_module()


@pytest.fixture
def compilers(monkeypatch, tmp_path):
    """A PATH with only gcc and g++, and a folder with only Python.h."""
    monkeypatch.setenv('PATH', str(tmp_path))
    monkeypatch.setenv('CC', 'gcc -pthread')
    monkeypatch.setenv('CXX', 'g++')
    monkeypatch.setattr(sysconfig, 'get_paths', lambda: {'include': str(tmp_path)})
    for name in ('gcc', 'g++', 'Python.h'):
        (tmp_path / name).touch(mode=0o755)
    return tmp_path


def test_present_compiler_is_accepted(compilers):
    checks.check_compiler()


@pytest.mark.parametrize('name', ['gcc', 'g++'])
def test_missing_compiler_is_named(compilers, name):
    (compilers / name).unlink()
    with pytest.raises(checks.SetupError, match='compiler `{}`'.format(name.replace('+', r'\+'))):
        checks.check_compiler()


def test_missing_headers_of_python_are_named(compilers):
    (compilers / 'Python.h').unlink()
    with pytest.raises(checks.SetupError, match=r'Python\.h is missing'):
        checks.check_compiler()


def test_missing_compiler_is_noticed_without_variables(monkeypatch, tmp_path):
    monkeypatch.setenv('PATH', str(tmp_path))
    monkeypatch.delenv('CC', raising=False)
    with pytest.raises(checks.SetupError, match='apt install build-essential'):
        checks.check_compiler()


def test_too_little_disk_space_is_said_in_gib(monkeypatch, tmp_path):
    usage = shutil.disk_usage(tmp_path)._replace(free=checks.GIB * 3 // 2)
    monkeypatch.setattr(shutil, 'disk_usage', lambda folder: usage)
    with pytest.raises(checks.SetupError, match=r'only 1\.5 GiB are free .* needs about 4 GiB'):
        checks.check_disk(tmp_path / 'not' / 'yet', 4 * checks.GIB, 'the test')


def test_enough_disk_space_is_accepted(monkeypatch, tmp_path):
    usage = shutil.disk_usage(tmp_path)._replace(free=checks.GIB)
    monkeypatch.setattr(shutil, 'disk_usage', lambda folder: usage)
    checks.check_disk(tmp_path, checks.GIB, 'the test')


def test_full_disk_is_said_for_an_error_of_the_operating_system():
    error = OSError(errno.ENOSPC, 'No space left on device', 'build.log')
    assert 'disk filled up (build.log)' in checks.operating_system_sentence(error)


def test_other_error_of_the_operating_system_names_the_file():
    error = PermissionError(errno.EACCES, 'Permission denied', 'cache')
    assert checks.operating_system_sentence(error) == 'Permission denied (cache).'
