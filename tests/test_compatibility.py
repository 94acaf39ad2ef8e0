"""What works after the import alone."""

from mmengine.config import Config

import mmdet_detnet


def test_modules_need_no_custom_imports(tmp_path):
    config = tmp_path / 'other_project.py'
    config.write_text("model = dict(type='mmdet_detnet.DetNet', depth=59, base_channels=8)\n")
    from mmengine.registry import MODELS

    net = MODELS.build(Config.fromfile(config).model)
    assert type(net).__name__ == 'DetNet'


def test_version_is_public():
    assert mmdet_detnet.__version__.count('.') == 2
