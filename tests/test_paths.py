"""Finding configs and mmdet's scripts."""

import sys
from pathlib import Path

import pytest

from mmdet_detnet import config_path
from mmdet_detnet.files import check_files
from mmdet_detnet.training.launch import run_mmdet_script


def test_config_is_found_by_its_name():
    path = Path(config_path('detnet/faster-rcnn_detnet59_fpn_1x_coco.py'))
    assert path.is_absolute()
    assert path.is_file()


def test_missing_config_is_named():
    with pytest.raises(FileNotFoundError, match="no config 'detnet/nothing.py'"):
        config_path('detnet/nothing.py')


def test_urls_are_not_looked_for_on_disk():
    check_files('https://example.org/detector.pth')


@pytest.mark.parametrize(('script', 'title'), [('train.py', 'Train'), ('test.py', 'MMDet test')])
def test_mmdet_script_runs_with_its_own_options(script, title, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', [script, '--help'])
    with pytest.raises(SystemExit, match='0'):
        run_mmdet_script(script)
    assert title in capsys.readouterr().out


def test_missing_script_is_named():
    with pytest.raises(FileNotFoundError, match='no script nothing.py'):
        run_mmdet_script('nothing.py')
