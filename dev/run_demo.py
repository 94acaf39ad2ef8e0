"""Train a slim DetNet detector on drawn shapes in minutes on a CPU.

    python dev/run_demo.py

draws the dataset, trains, and writes the report. Each step is a separate command, printed before it
runs.
"""

import argparse
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path

from mmengine.config import Config

from mmdet_detnet import config_path
from mmdet_detnet.command_line import at_least

TOOLS = Path(__file__).resolve().parents[1] / 'tools'
CONFIG = 'demo/faster-rcnn_detnet59-slim_fpn_shapes.py'
WORK_DIR = Path('work_dirs/demo')
DATA_ROOT = Path('data/shapes')


def run_demo(
    work_dir: Path = WORK_DIR,
    data_root: Path = DATA_ROOT,
    epochs: int | None = None,
    resume: bool = False,
) -> float:
    """Run all steps of the demo and print the resulting files.

    Args:
        work_dir: Folder for checkpoints, logs and pictures. If it exists and ``resume`` is not set,
            the first free one of ``work_dir-2``, ``work_dir-3`` ... is used instead.
        data_root: Folder of the dataset, drawn if it does not exist.
        epochs: Number of epochs; None for the config's.
        resume: Whether to resume an interrupted training run in ``work_dir``.

    Returns:
        The box AP of the best checkpoint on the validation set.

    Raises:
        FileNotFoundError: If there is no training to resume.
        subprocess.CalledProcessError: If a step fails.
    """
    start = time.monotonic()
    if not resume:
        work_dir = free_folder(work_dir)
    elif not (work_dir / 'last_checkpoint').is_file():
        raise FileNotFoundError(f'Nothing to resume: {work_dir} holds no last_checkpoint.')
    config = work_dir / Path(CONFIG).name
    _run(TOOLS / 'demo/shapes_dataset.py', data_root)
    if not resume:
        write_config(config, data_root, epochs)
    _run(TOOLS / 'train.py', config, '--work-dir', work_dir, *['--resume'] * resume)
    checkpoint = next(work_dir.glob('best_*.pth'))
    place = ('--checkpoint', checkpoint, '--work-dir', work_dir)
    _run('-m', 'mmdet_detnet', 'look', config, *place)
    box_ap = json.loads((work_dir / 'look/report.json').read_text())['figures']['AP']
    print(
        f'\nBox AP {box_ap:.3f} after {time.monotonic() - start:.0f} s\n'
        f'checkpoint  {checkpoint}\n'
        f'report      {work_dir / "look/index.html"}'
    )
    return box_ap


def free_folder(folder: Path) -> Path:
    """Find a free name for a work folder, and print it if it differs from the requested one.

    Args:
        folder: The requested folder.

    Returns:
        ``folder``, or the first of ``folder-2``, ``folder-3`` ... that does not exist.
    """
    free, number = folder, 1
    while free.exists():
        number += 1
        free = folder.with_name(f'{folder.name}-{number}')
    if free != folder:
        print(f'{folder} holds an earlier run, so this one goes to {free}.')
        print(f'(To finish an interrupted one: --resume --work-dir {folder})')
    return free


def make_config(data_root: Path, epochs: int | None = None) -> Config:
    """Make the demo's config with the dataset's place and the length of the training.

    Args:
        data_root: Folder of the dataset.
        epochs: Number of epochs; None for the config's.

    Returns:
        The config.
    """
    cfg = Config.fromfile(config_path(CONFIG))
    for split in ('train', 'val', 'test'):
        cfg[f'{split}_dataloader'].dataset.data_root = f'{data_root}/'
    for split in ('val', 'test'):
        cfg[f'{split}_evaluator'].ann_file = f'{data_root}/annotations/val.json'
    if epochs is not None:
        cfg.train_cfg.max_epochs = epochs
        # The cosine decay has to end with the training.
        cfg.param_scheduler[-1].T_max = epochs
    return cfg


def write_config(file: Path, data_root: Path, epochs: int | None = None) -> None:
    """Write the config of :func:`make_config` to a new folder."""
    file.parent.mkdir(parents=True)
    make_config(data_root, epochs).dump(file)


def _run(*arguments: str | Path) -> None:
    command = [sys.executable, *map(str, arguments)]
    print(f'\n$ {shlex.join(command)}', flush=True)
    start = time.monotonic()
    subprocess.run(command, check=True)
    print(f'({time.monotonic() - start:.0f} s)')


def main() -> None:
    """Run the demo with the command line's options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--work-dir', type=Path, default=WORK_DIR, help='folder for the results')
    parser.add_argument('--data-root', type=Path, default=DATA_ROOT, help='folder of the data')
    parser.add_argument('--epochs', type=at_least(1), help='number of epochs')
    parser.add_argument(
        '--resume', action='store_true', help='resume an interrupted run in --work-dir'
    )
    args = parser.parse_args()
    if args.resume and args.epochs is not None:
        parser.error('--epochs belongs to a new run; a resumed one keeps its length')
    try:
        run_demo(args.work_dir, args.data_root, args.epochs, args.resume)
    except FileNotFoundError as error:
        parser.exit(1, f'{error}\n')
    except subprocess.CalledProcessError as error:
        parser.exit(error.returncode, f'The demo stopped: {shlex.join(error.cmd)} failed.\n')


if __name__ == '__main__':
    main()
