"""How good a detector is: its report, what it finds, and detectors compared."""

from mmdet_detnet import checkpoints  # noqa: F401  (every detector's file is read as data only)
