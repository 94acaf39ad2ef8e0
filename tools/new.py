"""Read a folder of images with annotations, and write a config to train on it.

    python tools/new.py my_data/ --model faster-rcnn_detnet59-slim

is ``mmdet-detnet new``, for ``mim run mmdet_detnet new``; ``--help`` lists the options.
"""

import sys

from mmdet_detnet.cli import main

if __name__ == '__main__':
    sys.exit(main(['new', *sys.argv[1:]]))
