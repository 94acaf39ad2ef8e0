"""The console script ``mmdet-detnet``, which is also ``python -m mmdet_detnet.own_data``."""

import os
import sys

os.environ.setdefault('OMP_WAIT_POLICY', 'passive')  # read by OpenMP when torch is imported

from .command import main  # noqa: E402

if __name__ == '__main__':
    sys.exit(main())
