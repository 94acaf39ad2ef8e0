"""The entry that the package makes in mmengine's table of config packages at import."""

import mmengine.config.utils


def register_config_package() -> None:
    """Let ``_base_ = 'mmdet_detnet::folder/file.py'`` resolve in other projects' configs.

    mmengine 0.10.7 accepts ``package::`` only for the packages in this table. It reads
    the table when it reads a config, so the entry must be there before: a launching
    script has to import ``mmdet_detnet`` first, as ours do.
    """
    mmengine.config.utils.MODULE2PACKAGE.setdefault('mmdet_detnet', 'mmdet_detnet')
