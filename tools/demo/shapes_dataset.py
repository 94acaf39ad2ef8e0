"""Draw a small detection dataset in COCO format: circles, squares and triangles on noise.

    python tools/demo/shapes_dataset.py data/shapes

is ``mmdet-detnet draw``, for ``mim run mmdet_detnet shapes_dataset``; ``--help`` lists the options.
"""

import sys

from mmdet_detnet.cli import main

if __name__ == '__main__':
    sys.exit(main(['draw', *sys.argv[1:]]))
