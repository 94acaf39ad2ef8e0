"""``python -m mmdet_detnet.own_data``, which the console script ``mmdet-detnet`` runs."""

import sys

from .command import main

if __name__ == '__main__':
    sys.exit(main())
