"""Check a data set in COCO format before training on it.

    python tools/check_dataset.py data/mine/annotations/train.json data/mine/images --config CONFIG

Decodes every image, finds what stops mmdet and what it silently drops or mixes up, counts the
retained boxes and compares their sizes with the anchors. Prints a report and writes it as JSON,
with a plot of the distributions.

The exit status is 0 if nothing would break or silently change training (there may be warnings), 1
otherwise, and 2 for a wrong command line.
"""

import argparse
import sys
from pathlib import Path

from mmdet_detnet.cli import at_least, make_parser
from mmdet_detnet.data.check import check_dataset
from mmdet_detnet.data.output import write_report


def parse_args() -> argparse.Namespace:
    """Read the command line; paths to read exist."""
    parser = make_parser(__doc__)
    parser.add_argument('annotation_file', type=Path, help='JSON file in COCO format')
    parser.add_argument('images', type=Path, help='folder that file names are relative to')
    expected = parser.add_mutually_exclusive_group()
    expected.add_argument('--config', type=Path, help='config with classes, image scale, anchors')
    expected.add_argument('--classes', nargs='+', help='names of the classes, in order')
    parser.add_argument('--allow-subset', action='store_true', help='allow other categories')
    parser.add_argument('--out-dir', default='work_dirs/check_dataset', help='report folder')
    parser.add_argument('--num-workers', type=at_least(1), default=2, help='images at a time')
    args = parser.parse_args()
    for path in (args.annotation_file, args.config):
        if path is not None and not path.is_file():
            parser.error(f'no such file: {path}')
    if not args.images.is_dir():
        parser.error(f'no such folder: {args.images}')
    return args


def main() -> int:
    """Run the checks; return the exit status."""
    options = vars(parse_args())
    out_dir = options.pop('out_dir')
    try:
        report = check_dataset(**options)
    except (FileNotFoundError, ValueError) as error:
        print(f'check_dataset: {error}', file=sys.stderr)
        return 1
    print(report)
    print('written to {} and {}'.format(*write_report(report, out_dir)))
    return 1 if report.problems else 0


if __name__ == '__main__':
    sys.exit(main())
