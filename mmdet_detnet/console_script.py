"""The console script ``mmdet-detnet``, outside of ``own_data``, whose import imports torch."""

import os

os.environ.setdefault('OMP_WAIT_POLICY', 'passive')  # OpenMP reads it when torch is imported

from mmdet_detnet.own_data.command import main  # noqa: E402

__all__ = ['main']
