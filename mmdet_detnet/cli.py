"""The command ``mmdet-detnet``.

The functions of the commands import what they need themselves: torch and mmdet take seconds, too
long for ``--help`` or a wrong option.
"""

import argparse
import os
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .command_line import SHARED_ARGUMENTS, at_least
from .data.options import FORMATS, TEMPLATES, Options

if TYPE_CHECKING:
    from .evaluation.tiles import Tiles

SUMMARY = """\
From a folder of images with annotations to a trained detector:

    mmdet-detnet new my_data/ --model faster-rcnn_detnet59-slim
    mmdet-detnet train my_data-detector/faster-rcnn_detnet59-slim.py

The first prints the second, and the commands that follow.
"""
INPUTS = 'images, videos, folders, globs, a list (.txt), a camera (0) or a stream (rtsp://...)'
Arguments = argparse.Namespace


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, None for that of the process; returns the exit status."""
    parser = argparse.ArgumentParser(
        'mmdet-detnet', description=SUMMARY, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest='command', required=True)
    for name, (add_options, _, text) in COMMANDS.items():
        add_options(commands.add_parser(name, help=text, description=text))
    args, rest = parser.parse_known_args(arguments)
    if rest and args.command not in ('train', 'test'):
        parser.error(f'unrecognized arguments: {" ".join(rest)}')
    try:
        return COMMANDS[args.command][1](args, rest)
    except (OSError, ValueError) as error:
        print(f'mmdet-detnet {args.command}: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f'mmdet-detnet {args.command}: interrupted', file=sys.stderr)
        return 128 + signal.SIGINT


def _add_new(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('folder', type=Path, help='folder with images and annotations, in any arrangement')
    add('--model', default=Options.model, choices=TEMPLATES, help='default: %(default)s')
    add('--out', type=Path, help='folder to write to; default: NAME-detector')
    add('--images', type=Path, help='folder of the images, if there are several')
    add('--annotations', type=Path, help='folder or file of the annotations, if there are several')
    text = 'format of the annotations, if there are several'
    add('--format', dest='format_name', choices=FORMATS, help=text)
    add('--zero-based', action='store_true', help='coordinates of VOC start at 0, not at 1')
    add('--group-by', help='regular expression: images with the same match stay in one split')
    add('--seed', type=int, default=0, help='seed of random splits')
    add('--resplit', action='store_true', help='split the images again')
    add('--fix', action='store_true', help='repair images and boxes in copies')
    text = 'decode all images in the checks; default: if a split has at most 2,000'
    add('--decode', action='store_true', default=None, help=text)
    add('--start-from', type=Path, metavar='CHECKPOINT', help='weights to start from')
    text = 'default: chosen by the number of images'
    add('--epochs', dest='max_epochs', metavar='EPOCHS', type=int, help=text)
    add('--overwrite', action='store_true', help='replace a config of this name')


def _new(args: Arguments, rest: Sequence[str]) -> int:
    from .data.project import create_project

    options = {key: value for key, value in vars(args).items() if key != 'command'}
    config = create_project(Options(**options))
    if config is None:
        hint = '' if args.fix else ' Fix them, or try --fix, which repairs some in copies.'
        print(f'\nNo config was written, because of the problems above.{hint}')
        return 1
    print(f'\nNext:\n{next_lines(Path(os.path.relpath(config)))}')
    return 0


def _add_draw(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('root', nargs='?', default='data/shapes', help='folder to write; default: %(default)s')
    add('--num-train', type=int, default=400, help='training images; default: %(default)s')
    add('--num-val', type=int, default=100, help='validation images; default: %(default)s')
    add('--seed', type=int, default=0, help='seed of all random choices; default: %(default)s')


def _draw(args: Arguments, rest: Sequence[str]) -> int:
    from .data.drawn_shapes import generate_shapes

    generate_shapes(args.root, args.num_train, args.num_val, args.seed)
    print(f'{args.root}: {args.num_train} training and {args.num_val} validation images')
    return 0


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', type=Path, help='config file')
    parser.add_argument('--work-dir', type=Path, help="folder of the run; default: the config's")


def _add_train(parser: argparse.ArgumentParser) -> None:
    _add_run(parser)
    parser.add_argument('--from-start', action='store_true', help='start over instead of resuming')
    gpus = 'number of processes, one per GPU; without a GPU, they share the CPU and each batch'
    parser.add_argument('--gpus', type=int, help=gpus)
    epochs = 'of a new run; stretches the schedule; default: max_epochs of the config'
    parser.add_argument('--epochs', type=at_least(1), help=epochs)
    shown = parser.add_mutually_exclusive_group()
    show: dict[str, Any] = dict(dest='show', action='store_const', default='progress')
    shown.add_argument('--quiet', const='warnings', help='show warnings only', **show)
    shown.add_argument('--verbose', const='everything', help='show all that is logged', **show)


def _train(args: Arguments, rest: Sequence[str]) -> int:
    from .data.check import report_training_data
    from .training.runs import train

    options = dict(from_start=args.from_start, show=args.show, gpus=args.gpus, epochs=args.epochs)
    checkpoint = train(args.config, rest, args.work_dir, **options, check_data=report_training_data)
    lines = next_lines(args.config, args.work_dir, is_trained=True)
    kind = 'best' if checkpoint.name.startswith('best_') else 'last'
    print(f'{kind} checkpoint: {checkpoint}\n\nNext:\n{lines}')
    return 0


def _add_test(parser: argparse.ArgumentParser) -> None:
    _add_run(parser)
    _add_checkpoint(parser)
    _add_tiles(parser)


def _add_checkpoint(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--checkpoint', type=Path, help='default: the best of the run')


def _add_tiles(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('--tiles', type=at_least(1), metavar='SIZE', help='also detect in tiles of this side')
    add('--overlap', type=float, help='overlap of two tiles, as a fraction of a tile; default: 0.2')


def _read_tiles(args: Arguments) -> 'Tiles | None':
    from .evaluation.tiles import Tiles

    if args.overlap is not None and args.tiles is None:
        raise ValueError(f'--overlap {args.overlap:g} needs --tiles.')
    overlap = {} if args.overlap is None else {'overlap': args.overlap}
    return Tiles(args.tiles, **overlap) if args.tiles else None


def _test(args: Arguments, rest: Sequence[str]) -> int:
    from .evaluation import report
    from .evaluation.predict import Predictor, evaluate_in_tiles
    from .training import runs

    if tiles := _read_tiles(args):
        if rest:
            raise ValueError(f'--tiles does not go with options of test.py: {shlex.join(rest)}.')
        work_dir, checkpoint = _find_run(args)
        predictor = Predictor(args.config, checkpoint, work_dir=work_dir)
        print(report.format_metrics(evaluate_in_tiles(predictor, tiles)))
    elif rest:  # such as --tta, --out or --show-dir
        runs.test(args.config, args.checkpoint, rest, args.work_dir)
    else:
        work_dir, checkpoint = _find_run(args)
        print(report.format_report(report.test(args.config, checkpoint, work_dir)))
    return 0


def _add_look(parser: argparse.ArgumentParser) -> None:
    _add_run(parser)
    _add_checkpoint(parser)
    parser.add_argument('--out-dir', type=Path, help="default: a folder in the run's folder")
    parser.add_argument('--score-thr', type=float, help='default: the best on validation images')


def _look(args: Arguments, rest: Sequence[str]) -> int:
    from .evaluation.report_page import look

    work_dir, checkpoint = _find_run(args)
    page = look(args.config, checkpoint, work_dir, args.out_dir, args.score_thr)
    print(f'open in a browser: {page}')
    return 0


def _add_predict(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('config', type=Path, help='config file, or an ONNX file')
    add('inputs', nargs='+', help=INPUTS)
    add('--work-dir', type=Path, help="folder of the run; default: the config's")
    add('--checkpoint', type=Path, help='checkpoint or ONNX file; default: the best of the run')
    add('--out-dir', type=Path, help='default: predictions in the folder of the run')
    add('--score-thr', type=float, help='lowest score; default: that chosen by `test`, else 0.3')
    add('--batch', type=at_least(1), default=1, help='images or tiles at a time')
    add('--every', type=at_least(1), default=1, metavar='N', help='every N-th frame of a video')
    _add_tiles(parser)
    for name in ('--device', '--allow-mismatch'):
        add(name, **SHARED_ARGUMENTS[name])


def _predict(args: Arguments, rest: Sequence[str]) -> int:
    from .evaluation.predict import Predictor, is_onnx
    from .evaluation.prediction_folder import write_predictions

    tiles = _read_tiles(args)
    if is_onnx(args.config):
        config, work_dir, checkpoint = None, args.work_dir or args.config.parent, args.config
    else:
        config, (work_dir, checkpoint) = args.config, _find_run(args)
    predictor = Predictor(config, checkpoint, args.device, args.allow_mismatch, work_dir)
    if args.score_thr is None:
        reason = 'chosen on validation images' if predictor.is_chosen else 'none was chosen'
        print(f'score threshold: {predictor.score_thr:g} ({reason})')
    out_dir = args.out_dir or work_dir / 'predictions'
    try:
        detected, failed = write_predictions(
            predictor, args.inputs, out_dir, args.score_thr, args.batch, args.every, tiles
        )
    except KeyboardInterrupt:
        print(f'interrupted; the detections so far are in {out_dir}')
        return 128 + signal.SIGINT
    print(f'{detected} images done, {failed} failed: {out_dir}')
    return 1 if failed else 0


def _find_run(args: Arguments) -> tuple[Path, Path]:
    """Find the folder of a run and its checkpoint, which is then loaded as data only."""
    from .checkpoints import force_weights_only
    from .training.runs import find_checkpoint, find_work_dir

    force_weights_only()
    work_dir = args.work_dir or find_work_dir(args.config)
    return work_dir, args.checkpoint or find_checkpoint(work_dir)


# Of each command, what adds its options, what runs it, and its help.
COMMANDS: dict[str, tuple[Callable[..., None], Callable[..., int], str]] = {
    'new': (_add_new, _new, 'check a dataset and write a config for it'),
    'draw': (_add_draw, _draw, 'draw a small labeled dataset, to try things out'),
    'train': (_add_train, _train, "train or resume; has MMDetection's options, such as --amp"),
    'test': (_add_test, _test, "print the metrics; with options, run MMDetection's test.py"),
    'look': (_add_look, _look, 'write the report on the test images as one page'),
    'predict': (_add_predict, _predict, 'detect in images and videos'),
}


def next_lines(config: Path, work_dir: Path | None = None, *, is_trained: bool = False) -> str:
    """Return the commands to type after `new` or `train`."""
    run = shlex.join([str(config), *(['--work-dir', str(work_dir)] if work_dir else [])])
    lines = [] if is_trained else [f'mmdet-detnet train {run}']
    lines += [f'mmdet-detnet test {run}', f'mmdet-detnet look {run}']
    lines.append(f'mmdet-detnet predict {run} {shlex.quote(str(_find_test_images(config)))}')
    return '\n'.join(lines)


def _find_test_images(config: Path) -> Path:
    """Find a folder with images to detect in: that of the first test image."""
    from .config import load_config
    from .files import read_json

    try:
        dataset = load_config(config).test_dataloader.dataset
        file = Path(dataset.data_root, dataset.ann_file)
        name = read_json(file)['images'][0]['file_name']
        return Path(os.path.relpath(Path(dataset.data_root, dataset.data_prefix.img, name).parent))
    # Not in COCO's format, or elsewhere by --cfg-options: no reason to fail after training.
    except (AttributeError, LookupError, OSError, TypeError, ValueError):
        return Path('IMAGES')
