"""Detect objects in images, videos and folders: ``mmdet-detnet predict``, for mim.

    mim run mmdet_detnet image_demo CONFIG 'photos/*.jpg' --checkpoint CHECKPOINT

``--help`` lists the options.
"""

import sys

from mmdet_detnet.cli import main

if __name__ == '__main__':
    sys.exit(main(['predict', *sys.argv[1:]]))
