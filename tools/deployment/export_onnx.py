"""Write a trained detector as an ONNX file, from image to boxes: docs/export.md.

python tools/deployment/export_onnx.py CONFIG CHECKPOINT detector.onnx
"""

import os

from mmdet_detnet.checkpoints import force_weights_only, read_checkpoint
from mmdet_detnet.cli import make_parser
from mmdet_detnet.deployment import export_onnx
from mmdet_detnet.evaluation.loading import load_detector


def main() -> None:
    """Run the command line."""
    force_weights_only()
    parser = make_parser(__doc__, 'config', 'checkpoint')
    parser.add_argument('file', help='ONNX file to write')
    parser.add_argument(
        '--normalized-input',
        action='store_true',
        help='take float32 images, normalized as in the config, instead of RGB as uint8',
    )
    args = parser.parse_args()
    try:
        detector = load_detector(args.config, args.checkpoint, device='cpu')
        meta = read_checkpoint(args.checkpoint, 'cpu').get('meta') or {}
        export_onnx(detector, args.file, not args.normalized_input, meta.get('score_thr'))
    except (FileNotFoundError, ImportError, ValueError) as error:
        parser.exit(2, f'{error}\n')
    print(f'{args.file}: {os.path.getsize(args.file) / 1e6:.1f} MB')


if __name__ == '__main__':
    main()
