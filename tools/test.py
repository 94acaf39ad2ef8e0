"""Test a detector, with all options of MMDetection's script.

Usage:
    python tools/test.py CONFIG CHECKPOINT [--out FILE.pkl] [--show-dir DIR] [--cfg-options ...]
        [--allow-mismatch]

A checkpoint of another detector, for example with another depth or number of classes, is rejected
unless --allow-mismatch is given.
"""

from mmdet_detnet.training.launch import test

if __name__ == '__main__':
    test()
