"""Write a trained detector as an ONNX file, from image to boxes: docs/export.md.

python tools/deployment/export_onnx.py CONFIG CHECKPOINT detector.onnx
"""

import os

from mmdet_detnet.checkpoints import force_weights_only
from mmdet_detnet.command_line import make_parser
from mmdet_detnet.deployment import export_onnx
from mmdet_detnet.evaluation.loading import load_detector
from mmdet_detnet.evaluation.score_threshold import read_score_thr


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
        chosen = read_score_thr(args.checkpoint)
        best_score_thr = None if chosen is None else chosen.to_dict()
        export_onnx(detector, args.file, not args.normalized_input, best_score_thr)
    except (ImportError, OSError, ValueError) as error:
        parser.exit(2, f'{error}\n')
    print(f'{args.file}: {os.path.getsize(args.file) / 1e6:.1f} MB')


if __name__ == '__main__':
    main()
