"""Train and test from the command line, with all options of MMDetection's scripts."""

import argparse
import contextlib
import io
import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from datetime import timedelta
from pathlib import Path

import torch
from mmdet.engine.hooks.utils import trigger_visualization_hook
from mmdet.evaluation import DumpDetResults
from mmdet.registry import RUNNERS
from mmdet.utils import setup_cache_size_limit_of_dynamo
from mmengine.config import Config, ConfigDict
from mmengine.device import get_device
from mmengine.dist import get_rank, get_world_size, is_distributed
from mmengine.runner import Runner
from torch import distributed
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main as run_ranks

from mmdet_detnet.checkpoints import force_weights_only
from mmdet_detnet.command_line import make_parser
from mmdet_detnet.config import ConfigProblem, load_config, raise_problems
from mmdet_detnet.deployment import keep_freed_memory
from mmdet_detnet.files import check_files

from .checks import find_config_problems, innermost_dataset
from .termination import hold_termination, restore_handlers, stop_workers

# Returns the problems of the annotations of a config, one line each.
DataCheck = Callable[[Config], Sequence[str]]

CHECK_HOOK = 'ConfigCheckHook'
# Variables with the rank of a process, by launcher; the first rank checks the data for all.
RANKS = {'pytorch': 'RANK', 'slurm': 'SLURM_PROCID', 'mpi': 'OMPI_COMM_WORLD_RANK'}
# In a config that a user has written; what mmengine writes is complete.
HAS_BASE = re.compile(r'^(_base_ *=|with read_base\(\))', re.MULTILINE)
# As of MMDetection's test.py, where a config has no `tta_model`.
TTA_MODEL = dict(
    type='DetTTAModel', tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100)
)
FLIPS = [dict(type='RandomFlip', prob=1.0), dict(type='RandomFlip', prob=0.0)]


def train(arguments: Sequence[str] | None = None, check_data: DataCheck | None = None) -> None:
    """Train; the command line of ``tools/train.py``, with all options of MMDetection's.

    Problems of the config, the options or the data end the process with status 2, one line each.

    Args:
        arguments: The command line; None for that of the process.
        check_data: Checks the annotations, unless ``--skip-data-check`` is given.
    """
    args = _make_train_parser().parse_args(arguments)
    with _explain('train.py'):
        runner = _make_runner(_prepare_training(args, check_data), args)
        # An iteration-based loop starts the workers at once, before any hook is called. What
        # pycocotools prints says nothing to a user.
        with hold_termination(), contextlib.redirect_stdout(io.StringIO()):
            _ = runner.train_loop
        runner.train()


def train_on_ranks(
    num_ranks: int, arguments: Sequence[str], check_data: DataCheck | None = None
) -> None:
    """Train as :func:`train` does, but by ``torchrun``: one process on each GPU of this machine.

    Without a GPU, the processes share the CPU's threads and each batch, whose size they divide, and
    communicate by gloo. The data is checked once, in this process.
    """
    args = _make_train_parser().parse_args(arguments)
    with _explain('train.py'):
        num_gpus = torch.cuda.device_count()
        if num_ranks < 1 or num_ranks > (num_gpus or num_ranks):
            allowed = f'1 to {num_gpus}' if num_gpus else 'at least 1'
            raise ConfigProblem(f'--gpus must be {allowed}, got {num_ranks}.')
        config = _prepare_training(args, check_data)
        options = [] if num_gpus else _share_batch(config, num_ranks)
    ranks = ['--standalone', f'--nproc-per-node={num_ranks}', '--module', 'mmdet_detnet.training']
    logging.disable(logging.WARNING)  # at each signal, torchrun warns that it passes it on
    try:
        with restore_handlers():  # torchrun's would break the next Ctrl-C
            run_ranks([*ranks, *arguments, '--launcher', 'pytorch', '--skip-data-check', *options])
    except ChildFailedError as error:  # a rank has said why
        sys.exit(abs(error.get_first_failure()[1].exitcode))
    except SignalException as stop:
        print('train.py: the ranks were stopped. Continue with --resume.', file=sys.stderr)
        sys.exit(128 + stop.sigval)
    finally:
        logging.disable(logging.NOTSET)


def _share_batch(config: Config, num_ranks: int) -> list[str]:
    """Return the option that divides each batch among the processes, and divide the threads."""
    size = config.train_dataloader.get('batch_size', 1)
    if size % num_ranks:
        raise ConfigProblem(
            f'--gpus: without a GPU, the processes share each batch, so their number must divide '
            f'train_dataloader.batch_size={size}, got {num_ranks}.'
        )
    num_threads = max(len(os.sched_getaffinity(0)) // num_ranks, 1)
    for name in ('OMP_NUM_THREADS', 'MKL_NUM_THREADS'):  # else torchrun and mmengine take 1
        os.environ.setdefault(name, str(num_threads))
    return ['--cfg-options', f'train_dataloader.batch_size={size // num_ranks}']


def test(arguments: Sequence[str] | None = None) -> dict[str, float]:
    """Test, and return the metrics; arguments as for :func:`train`, but of ``tools/test.py``."""
    args = _make_test_parser().parse_args(arguments)
    with _explain('test.py'):
        runner = _make_runner(_prepare_test(args), args)
        keep_freed_memory()  # in training, it gained nothing with slim models
        if args.out:
            runner.test_evaluator.metrics.append(DumpDetResults(out_file_path=args.out))
        return runner.test()


def find_work_dir(file: str | Path, config: Config | None = None) -> Path:
    """Return the work directory of a config: its own, or one by the name of its file.

    ``config`` is the content of the file, if it has been read; options may have changed it.
    """
    config = load_config(file) if config is None else config
    return Path(config.get('work_dir') or Path('work_dirs', Path(file).stem))


def _make_parser(name: str, description: str, *shared: str) -> argparse.ArgumentParser:
    parser = make_parser(description, *shared, '--cfg-options', '--allow-mismatch')
    parser.prog = name
    add = parser.add_argument
    add('--work-dir', help='folder of logs and checkpoints; default: work_dirs/NAME_OF_CONFIG')
    add('--launcher', choices=['none', *RANKS], default='none')
    add('--local_rank', '--local-rank', type=int, default=0, help='set by torch.distributed.launch')
    return parser


def _make_train_parser() -> argparse.ArgumentParser:
    parser = _make_parser('train.py', 'Train a detector.', 'config')
    add = parser.add_argument
    add('--amp', action='store_true', help='automatic mixed precision')
    add('--auto-scale-lr', action='store_true', help='scale the learning rate to the batch size')
    resume = 'resume from this checkpoint; by default, from the newest of the work directory'
    add('--resume', nargs='?', const='auto', metavar='CHECKPOINT', help=resume)
    add('--skip-data-check', action='store_true', help='do not check the annotations')
    return parser


def _make_test_parser() -> argparse.ArgumentParser:
    parser = _make_parser('test.py', 'Test a detector.', 'config', 'checkpoint')
    add = parser.add_argument
    add('--out', help='file (.pkl) to write the predictions to')
    add('--show', action='store_true', help='show the predictions in a window')
    add('--show-dir', help='folder for images with predictions, in the work directory')
    add('--wait-time', type=float, default=2, help='seconds between two images of --show')
    add('--tta', action='store_true', help='test-time augmentation')
    return parser


def _prepare(args: argparse.Namespace) -> Config:
    """Read the config, with the options that training and testing share."""
    force_weights_only()
    _check_launcher(args.launcher)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    config = load_config(args.config, dict(args.cfg_options))
    config.launcher = args.launcher
    config.work_dir = args.work_dir or str(find_work_dir(args.config, config))
    folder = Path(config.work_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigProblem(f'{folder} cannot be created: {error.strerror}.') from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigProblem(f'{folder} cannot be written to; name another --work-dir.')
    _switch_checks_on(config, args.allow_mismatch)
    raise_problems(find_config_problems(config))
    return config


def _check_launcher(launcher: str) -> None:
    size = os.environ.get('WORLD_SIZE', '1')
    if launcher == 'none' and distributed.is_torchelastic_launched() and size != '1':
        raise ConfigProblem(
            f'--launcher must be pytorch in one of the {size} processes of torchrun, got none: '
            'each would run alone, in the same work directory.'
        )
    rank = RANKS.get(launcher)
    if rank and rank not in os.environ and not distributed.is_initialized():
        raise ConfigProblem(
            f'--launcher {launcher} needs {rank}, which torchrun, srun or mpirun sets in each '
            'process that it starts.'
        )


def _switch_checks_on(config: Config, allow_mismatch: bool) -> None:
    """Add our checks if the config lacks them."""
    hooks = config.get('default_hooks') or {}
    known = [*hooks.values(), *(config.get('custom_hooks') or [])]
    found = [hook for hook in known if hook and _name_type(hook) == CHECK_HOOK]
    for hook in found:
        hook.allow_mismatch = allow_mismatch
    if not found:
        check = dict(type=f'mmdet_detnet.{CHECK_HOOK}', allow_mismatch=allow_mismatch)
        config.default_hooks = dict(hooks, config_check=check)


def _name_type(options: Mapping) -> str:
    """Return the type's name without its prefix; in a new-style config, the type is a class."""
    kind = options.get('type')
    return getattr(kind, '__name__', str(kind)).rpartition('.')[2]


def _prepare_training(args: argparse.Namespace, check_data: DataCheck | None) -> Config:
    config = _prepare(args)
    if args.amp:
        config.optim_wrapper.update(type='AmpOptimWrapper', loss_scale='dynamic')
    if _name_type(config.get('optim_wrapper') or {}) == 'AmpOptimWrapper' and get_device() in (
        'cpu',
        'mps',
    ):
        raise ConfigProblem(
            f'AmpOptimWrapper, which --amp sets, does not train on {get_device()}. On a CPU, '
            "train_dtype='bf16' of mmdet_detnet.AccelerationHook trains in bfloat16."
        )
    if args.auto_scale_lr:
        if 'base_batch_size' not in (config.get('auto_scale_lr') or {}):
            raise ConfigProblem('--auto-scale-lr: the config has no auto_scale_lr.base_batch_size.')
        config.auto_scale_lr.enable = True
    if args.resume:
        config.resume = True
        config.load_from = None if args.resume == 'auto' else args.resume
    if config.get('load_from'):
        check_files(config.load_from)
    is_first = int(os.environ.get(RANKS.get(args.launcher, ''), 0)) == 0
    if check_data and is_first and not args.skip_data_check:
        try:
            problems = [*check_data(config)]
        except ValueError as error:
            problems = [str(error)]
        raise_problems(problems and [*problems, '--skip-data-check skips this check.'])
    return config


def _prepare_test(args: argparse.Namespace) -> Config:
    config = _prepare(args)
    check_files(args.checkpoint)
    config.load_from, config.resume = args.checkpoint, False
    if args.out and not args.out.endswith(('.pkl', '.pickle')):
        raise ConfigProblem(f'--out must be a .pkl file, got {args.out}.')
    if args.show or args.show_dir:
        config = trigger_visualization_hook(config, args)
    if args.tta:
        _augment(config)
    return config


def _augment(config: Config) -> None:
    """Test on flipped images, too, or as the config's ``tta_pipeline`` says."""
    dataset = config.test_dataloader.dataset
    pipeline = config.get('tta_pipeline')
    if pipeline is None:
        *steps, pack = deepcopy(innermost_dataset(dataset)['pipeline'])
        keys = [*pack.get('meta_keys', ('img_id', 'img_path', 'ori_shape', 'img_shape'))]
        pack.meta_keys = tuple(dict.fromkeys([*keys, 'scale_factor', 'flip', 'flip_direction']))
        pipeline = [*steps, dict(type='TestTimeAug', transforms=[FLIPS, [pack]])]
    config.model = ConfigDict(**(config.get('tta_model') or TTA_MODEL), module=config.model)
    dataset.pipeline = pipeline


def _make_runner(config: Config, args: argparse.Namespace) -> Runner:
    # Fewer compilations of models that use torch.compile.
    setup_cache_size_limit_of_dynamo()
    if args.launcher == 'pytorch' and get_device() == 'cpu':
        _share_cpu(config)
    dump = Path(config.work_dir, Path(config.filename).name)
    if dump.is_file() and (
        dump.samefile(config.filename) or HAS_BASE.search(dump.read_text(errors='replace'))
    ):
        # mmengine would write over the user's file. Without a name, it takes the time instead.
        object.__setattr__(config, '_filename', None)
    return RUNNERS.build(config) if 'runner_type' in config else Runner.from_cfg(config)


def _share_cpu(config: Config) -> None:
    """Let several ranks run without a GPU for each, which mmengine's launcher wants."""
    if not distributed.is_initialized():
        timeout = (config.get('env_cfg') or {}).get('dist_cfg', {}).get('timeout')
        distributed.init_process_group('gloo', timeout=timeout and timedelta(seconds=timeout))
    # mmengine's defaults, except for the device.
    wrapper = dict(
        type='MMDistributedDataParallel',
        device_ids=None,
        broadcast_buffers=False,
        find_unused_parameters=config.get('find_unused_parameters', False),
    )
    config.model_wrapper_cfg = dict(wrapper, **(config.get('model_wrapper_cfg') or {}))


@contextlib.contextmanager
def _explain(script: str) -> Iterator[None]:
    """End the process, with a sentence instead of a traceback where the cause is known."""
    try:
        yield
    except (ConfigProblem, FileNotFoundError) as error:
        sentence = str(error)
        if 'in DataLoader worker' in sentence:  # followed by the worker's traceback
            sentence = sentence.strip().splitlines()[-1]
        print(f'{script}: {sentence}', file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # another one ends without a traceback
        hint = ' Continue with --resume.' if script == 'train.py' else ''
        print(f'{script}: interrupted.{hint}', file=sys.stderr)
        stop_workers()
        if is_distributed():
            # At a normal exit, gloo waits for the other ranks to join what this one has started.
            sys.stdout.flush()
            os._exit(130)
        sys.exit(130)
    except RuntimeError as error:
        # A connection error between ranks has its cause in another rank.
        if is_distributed() and re.search('gloo|nccl|TCPStore', str(error), re.IGNORECASE):
            sys.stderr.write(
                f'rank {get_rank()} of {get_world_size()} lost another rank, which has ended or '
                'hangs; see the output of that rank. Continue with train.py --resume.\n'
            )
        raise
