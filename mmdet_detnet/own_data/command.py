"""The command line of ``mmdet-detnet``."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from mmdet_detnet.analysis.image_demo import detect_images, find_images
from mmdet_detnet.checkpoints import force_weights_only

from .formats import FORMATS
from .looking import look
from .project import Options, create_project
from .templates import TEMPLATES
from .training import find_checkpoint, find_work_dir, next_lines, test, train

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
    try:
        return COMMANDS[args.command](args, rest)
    except (FileExistsError, FileNotFoundError, ValueError) as error:
        print(f'mmdet-detnet {args.command}: {error}', file=sys.stderr)
        return 2


def _new(args: argparse.Namespace, rest: Sequence[str]) -> int:
    options = {key: value for key, value in vars(args).items() if key != 'command'}
    config = create_project(Options(**options))
    if config is None:
        hint = '' if args.fix else ' Fix them, or let --fix repair copies.'
        print(f'\nNo config was written, because of the problems above.{hint}')
        return 1
    print(f'\nNext:\n{next_lines(Path(os.path.relpath(config)))}')
    return 0


def _train(args: argparse.Namespace, rest: Sequence[str]) -> int:
    checkpoint = train(args.config, rest, args.work_dir, args.from_start, args.show)
    lines = next_lines(args.config, args.work_dir, is_trained=True)
    print(f'{checkpoint}\n\nNext:\n{lines}')
    return 0


def _test(args: argparse.Namespace, rest: Sequence[str]) -> int:
    test(args.config, args.checkpoint, rest, args.work_dir)
    return 0


def _look(args: argparse.Namespace, rest: Sequence[str]) -> int:
    work_dir, checkpoint = _find_training(args)
    out_dir = args.out_dir or work_dir / 'look'
    print(f'open in a browser: {look(args.config, checkpoint, work_dir, out_dir, args.score_thr)}')
    return 0


def _predict(args: argparse.Namespace, rest: Sequence[str]) -> int:
    work_dir, checkpoint = _find_training(args)
    out_dir = args.out_dir or work_dir / 'predictions'
    images = [image for pattern in args.images for image in find_images(pattern)]
    failed = detect_images(args.config, checkpoint, images, out_dir, args.score_thr)
    print(f'{len(images) - len(failed)} images detected, {len(failed)} failed: {out_dir}')
    return 1 if failed else 0


def _find_training(args: argparse.Namespace) -> tuple[Path, Path]:
    """Find the training folder and the checkpoint, which is then loaded as data only."""
    force_weights_only()
    work_dir = args.work_dir or find_work_dir(args.config)
    return work_dir, args.checkpoint or find_checkpoint(work_dir)


COMMANDS = {'new': _new, 'train': _train, 'test': _test, 'look': _look, 'predict': _predict}
