"""Functions that look at data, detectors and trainings; the scripts in tools/ call them."""

from mmdet_detnet import checkpoints  # noqa: F401  (every detector's file is read as data only)
