"""Convert published weights of other implementations to this package's names.

Known so far: ``detnet59.pth`` of guoruoqian/DetNet_pytorch, ImageNet weights of DetNet-59.

Usage:
    python tools/convert_weights.py detnet59.pth checkpoints/detnet59_imagenet.pth
"""

import argparse
import pickle
import sys
from pathlib import Path

import torch

from mmdet_detnet.models import DetNet
from mmdet_detnet.weights import convert_detnet_pytorch


def convert_file(source: Path, target: Path | None) -> str:
    """Convert one file.

    Args:
        source: The published file; loaded ``weights_only``.
        target: Where to write the converted state dict, or None to write nothing.

    Returns:
        What happened to every tensor, as text.

    Raises:
        ValueError: If ``source`` is no file of a known kind.
        FileExistsError: If ``target`` exists.
    """
    if target is not None and target.exists():
        raise FileExistsError(f'{target} exists already; it is not overwritten.')
    own_shapes = {key: value.shape for key, value in DetNet(depth=59).state_dict().items()}
    converted, report = convert_detnet_pytorch(_load_tensors(source), own_shapes)
    if target is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
        torch.save({'meta': {'source': report.source}, 'state_dict': converted}, target)
    return str(report)


def _load_tensors(source: Path) -> dict[str, torch.Tensor]:
    if not source.is_file():
        raise ValueError(f'{source} is not a file.')
    try:
        state = torch.load(source, map_location='cpu', weights_only=True)
    except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
        raise ValueError(
            f'{source} holds more than tensors, or is no torch file: {str(error).splitlines()[0]}'
        ) from error
    if not isinstance(state, dict):
        raise ValueError(f'{source} holds a {type(state).__name__}, not a state dict.')
    return state


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('source', type=Path, help='the published file')
    parser.add_argument('target', type=Path, help='where to write the converted file')
    parser.add_argument('--dry-run', action='store_true', help='report only, write nothing')
    args = parser.parse_args()
    try:
        print(convert_file(args.source, None if args.dry_run else args.target))
    except (ValueError, FileExistsError) as error:
        sys.exit(f'convert_weights: {error}')
    print('nothing written' if args.dry_run else f'written to {args.target}')


if __name__ == '__main__':
    main()
