"""Convert a Pascal VOC folder to a COCO annotation file, for any classes.

    python tools/dataset_converters/voc_to_coco.py data/mine data/mine/train.json --split train

reads the ``data/mine/Annotations/*.xml`` listed in ``data/mine/ImageSets/Main/train.txt``; without
``--split``, all of them. File names in the result are relative to ``data/mine/JPEGImages``, whose
images may have any suffix.
"""

import json
from pathlib import Path

from mmdet_detnet.analysis.dataset import voc_to_coco
from mmdet_detnet.command_line import make_parser


def main() -> None:
    """Run the command line."""
    parser = make_parser(__doc__)
    parser.add_argument('folder', type=Path, help='folder with Annotations and JPEGImages')
    parser.add_argument('out', type=Path, help='JSON file to write')
    parser.add_argument('--split', help='a list in ImageSets/Main; default: all annotations')
    parser.add_argument('--classes', nargs='+', help='default: all names found, sorted')
    parser.add_argument('--zero-based', action='store_true', help='corners are positions from 0')
    options = vars(parser.parse_args())
    out = options.pop('out')
    try:
        content, dropped = voc_to_coco.convert_voc(**options)
    except (FileNotFoundError, ValueError) as error:
        parser.exit(1, f'voc_to_coco: {error}\n')
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(content))
    print(voc_to_coco.summarize(content, dropped))
    print(f'written to {out}')


if __name__ == '__main__':
    main()
