"""A runner whose terminal is left to warnings and a progress hook."""

import contextlib
import io
import logging
from typing import Any

from mmengine.logging import MMLogger
from mmengine.runner import Runner
from torch import nn

from mmdet_detnet.registry import RUNNERS


@RUNNERS.register_module()
class QuietRunner(Runner):
    """mmengine's runner, which logs to its file; the terminal gets warnings only.

    It is chosen by ``runner_type='mmdet_detnet.QuietRunner'``.
    """

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """Build the logger, and leave only warnings to its terminal.

        Args:
            *args: As of the parent.
            **kwargs: As of the parent.

        Returns:
            The logger.
        """
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.setLevel(max(handler.level, logging.WARNING))
                handler.addFilter(_concerns_user)
        return logger

    def train(self) -> nn.Module:
        """Train; what libraries such as pycocotools print goes to the log file."""
        files = (each for each in self.logger.handlers if isinstance(each, logging.FileHandler))
        stream = next((file.stream for file in files), io.StringIO())
        with contextlib.redirect_stdout(stream):
            return super().train()


def _concerns_user(record: logging.LogRecord) -> bool:
    """Tell a warning from mmengine's about its own code."""
    return 'deprecated' not in record.getMessage()
