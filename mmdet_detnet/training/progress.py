"""What a terminal shows of a run: warnings, and how far it is."""

import contextlib
import io
import logging
import sys
import time
from datetime import timedelta
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer, MMLogger
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import nn
from tqdm import tqdm

from mmdet_detnet.registry import HOOKS, RUNNERS

# Reading the loss makes a GPU wait: only so often, in iterations.
INTERVAL = 10
# Without tqdm's own time left, which is that of the epoch.
BAR = '{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{postfix}'


@HOOKS.register_module()
class ProgressHook(Hook):
    """Show one bar per epoch on a terminal, one line per epoch elsewhere.

    Both have the loss, the time left and the last AP. The other half is
    :class:`QuietRunner`, which keeps all else out of the way.

    Args:
        metric: Name of the metric to show after each validation.
    """

    priority = 'VERY_LOW'

    def __init__(self, metric: str = 'coco/bbox_mAP') -> None:
        self.metric = metric
        self._start = 0.0
        self._out = sys.stdout  # QuietRunner redirects it for the others in training

    def before_train(self, runner: Runner) -> None:
        """Say where everything else is logged."""
        self._start = time.monotonic()
        unit, _, total = _extent(runner)
        self._say(f'{unit}: {total}; the full log: {runner.logger._log_file}')

    def before_train_epoch(self, runner: Runner) -> None:
        """Begin a bar."""
        is_by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
        self._bar = tqdm(
            total=len(runner.train_dataloader) if is_by_epoch else runner.max_iters,
            initial=0 if is_by_epoch else runner.iter,
            desc=f'epoch {runner.epoch + 1}/{runner.max_epochs}',
            disable=not (is_main_process() and sys.stderr.isatty()),
            leave=False,
            bar_format=BAR,
        )

    def after_train_iter(self, runner: Runner, batch_idx: int, **kwargs: Any) -> None:
        """Move the bar."""
        self._bar.update()
        if batch_idx % INTERVAL == 0 and not self._bar.disable:
            self._bar.set_postfix_str(self._describe(runner))

    def after_train_epoch(self, runner: Runner) -> None:
        """End the bar and leave a line."""
        self._bar.close()
        self._say(f'epoch {runner.epoch + 1}/{runner.max_epochs}: {self._describe(runner)}')

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Show the AP."""
        if history := self._history(runner):
            self._say(f'    validation: AP {history.current():.3f}, best {history.max():.3f}')

    def after_train(self, runner: Runner) -> None:
        """Sum up."""
        took = timedelta(seconds=round(time.monotonic() - self._start))
        history = self._history(runner)
        best = f', best AP {history.max():.3f}' if history else ''
        early = ', stopped early' if runner.train_loop.stop_training else ''
        unit, done, _ = _extent(runner)
        self._say(f'{unit} trained: {done}, in {took}{best}{early}')

    def _history(self, runner: Runner) -> HistoryBuffer | None:
        """Return the metric of all validations, also of those before an interruption."""
        return runner.message_hub.log_scalars.get(f'val/{self.metric}')

    def _describe(self, runner: Runner) -> str:
        hub = runner.message_hub
        parts = [f'loss {hub.get_scalar("train/loss").mean(INTERVAL):.3f}']
        if history := self._history(runner):
            parts.append(f'AP {history.current():.3f}')
        left = hub.get_info('eta') if 'eta' in hub.runtime_info else 0
        return ', '.join([*parts, f'{timedelta(seconds=round(left))} left'])

    def _say(self, text: str) -> None:
        if is_main_process():
            print(text, file=self._out, flush=True)


def _extent(runner: Runner) -> tuple[str, int, int]:
    """Return the unit of a training loop, how many are done, and how many there are."""
    if isinstance(runner.train_loop, EpochBasedTrainLoop):
        return 'epochs', runner.epoch, runner.max_epochs
    return 'iterations', runner.iter, runner.max_iters


@RUNNERS.register_module()
class QuietRunner(Runner):
    """mmengine's runner, which logs to its file; the terminal gets warnings only.

    It is chosen by ``runner_type='mmdet_detnet.QuietRunner'``.
    """

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """Build the parent's logger, and leave only warnings to its terminal."""
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.setLevel(max(handler.level, logging.WARNING))
                # mmengine's warnings about its own code are of no use here.
                handler.addFilter(lambda record: 'deprecated' not in record.getMessage())
        return logger

    def train(self) -> nn.Module:
        """Train; what libraries such as pycocotools print goes to the log file."""
        files = (each for each in self.logger.handlers if isinstance(each, logging.FileHandler))
        stream = next((file.stream for file in files), io.StringIO())
        with contextlib.redirect_stdout(stream):
            return super().train()
