"""What the import says about missing and unsupported dependencies."""

import warnings

import numpy
import pytest

from mmdet_detnet import environment, host
from mmdet_detnet.environment import describe_environment
from mmdet_detnet.host import describe_operators


def pretend_version(monkeypatch, name, installed):
    """Make one distribution report another version than it has."""
    original = host.version
    monkeypatch.setattr(
        host, 'version', lambda asked: installed if asked == name else original(asked)
    )


def test_missing_dependency_is_named(monkeypatch):
    original = host.find_spec
    monkeypatch.setattr(host, 'find_spec', lambda name: None if name == 'mmcv' else original(name))
    with pytest.raises(ImportError, match=r'needs mmcv >= 2\.1\.0, which is not installed'):
        host.check_dependencies()


def test_too_old_dependency_is_refused(monkeypatch):
    pretend_version(monkeypatch, 'mmdet', '2.28.2')
    with pytest.raises(ImportError, match=r'needs mmdet >= 3\.3\.0, but 2\.28\.2 is installed'):
        host.check_dependencies()


@pytest.mark.parametrize(
    ('installed', 'is_newer'),
    [('2.14.0', True), ('2.13.1+cu130', True), ('2.13.0+cpu', False), ('2.12.0rc1', False)],
)
def test_newer_than_tested_dependency_is_a_warning(monkeypatch, installed, is_newer):
    pretend_version(monkeypatch, 'torch', installed)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        host.check_dependencies()
    words = f'up to 2.13.0, but {installed} is installed'
    assert [words in str(warning.message) for warning in caught] == [True] * is_newer


@pytest.mark.parametrize(
    ('versions', 'message'),
    [
        ({'torch': '2.1.2', 'numpy': '2.4.6'}, r"2\.1\.2 was built for numpy 1.*'numpy<2'"),
        ({'mmdet': '3.3.0', 'mmcv': '2.2.0'}, r'mmdet 3\.3\.0 refuses mmcv 2\.2'),
    ],
)
@pytest.mark.filterwarnings('ignore:mmdet_detnet was tested')
def test_versions_that_cannot_work_together_are_refused(monkeypatch, versions, message):
    for name, installed in versions.items():
        pretend_version(monkeypatch, name, installed)
    with pytest.raises(ImportError, match=message):
        host.check_dependencies()


def test_fork_without_a_distribution_of_that_name_is_accepted(monkeypatch):
    def no_distribution(name):
        raise host.PackageNotFoundError(name)

    monkeypatch.setattr(host, 'version', no_distribution)
    assert host.check_dependencies() is None


def test_report_names_versions_and_operators():
    rows = dict(line.split(maxsplit=1) for line in describe_environment().splitlines())
    assert rows['numpy'] == numpy.__version__
    assert rows['operators'] == describe_operators()


@pytest.mark.parametrize(
    ('is_checkout', 'has_git', 'expected'),
    [(True, True, '1a2b3c4-dirty'), (False, True, ''), (True, False, '')],
)
def test_commit_of_a_checkout_is_what_git_says(
    is_checkout, has_git, expected, tmp_path, monkeypatch
):
    monkeypatch.setattr(environment, '__file__', str(tmp_path / 'package/environment.py'))
    monkeypatch.setenv('PATH', str(tmp_path))
    if is_checkout:
        (tmp_path / '.git').mkdir()
    if has_git:
        (tmp_path / 'git').write_text(f'#!/bin/sh\n[ "$2" = {tmp_path} ] && echo 1a2b3c4-dirty\n')
        (tmp_path / 'git').chmod(0o755)
    assert environment.find_commit() == expected
