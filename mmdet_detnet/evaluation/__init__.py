"""Functions that analyze datasets, detectors and training runs; tools/ calls them."""

from mmdet_detnet import checkpoints  # noqa: F401  (every detector's file is read as data only)
