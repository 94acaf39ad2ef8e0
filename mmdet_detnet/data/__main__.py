"""``python -m mmdet_detnet.data``: the console script ``mmdet-detnet``."""

import sys

from .command import main

if __name__ == '__main__':
    sys.exit(main())
