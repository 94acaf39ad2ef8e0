"""Finding configs."""

from pathlib import Path

import pytest

from mmdet_detnet import config_path
from mmdet_detnet.files import check_files


def test_config_is_found_by_its_name():
    path = Path(config_path('detnet/faster-rcnn_detnet59_fpn_1x_coco.py'))
    assert path.is_absolute()
    assert path.is_file()


def test_missing_config_is_named():
    with pytest.raises(FileNotFoundError, match="no config 'detnet/nothing.py'"):
        config_path('detnet/nothing.py')


def test_urls_are_not_looked_for_on_disk():
    check_files('https://example.org/detector.pth')
