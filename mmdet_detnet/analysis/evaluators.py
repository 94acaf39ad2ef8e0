"""Several evaluators for one pass over the validation set."""

import contextlib
import io
from collections.abc import Iterable
from typing import Any, TypeVar

from mmengine.config import Config
from mmengine.evaluator import Evaluator

Key = TypeVar('Key')


def build_evaluators(
    keys: Iterable[Key], cfg: Config, metainfo: dict[str, Any]
) -> dict[Key, Evaluator]:
    """Build an evaluator for each way to detect.

    Args:
        keys: Names of the ways.
        cfg: Config with a ``val_evaluator``.
        metainfo: Meta information of the data set.

    Returns:
        The evaluators by name.
    """
    evaluators = {key: Evaluator(cfg.val_evaluator) for key in keys}
    for evaluator in evaluators.values():
        evaluator.dataset_meta = metainfo
    return evaluators


def evaluate_each(evaluators: dict[Key, Evaluator], num_images: int) -> dict[Key, dict[str, float]]:
    """Evaluate what several evaluators were shown, without COCO's long tables.

    Args:
        evaluators: By any name.
        num_images: Size of the data set.

    Returns:
        The metrics of each, without those of sizes that no object has.
    """
    results = {}
    for key, evaluator in evaluators.items():
        with contextlib.redirect_stdout(io.StringIO()):  # COCO's long table
            metrics = evaluator.evaluate(num_images)
        # COCO returns -1 if there are no objects, for example no small ones.
        results[key] = {name: value for name, value in metrics.items() if value >= 0}
    return results
