"""The hooks that save checkpoints safely and resume from them."""

from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from mmengine.dist import all_reduce, broadcast_object_list, is_main_process
from mmengine.hooks import CheckpointHook, EMAHook, Hook
from mmengine.runner import Runner

from mmdet_detnet.arguments import reject
from mmdet_detnet.checkpoints import (
    BACKEND,
    RUN,
    CheckpointFiles,
    find_newest,
    find_others,
    keep_own_files,
    make_plain,
    sweep,
)
from mmdet_detnet.registry import HOOKS

from .resuming import (
    checkpoint_folder,
    claim_folder,
    compare_settings,
    digest_annotations,
    is_validation_due,
    loop_position,
    read_early_stopping,
    restore_early_stopping,
    skip_finished_batches,
    whole_loader,
)
from .termination import EXIT_CODE, TerminationRequest, shield_workers, stop_workers

# Further keys of a checkpoint's `meta`.
EPOCH_LENGTH = 'epoch_length'
VALIDATED = 'validated'
EARLY_STOPPING = 'early_stopping'
NUM_RANKS = 'num_ranks'
ANNOTATIONS = 'annotation_digests'


@HOOKS.register_module()
class DurableCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook`` with atomic files and exact resuming.

    * A checkpoint is written to a temporary file, flushed and renamed, before older ones are
      removed. A killed run or a full disk leaves the last one.
    * ``resume`` without a file takes the newest intact checkpoint of the last run in the folder and
      logs those it skipped; it is an error if there is none. Checkpoints of other runs are left
      alone.
    * On SIGTERM, training finishes the step, saves, and exits with 143. A checkpoint saved inside
      an epoch resumes there; an interrupted validation is repeated.
    * The state of ``EarlyStoppingHook`` is saved, too. A warning says if the number of ranks, the
      annotation files or the schedules are others after an interruption.

    If ``backend_args`` or ``file_client_args`` is set, that backend writes the files instead. The
    arguments are those of the parent.
    """

    # Attributes of the parent.
    backend_args: dict | None
    best_ckpt_path: str | None
    best_ckpt_path_dict: dict[str, str | None]
    last_ckpt: str

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.filename_tmpl.count('{}') != 1:
            reject(self, 'filename_tmpl', self.filename_tmpl, 'a name with one {} for the number')
        if self.backend_args is None and self.file_client_args is None:
            self.backend_args = dict(backend=BACKEND)
        self._termination = TerminationRequest()
        self._run = ''
        self._resumed: dict[str, Any] = {}
        self._annotations: dict[str, str] = {}
        # Epoch and iteration of the last checkpoint; epoch (or iteration) of the last validation.
        self._saved: tuple[int, int] | None = None
        self._validated = 0
        self._metrics: dict[str, Any] = {}
        # Validation iterations that every rank has.
        self._num_common = 0

    def before_run(self, runner: Runner) -> None:
        """Choose the file to resume from if the config and command line name none."""
        # mmengine reads these after this call; a hook cannot choose the file in any other way.
        if runner._resume and runner._load_from is None:
            runner._load_from = self._find_newest(runner)

    def _find_newest(self, runner: Runner) -> str:
        folder = checkpoint_folder(runner)
        # All ranks resume from the file that the main process finds.
        answer: list[Any] = [None, None]
        if is_main_process():
            answer[:] = find_newest(folder, self.filename_tmpl)
        broadcast_object_list(answer)
        newest, skipped = answer
        for line in skipped:
            runner.logger.warning(f'Not resumed from: {line}.')
        if newest is None:
            raise FileNotFoundError(
                f'nothing to resume from: no intact {self.filename_tmpl.format("*")} in '
                f'{folder}.{"".join(f" {line}." for line in skipped)} '
                'Name another checkpoint after --resume, or start from scratch: omit --resume, or '
                'give mmdet-detnet train --from-start.'
            )
        return str(newest)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Remember what the interrupted run has noted, and compare the settings."""
        if not runner._resume:
            return
        keep_own_files(checkpoint, checkpoint_folder(runner))
        self._resumed = checkpoint.get('meta', {})
        if sentence := compare_settings(runner, checkpoint):
            runner.logger.warning(sentence)

    def before_train(self, runner: Runner) -> None:
        """Claim the folder, and take up the interrupted run where it was."""
        super().before_train(runner)
        self._run = self._resumed.get(RUN) or uuid4().hex
        if is_main_process():
            self._claim = claim_folder(Path(self.out_dir), self._run)
            self._warn_of_changes(runner)
        self._termination.listen()
        loops = (runner.train_loop, runner.val_loop)
        for loader in [loop.dataloader for loop in loops if loop is not None]:
            shield_workers(loader)
        restore_early_stopping(runner, self._resumed.get(EARLY_STOPPING, {}))
        skip_finished_batches(runner, self._resumed.get(EPOCH_LENGTH))
        self._validated = self._resumed.get(VALIDATED, loop_position(runner))
        if self._validated != loop_position(runner) and is_validation_due(runner):
            # mmengine notes the best one in the last one only where there is one.
            self.last_ckpt = runner._load_from
            runner.val_loop.run()

    def _warn_of_changes(self, runner: Runner) -> None:
        self._annotations = digest_annotations(runner)
        # By content: a copied run may have them elsewhere.
        before = self._resumed.get(ANNOTATIONS, self._annotations).values()
        if changed := [file for file, digest in self._annotations.items() if digest not in before]:
            runner.logger.warning(
                f'Annotations have changed since the checkpoint was saved: {", ".join(changed)}.'
            )
        num_ranks = self._resumed.get(NUM_RANKS, runner.world_size)
        if num_ranks != runner.world_size:
            runner.logger.warning(
                f'The checkpoint is of a run with {num_ranks} ranks, and this one has '
                f'{runner.world_size}: batches and random numbers differ from here on.'
            )
        if others := find_others(Path(self.out_dir), self.filename_tmpl, self._run):
            runner.logger.warning(
                f'{self.out_dir} has checkpoints of another run, which are not '
                f'resumed from: {", ".join(others)}.'
            )

    def after_train_epoch(self, runner: Runner) -> None:
        """Save as mmengine does; the next epoch uses all batches."""
        super().after_train_epoch(runner)
        runner.train_loop.dataloader = whole_loader(runner)

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        """Save if it is time to, and stop after a SIGTERM."""
        super().after_train_iter(runner, *args, **kwargs)
        if self._termination.is_agreed():
            iteration = runner.iter + 1
            step = f'{runner.epoch}_iter_{iteration}' if self.by_epoch else iteration
            self._save_checkpoint_with_step(runner, step, dict(epoch=runner.epoch, iter=iteration))
            self._exit(runner)

    def before_val_epoch(self, runner: Runner) -> None:
        """Find out how many iterations of the validation all ranks have."""
        count = torch.tensor(len(runner.val_dataloader))
        all_reduce(count, 'min')
        self._num_common = int(count)

    def after_val_iter(self, runner: Runner, batch_idx: int, **kwargs: Any) -> None:
        """Stop after a SIGTERM during validation, which the resumed run repeats."""
        if batch_idx < self._num_common and self._termination.is_agreed():
            self._save_and_exit(runner, is_validating=True)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, Any] | None = None) -> None:
        """Keep the metrics until all hooks have taken note of them."""
        self._metrics = metrics or {}

    def after_val(self, runner: Runner) -> None:
        """Save the best checkpoint as mmengine does, and stop after a SIGTERM."""
        if not self._run:
            return  # Runner.val without training
        # Saved together with the state of the hooks that have seen the metrics.
        self._validated = loop_position(runner)
        super().after_val_epoch(runner, self._metrics)
        if self._termination.is_agreed():
            self._save_and_exit(runner)

    def _save_and_exit(self, runner: Runner, is_validating: bool = False) -> None:
        """Save the state between an epoch and the next, unless it has been saved."""
        if self._saved != (runner.epoch, runner.iter):
            if is_validating:
                # The weights are the averaged ones.
                for hook in runner.hooks:
                    if isinstance(hook, EMAHook):
                        hook.after_val_epoch(runner)
            step = runner.epoch if self.by_epoch else runner.iter
            meta = dict(epoch=runner.epoch, iter=runner.iter)
            self._save_checkpoint_with_step(runner, step, meta)
        self._exit(runner)

    def _exit(self, runner: Runner) -> None:
        runner.logger.warning(f'SIGTERM: saved {self.last_ckpt}. Continue with --resume.')
        stop_workers()
        raise SystemExit(EXIT_CODE)

    def after_train(self, runner: Runner) -> None:
        """Publish as mmengine does, stop handling SIGTERM, and give the folder back."""
        self._termination.stop_listening()
        super().after_train(runner)
        if is_main_process():
            self._claim.close()

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Note what resuming needs besides what mmengine saves."""
        checkpoint['meta'].update(
            {
                RUN: self._run,
                EPOCH_LENGTH: len(whole_loader(runner)),
                VALIDATED: self._validated,
                EARLY_STOPPING: read_early_stopping(runner),
                NUM_RANKS: runner.world_size,
                ANNOTATIONS: self._annotations,
            }
        )

    def _save_checkpoint_with_step(self, runner: Runner, step: int | str, meta: dict) -> None:
        self._saved = (meta['epoch'], meta['iter'])
        super()._save_checkpoint_with_step(runner, step, meta)
        self._remove_outdated()

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        super()._save_best_checkpoint(runner, metrics)
        self._remove_outdated()

    def _remove_outdated(self) -> None:
        """Remove old checkpoints, and what earlier, killed saves have left."""
        if not is_main_process() or not isinstance(self.file_backend, CheckpointFiles):
            return
        folder = Path(self.out_dir)
        steps = self.keep_ckpt_ids if self.max_keep_ckpts > 0 else ()
        kept = {folder / self.filename_tmpl.format(step) for step in steps}
        sweep(folder, self.filename_tmpl, kept, self._run)
        best = {**getattr(self, 'best_ckpt_path_dict', {})}
        if getattr(self, 'best_ckpt_path', None):
            best[self.key_indicators[0]] = self.best_ckpt_path
        for name, path in best.items():
            template = f'best_{name}_{self.filename_tmpl}'.replace('/', '_')
            sweep(folder, template, {Path(path)} if path else set(), self._run)


@HOOKS.register_module()
class PlainCheckpointHook(Hook):
    """Write checkpoints that ``torch.load(..., weights_only=True)`` can read.

    mmengine pickles the message hub's objects. To load them, torch must be told to trust classes,
    which malicious files can exploit. This hook writes plain values instead;
    :mod:`mmdet_detnet.checkpoints` restores the objects when a file is loaded.

    The configs list it in ``default_hooks``, so configs with their own ``custom_hooks`` keep it.
    """

    # After all hooks that add to the checkpoint.
    priority = 'LOWEST'

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Make the checkpoint plain."""
        make_plain(checkpoint)
