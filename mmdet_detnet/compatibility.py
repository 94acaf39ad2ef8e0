"""The two entries that the package makes in its host libraries at import."""

import mmengine.config.utils
import numpy
import torch
from mmengine.logging.history_buffer import HistoryBuffer


def register_config_package() -> None:
    """Let ``_base_ = 'mmdet_detnet::folder/file.py'`` resolve in other projects' configs.

    mmengine 0.10.7 accepts ``package::`` only for the packages in this table. It reads
    the table when it reads a config, so the entry must be there before: a launching
    script has to import ``mmdet_detnet`` first, as ours do.
    """
    mmengine.config.utils.MODULE2PACKAGE.setdefault('mmdet_detnet', 'mmdet_detnet')


def trust_checkpoint_classes() -> None:
    """Allow what mmengine's Runner writes into checkpoints to be loaded ``weights_only``.

    mmengine 0.10.7 calls ``torch.load`` without arguments. From torch 2.6 that accepts
    tensors and allow-listed classes only, so resuming any training would fail on the
    message hub's ``HistoryBuffer`` and its numpy arrays. Naming these harmless classes keeps
    loading safe, which switching ``weights_only`` off would not. Older versions of torch
    need no entry.
    """
    if not hasattr(torch.serialization, 'add_safe_globals'):
        return
    # numpy 2 renamed `numpy.core`; a checkpoint names the module of the numpy that wrote it.
    core = getattr(numpy, '_core', None) or numpy.core
    torch.serialization.add_safe_globals(
        [
            HistoryBuffer,
            core.multiarray._reconstruct,
            core.multiarray.scalar,
            numpy.ndarray,
            numpy.dtype,
            type(numpy.dtype('float64')),
            type(numpy.dtype('int64')),
            # HistoryBuffer pickles its statistics as methods, that is as getattr(class, name).
            getattr,
        ]
    )
