"""Train, test and detect with the user's config."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config

from mmdet_detnet.launch import run_mmdet_script

POINTER = 'last_checkpoint'


def find_work_dir(config: Path) -> Path:
    """Find the work directory of a config.

    Args:
        config: A config file.

    Returns:
        The folder, as chosen by MMDetection's script.

    Raises:
        FileNotFoundError: If the config does not exist.
    """
    if not config.is_file():
        raise FileNotFoundError(f'no such config: {config}')
    return Path(Config.fromfile(config).get('work_dir') or Path('work_dirs', config.stem))


def find_checkpoint(work_dir: Path) -> Path:
    """Find the best checkpoint, or the last one if none has been validated.

    Args:
        work_dir: Work directory of the training.

    Returns:
        The file.

    Raises:
        FileNotFoundError: If there is no checkpoint.
    """
    best = sorted(work_dir.glob('best_*.pth'), key=lambda file: file.stat().st_mtime)
    pointer = work_dir / POINTER
    last = [work_dir / pointer.read_text().strip()] if pointer.is_file() else []
    for file in best[::-1] + last:
        if file.is_file():
            return file
    raise FileNotFoundError(f'{work_dir} has no checkpoint: train first, or give --checkpoint.')


def train(config: Path, arguments: Sequence[str] = (), from_start: bool = False) -> None:
    """Train with MMDetection's script, resuming an interrupted training run.

    Args:
        config: The config.
        arguments: Further options of the script.
        from_start: Whether to start over even if there are checkpoints.
    """
    work_dir = find_work_dir(config)
    arguments = [*arguments]
    if (work_dir / POINTER).is_file() and not from_start and '--work-dir' not in arguments:
        print(f'resumes the training in {work_dir} (--from-start starts over)')
        arguments.append('--resume')
    sys.argv = ['train.py', str(config), *arguments]
    run_mmdet_script('train.py')


def test(config: Path, checkpoint: Path | None = None, arguments: Sequence[str] = ()) -> None:
    """Evaluate with MMDetection's script.

    Args:
        config: The config.
        checkpoint: The weights; None for the best of the training.
        arguments: Further options of the script.
    """
    checkpoint = checkpoint or find_checkpoint(find_work_dir(config))
    print(f'checkpoint: {checkpoint}')
    sys.argv = ['test.py', str(config), str(checkpoint), *arguments]
    run_mmdet_script('test.py')


def next_lines(config: Path, images: Path, *, is_trained: bool = False) -> str:
    """Return the next commands to type.

    Args:
        config: The config.
        images: A folder of images for detection.
        is_trained: Whether the training is done.

    Returns:
        The lines.
    """
    name = shlex.quote(str(config))
    lines = [f'mmdet-detnet train {name}'] if not is_trained else []
    lines += [
        f'mmdet-detnet test {name}',
        f'mmdet-detnet look {name}',
        f'mmdet-detnet predict {name} {shlex.quote(str(images))}',
    ]
    return '\n'.join(lines)
