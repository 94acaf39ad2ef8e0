"""Evaluate an ONNX file on the test images of its config, alone or next to PyTorch: docs/export.md.

python tools/deployment/test_onnx.py CONFIG detector.onnx
python tools/deployment/test_onnx.py CONFIG detector.onnx CHECKPOINT
"""

from mmdet_detnet.checkpoints import force_weights_only
from mmdet_detnet.command_line import at_least, make_parser
from mmdet_detnet.evaluation.onnx_evaluation import evaluate_onnx


def main() -> None:
    """Run the command line."""
    force_weights_only()
    parser = make_parser(__doc__, 'config')
    parser.add_argument('file', help='ONNX file of tools/deployment/export_onnx.py')
    parser.add_argument('checkpoint', nargs='?', help='its checkpoint, to run it in PyTorch too')
    parser.add_argument('--num-threads', type=at_least(1), help='of each; default: as in torch')
    args = parser.parse_args()
    try:
        print(evaluate_onnx(**vars(args)))
    except (ImportError, OSError, ValueError) as error:
        parser.exit(2, f'{error}\n')


if __name__ == '__main__':
    main()
