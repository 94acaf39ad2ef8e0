"""A runner whose terminal is left to warnings and a progress hook."""

import logging
from typing import Any

from mmengine.logging import MMLogger
from mmengine.runner import Runner

from mmdet_detnet.registry import RUNNERS


@RUNNERS.register_module()
class QuietRunner(Runner):
    """mmengine's runner, which logs to its file; the terminal gets warnings only.

    It is chosen by ``runner_type='mmdet_detnet.QuietRunner'``.
    """

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """Build the logger, and raise the level of its terminal.

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
        return logger
