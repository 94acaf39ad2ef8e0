"""Options that the two benchmark scripts share."""

import argparse
import sys
from pathlib import Path

import torch

from mmdet_detnet.analysis.benchmark import Rounds, Settings, Workload


def make_parser(description: str, rounds: int, warm_up: int) -> argparse.ArgumentParser:
    """Make a parser of the options on device, workload, rounds and output."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    for name, text in (
        ('height', 'in pixels'),
        ('width', 'in pixels'),
        ('batch', 'number of images'),
        ('candidates', 'one-stage: scores above score_thr in an image'),
        ('survivors', 'two-stage: proposals of an image with a score above score_thr'),
    ):
        default = getattr(Workload(), name)
        parser.add_argument(f'--{name}', type=_positive, default=default, help=text)
    parser.add_argument('--rounds', type=_positive, default=rounds, help='how often each is timed')
    parser.add_argument('--warm-up', type=int, default=warm_up, help='how often each runs before')
    parser.add_argument('--no-training', action='store_true', help='measure inference only')
    parser.add_argument('--out-dir', type=Path, default=Path('work_dirs/benchmark'))
    return parser


def read_workload(args: argparse.Namespace) -> Workload:
    """Read the workload of the command line."""
    return Workload(args.height, args.width, args.batch, args.candidates, args.survivors)


def read_rounds(args: argparse.Namespace, settings: Settings = Settings()) -> Rounds:  # noqa: B008
    """Read the rounds; refuse a missing GPU, and leave out what a CPU cannot do."""
    device = torch.device(args.device)
    if device.type == 'cuda' and not torch.cuda.is_available():
        sys.exit(f'--device {args.device}: torch sees no CUDA device here.')
    training = not args.no_training
    if training and settings.precision != 'fp32' and device.type == 'cpu':
        print("Inference only: mmcv's NMS on the CPU, part of training, knows float32 alone.")
        training = False
    return Rounds(args.rounds, args.warm_up, training)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f'must be at least 1, got {text}')
    return value
