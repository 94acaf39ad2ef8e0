"""What each subcommand of ``mmdet-detnet`` does with its options."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from mmdet_detnet.checkpoints import force_weights_only
from mmdet_detnet.evaluation.image_demo import detect_images, find_images

from .looking import look
from .options import Options
from .project import create_project
from .training import find_checkpoint, find_work_dir, next_lines, test, train


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
    print(f'best checkpoint: {checkpoint}\n\nNext:\n{lines}')
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


SUBCOMMANDS = {'new': _new, 'train': _train, 'test': _test, 'look': _look, 'predict': _predict}
