"""Runs of a tiny Faster R-CNN, each in its own process, that stop at chosen points."""

import builtins
import os
import resource
import signal
import subprocess
from pathlib import Path

import torch
from helpers import fork_server
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from torch import distributed, multiprocessing

from mmdet_detnet import config_path, files
from mmdet_detnet.training import launch

STRIDES = [4, 8, 16, 32, 64]
IMAGES, BATCH, EPOCHS = 8, 2, 3
NUM_RANKS = 2
ITERATIONS = IMAGES // BATCH
LAST = f'epoch_{EPOCHS}.pth'
TIMEOUT = 120  # seconds


def write_config(folder, data_root, **options):
    """Write a config in which all is random that may be: order, flips, samples of boxes."""
    config = Config.fromfile(config_path('demo/faster-rcnn_detnet59-slim_fpn_shapes.py'))
    for split in ('train', 'val', 'test'):
        loader = config[f'{split}_dataloader']
        loader.update(batch_size=BATCH)
        loader.dataset.data_root = f'{data_root}/'
        (resize,) = [step for step in loader.dataset.pipeline if step['type'] == 'Resize']
        resize.scale = (64, 64)
    for split in ('val', 'test'):
        config[f'{split}_evaluator'].ann_file = f'{data_root}/annotations/val.json'
    stages = dict(num_stages=2, strides=(1, 2), dilations=(1, 1), out_indices=(0, 1))
    backbone = dict(type='ResNet', depth=18, base_channels=4, norm_eval=False, **stages)
    config.model.backbone = backbone
    config.model.rpn_head.anchor_generator.pop('base_sizes')
    config.model.train_cfg.rpn_proposal.max_per_img = 32
    config.model.test_cfg.rpn.max_per_img = 8
    config.merge_from_dict(
        {
            'model.neck.in_channels': [4, 8],
            'model.neck.out_channels': 8,
            'model.rpn_head.in_channels': 8,
            'model.rpn_head.feat_channels': 8,
            'model.rpn_head.anchor_generator.strides': STRIDES,
            'model.roi_head.bbox_roi_extractor.out_channels': 8,
            'model.roi_head.bbox_roi_extractor.featmap_strides': STRIDES[:4],
            'model.roi_head.bbox_head.in_channels': 8,
            'model.roi_head.bbox_head.fc_out_channels': 16,
            'model.train_cfg.rcnn.sampler.num': 8,
            'train_cfg.max_epochs': EPOCHS,
            'default_hooks.logger.interval': 1,
            'default_hooks.faults': dict(type='Faults'),
            'default_hooks.checkpoint.max_keep_ckpts': 1,
            'custom_hooks': [
                dict(type='NumClassCheckHook'),
                dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=0.1, update_buffers=True),
                dict(type='EarlyStoppingHook', monitor='coco/bbox_mAP', patience=10, min_delta=1.0),
            ],
            **options,
        }
    )
    config.pop('randomness')  # the run chooses a seed, and has to keep it
    folder.mkdir()
    config.dump(folder / 'tiny.py')
    return folder / 'tiny.py'


@HOOKS.register_module()
class Faults(Hook):
    """Stop this process at a chosen point of the training.

    Args:
        iteration: Send ``signal_number`` to this process before an iteration, from 0.
        validation: Send it in the validation after an iteration.
        call: Send it before a call of the hooks, from 0, wherever that is.
        signal_number: Of the signal.
        operation: Kill this process at an operation of checkpoints on the disk (write, flush, move,
            remove), from 1: before it, or, if it is a write, ...
        written: ... when this part of the file is written, from 0 to 1.
        limit: Largest file in bytes that can be written from the second save on.
        lost_weights: Make the weights NaN after an iteration, from 0, whose losses are finite.
    """

    priority = 'VERY_HIGH'
    saves = operations = calls = 0
    workers = ()
    iteration = validation = call = operation = limit = lost_weights = None
    signal_number, written = int(signal.SIGKILL), 0.5

    def __init__(self, **faults):
        vars(self).update(faults)

    def before_run(self, runner):
        for module, name in [(os, 'fsync'), (os, 'replace'), (os, 'unlink')]:
            setattr(module, name, self._count(getattr(module, name)))
        files.open = self._open
        self._call_hook, runner.call_hook = runner.call_hook, self._count_call

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        Faults.workers = multiprocessing.active_children()
        self._send_if(runner.iter == self.iteration)

    def before_val_iter(self, runner, batch_idx, data_batch=None):
        self._send_if(runner.iter == self.validation)

    def _count_call(self, name, **kwargs):
        self._send_if(Faults.calls == self.call)
        Faults.calls += 1
        self._call_hook(name, **kwargs)

    def _send_if(self, is_moment):
        if is_moment:
            # As Slurm does: to the data loaders' workers, too, and not from their parent.
            group = f'-{os.getpgid(0)}'
            kill = ['kill', f'-{self.signal_number}', '--', group]
            subprocess.run(kill, start_new_session=True, check=True)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == self.lost_weights:
            for weight in runner.model.parameters():
                weight.data.fill_(torch.nan)

    def before_save_checkpoint(self, runner, checkpoint):
        Faults.saves += 1
        if self.saves == 2 and self.limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.limit, self.limit))

    def _is_last(self):
        Faults.operations += self.saves > 0
        return self.operations == self.operation

    def _count(self, function):
        def counted(*args, **kwargs):
            if self._is_last():
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return counted

    def _open(self, path, mode='r'):
        file = builtins.open(path, mode)
        if 'w' not in mode:
            return file
        write = file.write

        def write_part(content):
            if self._is_last():
                write(content[: int(self.written * len(content))])
                file.flush()
                os.kill(os.getpid(), signal.SIGKILL)
            write(content)

        return _Writer(file, write_part)


class _Writer:
    """A file whose `write` is another."""

    def __init__(self, file, write):
        self.file, self.write = file, write

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()

    def __getattr__(self, name):
        return getattr(self.file, name)


def _join_ranks(work_dir, rank):
    os.environ['LOCAL_RANK'] = str(rank)
    store = distributed.FileStore(f'{work_dir}.store', NUM_RANKS)
    distributed.init_process_group('gloo', store=store, rank=rank, world_size=NUM_RANKS)


def _train(config_file, work_dir, resume, options, rank, faults):
    torch.set_num_threads(1)
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    log = os.open(log_file(work_dir, rank), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if rank is not None:
        _join_ranks(work_dir, rank)
    options = {**options, **{f'default_hooks.faults.{key}': v for key, v in faults.items()}}
    arguments = [str(config_file), '--work-dir', str(work_dir)]
    arguments += ['--resume'] if resume else []
    arguments += ['--launcher', 'pytorch'] if rank is not None else []
    if options:
        arguments += ['--cfg-options', *[f'{key}={value}' for key, value in options.items()]]
    try:
        launch.train(arguments)
    finally:
        print('operations on the disk:', Faults.operations)
        print('calls of the hooks:', Faults.calls)
        print('SIGINT:', getattr(signal.getsignal(signal.SIGINT), 'name', ''))
        print('workers alive:', sum(w.is_alive() for w in Faults.workers), flush=True)


def log_file(work_dir, rank=None):
    """Name the file with what a run, or a rank of it, prints."""
    return Path(f'{work_dir}.log' if rank is None else f'{work_dir}.{rank}.log')


def start(config_file, work_dir, resume=False, options=None, rank=None, **faults):
    """Start a run, or one of its ranks; the process."""
    arguments = (config_file, work_dir, resume, options or {}, rank, faults)
    process = fork_server().Process(target=_train, args=arguments)
    process.start()
    return process


def train(config_file, work_dir, resume=False, options=None, **faults):
    """Train to the end or the fault; exit code and output."""
    code = wait(start(config_file, work_dir, resume, options, **faults))
    return code, log_file(work_dir).read_text()


def wait(process, timeout=TIMEOUT):
    """Wait for a run; its exit code. One that hangs is ended, and an error."""
    process.join(timeout)
    if process.exitcode is None:
        process.kill()
        raise TimeoutError(f'it took more than {timeout} s')
    return process.exitcode


def count_epochs(output):
    """Count the iterations in the log of a run, as epochs."""
    return output.count('Epoch(train)') / ITERATIONS


def assert_equal_bits(expected_file, actual_file):
    """Weights, optimizer and schedule of two checkpoints are the same bit for bit."""
    expected = torch.load(expected_file, weights_only=True)
    actual = torch.load(actual_file, weights_only=True)
    assert actual['meta']['iter'] == expected['meta']['iter']
    for part in ('state_dict', 'ema_state_dict'):
        for key, value in expected[part].items():
            assert torch.equal(actual[part][key], value), (part, key)
    assert actual['meta']['early_stopping'] == expected['meta']['early_stopping']
    states = expected['optimizer']['state']
    assert states
    for number, state in states.items():
        for key, value in state.items():
            assert torch.equal(actual['optimizer']['state'][number][key], value), (number, key)
    assert actual['param_schedulers'] == expected['param_schedulers']
