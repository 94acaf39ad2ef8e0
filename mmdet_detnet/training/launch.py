"""Start MMDetection's own scripts with this package imported."""

import contextlib
import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import mmdet
from mmengine.dist import get_rank, get_world_size, is_distributed

from mmdet_detnet.checkpoints import force_weights_only

from .preflight import prepare_arguments


def run_mmdet_script(name: str) -> None:
    """Run one of mmdet's scripts as ``__main__`` in this process, with its command line.

    This package is imported first, so that its entry in mmengine exists when the script reads its
    config. Checkpoints are loaded as data only (:func:`.force_weights_only`). Faults of the config
    or the options end the process with status 2, one line each.

    Args:
        name: Path of the script below mmdet's ``tools/``, such as ``'train.py'``.

    Raises:
        FileNotFoundError: If the installed mmdet has no such script.
    """
    package = Path(mmdet.__file__).parent
    # A wheel has its tools in .mim; a source checkout has them in a separate folder.
    candidates = [package / '.mim' / 'tools' / name, package.parent / 'tools' / name]
    script = next((path for path in candidates if path.is_file()), None)
    if script is None:
        raise FileNotFoundError(
            f'the installed mmdet has no script {name}: looked for '
            f'{" and ".join(str(path) for path in candidates)}.'
        )
    force_weights_only()
    parse_args = runpy.run_path(str(script))['parse_args']
    with TemporaryDirectory() as folder:
        try:
            sys.argv = prepare_arguments(parse_args, name == 'train.py', folder)
        except (FileNotFoundError, ValueError) as error:
            print(f'{name}: {error}', file=sys.stderr)
            sys.exit(2)
        with _explain_lost_rank():
            runpy.run_path(str(script), run_name='__main__')


@contextlib.contextmanager
def _explain_lost_rank() -> Iterator[None]:
    """Explain, before a connection error between ranks, that the cause is in another rank."""
    try:
        yield
    except RuntimeError as error:
        if is_distributed() and re.search('gloo|nccl|TCPStore', str(error), re.IGNORECASE):
            sys.stderr.write(
                f'rank {get_rank()} of {get_world_size()} lost another rank, which has ended or '
                'hangs; see the output of that rank. Continue with train.py --resume.\n'
            )
        raise
