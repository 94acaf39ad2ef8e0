"""The hook that saves checkpoints safely and resumes from them."""

import os
from functools import partial
from pathlib import Path
from typing import Any

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from mmdet_detnet.checkpoints.files import (
    BACKEND,
    POINTER,
    CheckpointFiles,
    find_newest,
)
from mmdet_detnet.files import write_file
from mmdet_detnet.registry import HOOKS
from mmdet_detnet.training.remaining_batches import skip_finished_batches, whole_loader
from mmdet_detnet.training.termination import (
    EXIT_CODE,
    TerminationRequest,
    heed_parent_only,
    stop_workers,
)

EPOCH_LENGTH = 'epoch_length'


@HOOKS.register_module()
class DurableCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook`` with atomic files.

    * A checkpoint is written to a temporary file, flushed and renamed, with its SHA-256 beside it,
      before older ones are removed. A killed run or a full disk leaves the last one.
    * ``resume`` without a file takes the newest intact checkpoint of the run and logs those it
      skipped; it is an error if there is none. Paths inside a run are relative to its folder, so a
      copied run resumes from its own files.
    * On SIGTERM, training finishes the step, saves, and exits with 143. A checkpoint saved inside
      an epoch resumes there.

    If ``backend_args`` or ``file_client_args`` is set, that backend writes the files instead.

    Args:
        *args: As for the parent.
        **kwargs: As for the parent.
    """

    # Attributes of the parent.
    backend_args: dict | None
    best_ckpt_path: str | None
    best_ckpt_path_dict: dict[str, str | None]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.backend_args is None and self.file_client_args is None:
            self.backend_args = dict(backend=BACKEND)
        self._termination = TerminationRequest()
        self._resumed_epoch_length: int | None = None

    def before_run(self, runner: Runner) -> None:
        """Choose the file to resume from if the config and command line name none.

        Raises:
            FileNotFoundError: If there is no intact checkpoint.
        """
        # mmengine reads these after this call; a hook cannot choose the file in any other way.
        if runner._resume and runner._load_from is None:
            runner._load_from = self._find_newest(runner)

    def _find_newest(self, runner: Runner) -> str:
        """Search in the main process only, so that all ranks resume from the same file."""
        answer: list = [None, None]
        if is_main_process():
            answer = list(find_newest(self._folder(runner), self.filename_tmpl))
        broadcast_object_list(answer)
        newest, skipped = answer
        for line in skipped:
            runner.logger.warning(f'Not resumed from: {line}.')
        if newest is None:
            raise FileNotFoundError(
                f'nothing to resume from: no intact {self.filename_tmpl.format("*")} in '
                f'{self._folder(runner)}.{"".join(f" {line}." for line in skipped)} '
                'To start from scratch, omit --resume.'
            )
        return str(newest)

    def _folder(self, runner: Runner) -> Path:
        """Return the folder that mmengine will set in `before_train`."""
        if self.out_dir is None:
            return Path(runner.work_dir)
        return Path(self.out_dir, os.path.basename(runner.work_dir.rstrip(os.sep)))

    def before_train(self, runner: Runner) -> None:
        """Prepare to save in this run's folder, even if the resumed run had another one."""
        super().before_train(runner)
        if self.save_best is not None:
            self._move_best_here()
        self._termination.listen()
        loader = runner.train_dataloader
        loader.worker_init_fn = partial(heed_parent_only, loader.worker_init_fn)
        skip_finished_batches(runner, self._resumed_epoch_length)

    def _move_best_here(self) -> None:
        def here(path: str | None) -> str | None:
            return path and str(Path(self.out_dir, os.path.basename(path)))

        if len(self.key_indicators) == 1:
            self.best_ckpt_path = here(self.best_ckpt_path)
        else:
            self.best_ckpt_path_dict = {k: here(v) for k, v in self.best_ckpt_path_dict.items()}

    def after_train_epoch(self, runner: Runner) -> None:
        """Save as mmengine does; the next epoch uses all batches."""
        super().after_train_epoch(runner)
        runner.train_loop.dataloader = whole_loader(runner)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Save if it is time to, and stop after a SIGTERM.

        Raises:
            SystemExit: With code 143, after a SIGTERM.
        """
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        if self._termination.is_agreed():
            iteration = runner.iter + 1
            step = f'{runner.epoch}_iter_{iteration}' if self.by_epoch else iteration
            self._save_and_exit(runner, step, iteration)

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: list | None = None,
    ) -> None:
        """Save and stop after a SIGTERM during validation, which is not repeated.

        Raises:
            SystemExit: With code 143, after a SIGTERM.
        """
        if self._termination.received:
            step = runner.epoch if self.by_epoch else runner.iter
            self._save_and_exit(runner, step, runner.iter)

    def _save_and_exit(self, runner: Runner, step: int | str, iteration: int) -> None:
        meta = dict(epoch=runner.epoch, iter=iteration)
        self._save_checkpoint_with_step(runner, step, meta)
        runner.logger.warning(f'SIGTERM: saved {self.last_ckpt}. Continue with --resume.')
        stop_workers()
        raise SystemExit(EXIT_CODE)

    def after_train(self, runner: Runner) -> None:
        """Publish as mmengine does, and stop handling SIGTERM."""
        self._termination.stop_listening()
        super().after_train(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Save the length of an epoch, to find the position inside an epoch on resume."""
        checkpoint['meta'][EPOCH_LENGTH] = len(whole_loader(runner))

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Remember the epoch length of the interrupted run."""
        self._resumed_epoch_length = checkpoint.get('meta', {}).get(EPOCH_LENGTH)

    def _save_checkpoint_with_step(self, runner: Runner, step: int | str, meta: dict) -> None:
        super()._save_checkpoint_with_step(runner, step, meta)
        if is_main_process() and isinstance(self.file_backend, CheckpointFiles):
            self._write_pointer(Path(runner.work_dir))
            self._remove_outdated()

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        super()._save_best_checkpoint(runner, metrics)
        if is_main_process() and isinstance(self.file_backend, CheckpointFiles):
            self._remove_outdated()

    def _write_pointer(self, work_dir: Path) -> None:
        """Make the path that mmengine wrote relative, if the file is inside the folder."""
        path = Path(self.last_ckpt)
        if path.is_relative_to(work_dir):
            write_file(work_dir / POINTER, str(path.relative_to(work_dir)).encode())

    def _remove_outdated(self) -> None:
        best = getattr(self, 'best_ckpt_path_dict', {}).values()
        current = [self.last_ckpt, getattr(self, 'best_ckpt_path', None), *best]
        self.file_backend.remove_outdated({Path(path) for path in current if path})
