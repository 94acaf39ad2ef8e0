"""Train a detector with mmdet's own script, which has all the options.

Usage:
    python tools/train.py CONFIG [--work-dir DIR] [--resume] [--amp] [--cfg-options ...]
"""

from mmdet_detnet.launch import run_mmdet_script

if __name__ == '__main__':
    run_mmdet_script('train.py')
