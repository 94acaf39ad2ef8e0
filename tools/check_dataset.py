"""Check a dataset in COCO format before training on it.

    python tools/check_dataset.py data/mine/annotations/train.json data/mine/images --config CONFIG

Finds what stops mmdet, what it silently drops or mixes up, and pictures that another split includes
as well; counts the boxes that are trained on and compares their sizes with the anchors.

The exit status is 0 if nothing would break or silently change training (there may be warnings), 1
otherwise, and 2 for a wrong command line.
"""

import argparse
import sys
from pathlib import Path

from mmdet_detnet.command_line import make_parser
from mmdet_detnet.data.check import check_dataset


def parse_args() -> argparse.Namespace:
    """Read the command line; files and folder of the data exist."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add('annotation_file', type=Path, help='JSON file in COCO format')
    add('images', type=Path, help='folder that file names are relative to')
    expected = parser.add_mutually_exclusive_group()
    expected.add_argument('--config', help='config with classes, image scale, anchors')
    expected.add_argument('--classes', nargs='+', help='names of the classes, in order')
    add('--allow-subset', action='store_true', help='allow other categories')
    add('--other-splits', nargs='+', type=Path, default=(), help='annotation files to compare with')
    text = 'decode all images, or only read their headers; default: decode at most 2,000'
    add('--decode', action=argparse.BooleanOptionalAction, help=text)
    args = parser.parse_args()
    for path in (args.annotation_file, *args.other_splits):
        if not path.is_file():
            parser.error(f'no such file: {path}')
    if not args.images.is_dir():
        parser.error(f'no such folder: {args.images}')
    return args


def main() -> int:
    """Run the checks; return the exit status."""
    try:
        check = check_dataset(**vars(parse_args()))
    except (OSError, ValueError) as error:
        print(f'check_dataset: {error}', file=sys.stderr)
        return 1
    print(check)
    return 1 if check.problems else 0


if __name__ == '__main__':
    sys.exit(main())
