"""Evaluate an ONNX file on the test images of its config, and beside PyTorch: docs/export.md.

python tools/deployment/test_onnx.py CONFIG detector.onnx
python tools/deployment/test_onnx.py CONFIG detector.onnx CHECKPOINT
"""

import argparse
import os

os.environ.setdefault('OMP_WAIT_POLICY', 'passive')  # OpenMP reads it when torch is imported

from mmdet_detnet.checkpoints import force_weights_only
from mmdet_detnet.export.evaluation import evaluate_onnx


def main() -> None:
    """Evaluate the file that the command line names."""
    force_weights_only()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file of the detector')
    parser.add_argument('file', help='ONNX file of tools/deployment/export_onnx.py')
    parser.add_argument('checkpoint', nargs='?', help='what it was made from, to run beside it')
    parser.add_argument('--num-threads', type=int, help='threads of each; as many as torch takes')
    args = parser.parse_args()
    try:
        print(evaluate_onnx(**vars(args)))
    except (FileNotFoundError, ImportError, ValueError) as error:
        parser.exit(2, f'{error}\n')


if __name__ == '__main__':
    main()
