"""``python -m mmdet_detnet``: the command ``mmdet-detnet``."""

import sys

from .cli import main

if __name__ == '__main__':
    sys.exit(main())
