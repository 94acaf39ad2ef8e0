"""Convert third-party weights to the names of mmdet and this package.

The kind of file is detected from its keys, or set by --source:
    detnet_pytorch     detnet59.pth of guoruoqian/DetNet_pytorch, ImageNet weights of DetNet-59
    detnet_pytorch_detector  a detector of that repository: its backbone
    timm               ResNets with a deep stem, for the backbones ResNet, IPGNet and DetNet
    mmpretrain         ResNet and ResNetV1c, for the same
    doubleheadsrcnn    whole detectors of the Double-Head authors

Usage:
    python tools/convert_weights.py detnet59.pth checkpoints/detnet59_imagenet.pth
    python tools/convert_weights.py resnet50c.pth --dry-run --list
"""

import sys
from pathlib import Path

from mmdet_detnet.checkpoints import force_weights_only
from mmdet_detnet.command_line import make_parser
from mmdet_detnet.weights import SOURCES, convert_file


def main() -> None:
    """Run the command line."""
    force_weights_only()
    parser = make_parser(__doc__)
    parser.add_argument('source', type=Path, help='the published file')
    parser.add_argument('target', type=Path, nargs='?', help='where to write the converted file')
    parser.add_argument(
        '--source', dest='kind', choices=SOURCES, help='kind of file; default: detected'
    )
    parser.add_argument('--dry-run', action='store_true', help='report only, write nothing')
    parser.add_argument('--list', action='store_true', help='report each tensor with its shape')
    args = parser.parse_args()
    if args.target is None and not args.dry_run:
        parser.error('give a target, or --dry-run')
    target = None if args.dry_run else args.target
    try:
        print(convert_file(args.source, target, args.kind, args.list))
    except (ValueError, OSError) as error:
        sys.exit(f'convert_weights: {error}')
    print('nothing written' if target is None else f'written to {target}')


if __name__ == '__main__':
    main()
