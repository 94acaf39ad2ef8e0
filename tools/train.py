"""Train a detector, with all options of MMDetection's script.

Usage:
    python tools/train.py CONFIG [--work-dir DIR] [--resume] [--amp] [--auto-scale-lr]
        [--cfg-options ...] [--skip-data-check]

The config is checked first: problems are printed, one per line, with exit status 2. So is a key of
--cfg-options without effect. Then the annotation files and image headers are checked
(docs/own_data.md), unless --skip-data-check is given.
"""

from mmdet_detnet.data.check import report_training_data
from mmdet_detnet.training.launch import train

if __name__ == '__main__':
    train(check_data=report_training_data)
