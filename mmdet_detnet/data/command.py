"""The command line of ``mmdet-detnet``."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from pkgutil import resolve_name

from .options import FORMATS, Options
from .templates import TEMPLATES

# Imported only when needed: torch and mmdet take seconds, too long for --help or a wrong option.
SUBCOMMANDS = 'mmdet_detnet.data.subcommands:SUBCOMMANDS'
SUMMARY = """\
From a folder of images with annotations to a trained detector:

    mmdet-detnet new my_data/ --model faster-rcnn_detnet59-slim
    mmdet-detnet train my_data-detector/faster-rcnn_detnet59-slim.py

The first one prints the second, and the lines for all that follows.
"""
SHOW_OPTIONS = {
    '--quiet': ('warnings', 'show warnings only'),
    '--verbose': ('everything', 'show all that is logged'),
}


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = argparse.ArgumentParser(
        'mmdet-detnet',
        description=SUMMARY,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest='command', required=True)
    for name, (add_options, text) in PARSERS.items():
        add_options(commands.add_parser(name, help=text))
    return parser


def _add_new(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('folder', type=Path, help='folder with images and annotations, in any arrangement')
    add('--model', default=Options.model, choices=TEMPLATES, help='default: %(default)s')
    add('--out', type=Path, help='folder to write to; default: NAME-detector')
    add('--images', type=Path, help='folder of the images, if there are several')
    add('--annotations', type=Path, help='folder or file of the annotations, if there are several')
    add('--format', dest='format_name', choices=FORMATS, help='if there are several')
    add('--zero-based', action='store_true', help='VOC corners are positions from 0')
    add('--group-by', help='regular expression: images with the same match stay in one split')
    add('--seed', type=int, default=0, help='seed of random splits')
    add('--resplit', action='store_true', help='split the images again')
    add('--fix', action='store_true', help='repair images and boxes in copies')
    add('--start-from', type=Path, metavar='CHECKPOINT', help='weights to start from')
    add('--epochs', dest='max_epochs', type=int, help='number of epochs')
    add('--overwrite', action='store_true', help='replace a config of this name')


def _add_training(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', type=Path, help='config that `new` has written')
    parser.add_argument('--work-dir', type=Path, help="training folder; default: the config's")


def _add_train(parser: argparse.ArgumentParser) -> None:
    _add_training(parser)
    parser.add_argument('--from-start', action='store_true', help='do not resume a training run')
    group = parser.add_mutually_exclusive_group()
    for option, (show, text) in SHOW_OPTIONS.items():
        group.add_argument(option, dest='show', action='store_const', const=show, help=text)
    parser.set_defaults(show='progress')


def _add_test(parser: argparse.ArgumentParser) -> None:
    _add_training(parser)
    parser.add_argument('--checkpoint', type=Path, help='default: the best of the training')


def _add_look(parser: argparse.ArgumentParser) -> None:
    _add_test(parser)
    parser.add_argument('--out-dir', type=Path, help='default: a folder in the training folder')
    parser.add_argument('--score-thr', type=float, default=0.3, help='minimum score to report')


def _add_predict(parser: argparse.ArgumentParser) -> None:
    _add_look(parser)
    parser.add_argument('images', nargs='+', help='image files, folders or (quoted) globs')


PARSERS = {
    'new': (_add_new, 'look at a data set, and write a config for it'),
    'train': (_add_train, "train; takes all options of MMDetection's train.py"),
    'test': (_add_test, "evaluate; takes all options of MMDetection's test.py"),
    'look': (_add_look, 'show results on the test images on one page'),
    'predict': (_add_predict, 'detect in images: pictures and a JSON file'),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: The command line; None for that of the process.

    Returns:
        The exit status.
    """
    args, rest = make_parser().parse_known_args(arguments)
    if rest and args.command not in ('train', 'test'):
        make_parser().error(f'unrecognized arguments: {" ".join(rest)}')
    os.environ.setdefault('OMP_WAIT_POLICY', 'passive')  # OpenMP reads it when torch is imported
    subcommands = resolve_name(SUBCOMMANDS)
    try:
        return subcommands[args.command](args, rest)
    except (FileExistsError, FileNotFoundError, ValueError) as error:
        print(f'mmdet-detnet {args.command}: {error}', file=sys.stderr)
        return 2
