"""``python -m mmdet_detnet.own_data`` is the console script ``mmdet-detnet``."""

from .command import run

run()
