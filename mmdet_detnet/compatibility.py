"""The package's entry in mmengine's table of config packages."""

import mmengine.config.utils


def register_config_package() -> None:
    """Allow ``_base_ = 'mmdet_detnet::folder/file.py'`` in configs of other projects.

    mmengine 0.10.7 accepts ``package::`` only for packages in this table, which it reads together
    with a config. A launch script must therefore import ``mmdet_detnet`` first, as ours do.
    """
    mmengine.config.utils.MODULE2PACKAGE.setdefault('mmdet_detnet', 'mmdet_detnet')
