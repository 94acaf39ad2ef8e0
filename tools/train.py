"""Train a detector with mmdet's own script and all its options.

Usage:
    python tools/train.py CONFIG [--work-dir DIR] [--resume] [--amp] [--cfg-options ...]
        [--skip-data-check]

The config is checked first: faults are printed, one per line, with exit status 2. A key of
--cfg-options without effect is a fault; data_root, class_names and max_epochs of a template act as
if the line in the file had been changed. Then the annotation files and image headers are checked
(docs/own_data.md), unless --skip-data-check is given.
"""

import os

os.environ.setdefault('OMP_WAIT_POLICY', 'passive')  # OpenMP reads it when torch is imported

from mmdet_detnet.training.launch import run_mmdet_script

if __name__ == '__main__':
    run_mmdet_script('train.py')
