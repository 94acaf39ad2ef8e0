"""Several evaluators for one pass over a dataset."""

from collections.abc import Iterable
from typing import Any, TypeVar

from mmengine.config import ConfigDict
from mmengine.evaluator import Evaluator

from .metrics import quiet

BOX_AP = 'coco/bbox_mAP'

Key = TypeVar('Key')


def build_evaluators(
    keys: Iterable[Key], cfg: ConfigDict | list[ConfigDict], metainfo: dict[str, Any]
) -> dict[Key, Evaluator]:
    """Build equal evaluators for detectors or their settings.

    Args:
        keys: What the evaluators are for.
        cfg: Config of the evaluator, such as a config's ``val_evaluator``.
        metainfo: Meta information of the dataset.

    Returns:
        The evaluators by key.
    """
    evaluators = {key: Evaluator(cfg) for key in keys}
    for evaluator in evaluators.values():
        evaluator.dataset_meta = metainfo
    return evaluators


def evaluate_each(evaluators: dict[Key, Evaluator], num_images: int) -> dict[Key, dict[str, float]]:
    """Evaluate the detections that each evaluator has processed, without COCO's long tables.

    Args:
        evaluators: The evaluators by key.
        num_images: Size of the dataset.

    Returns:
        The metrics by key, without undefined ones.
    """
    results = {}
    for key, evaluator in evaluators.items():
        with quiet():
            metrics = evaluator.evaluate(num_images)
        # COCO returns -1 if there are no objects, for example no small ones.
        results[key] = {name: value for name, value in metrics.items() if value >= 0}
    return results
