"""Convert published weights of other implementations to the names of mmdet and this package.

The kind of file is recognised by its keys, or named by --source:
    detnet_pytorch     detnet59.pth of guoruoqian/DetNet_pytorch, ImageNet weights of DetNet-59
    torchvision, timm, mmpretrain
                       ResNets for the backbones ResNet, IPGNet and DetNet
    mmdet_double_head  MMDetection's Double-Head R-CNN, checked and freed of the training's state
    doubleheadsrcnn    the RoI head of the Double-Head authors' models

Usage:
    python tools/convert_weights.py detnet59.pth checkpoints/detnet59_imagenet.pth
    python tools/convert_weights.py resnet50c.pth --dry-run --list
"""

import argparse
import pickle
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import torch

from mmdet_detnet.weights import SOURCES, convert_weights


def convert_file(
    source: Path, target: Path | None, kind: str | None = None, list_tensors: bool = False
) -> str:
    """Convert one file.

    Args:
        source: The published file; loaded ``weights_only``.
        target: Where to write the converted state dict, or None to write nothing.
        kind: What kind of file it is, one of ``SOURCES``; recognised by its keys if None.
        list_tensors: Whether to report every tensor, with both names and shapes.

    Returns:
        What happened to the tensors, as text.

    Raises:
        ValueError: If ``source`` is no file of a known kind.
        FileExistsError: If ``target`` exists.
    """
    if target is not None and target.exists():
        raise FileExistsError(f'{target} exists already; it is not overwritten.')
    conversion = convert_weights(_load(source), kind)
    if target is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
        meta = {'source': conversion.report.source}
        torch.save({'meta': meta, 'state_dict': conversion.weights}, target)
    lines = conversion.lines if list_tensors else []
    return '\n'.join([*lines, str(conversion.report), f'  to be used with {conversion.usage}'])


def _load(source: Path) -> Mapping:
    if not source.is_file():
        raise ValueError(f'{source} is not a file.')
    try:
        content = torch.load(source, map_location='cpu', weights_only=True)
    except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
        refused = re.search(r'GLOBAL (\S+)', str(error))
        reason = refused[1] if refused else str(error).splitlines()[0]
        raise ValueError(
            f'{source} holds more than tensors, or is no torch file: {reason}.'
        ) from error
    if not isinstance(content, Mapping) or not all(isinstance(key, str) for key in content):
        raise ValueError(f'{source} holds a {type(content).__name__}, not a state dict.')
    return content


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('source', type=Path, help='the published file')
    parser.add_argument('target', type=Path, nargs='?', help='where to write the converted file')
    parser.add_argument(
        '--source', dest='kind', choices=SOURCES, help='kind of file; default: recognised'
    )
    parser.add_argument('--dry-run', action='store_true', help='report only, write nothing')
    parser.add_argument('--list', action='store_true', help='report every tensor with its shape')
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
