"""Evaluate an ONNX file next to its detector in PyTorch: AP, time and equal detections."""

import copy
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from torch import nn

from mmdet_detnet.deployment import OnnxDetector

from .evaluators import BOX_AP, build_evaluators, evaluate_each
from .loading import load_detector

MAX_SCORE_DIFFERENCE = 1e-4
MAX_CORNER_DIFFERENCE = 1e-3  # pixels


@dataclass
class Result:
    """Results of one detector.

    Attributes:
        box_ap: COCO box AP; NaN without detections.
        seconds: Time of each image.
        detections: ``bboxes``, ``scores`` and ``labels`` of each image.
    """

    box_ap: float = math.nan
    seconds: list[float] = field(default_factory=list)
    detections: list[InstanceData] = field(default_factory=list)

    @property
    def median_seconds(self) -> float:
        """The median time of an image, without the first one."""
        return median(self.seconds[1:] or self.seconds)


def evaluate(cfg: Config, detectors: Mapping[str, nn.Module]) -> dict[str, Result]:
    """Run detectors on the test images in turn, one image at a time.

    Args:
        cfg: Config with the test images, and COCO's metric as ``test_evaluator``.
        detectors: Detectors with a ``test_step``, by name.

    Returns:
        The results of each, by name.
    """
    loader = Runner.build_dataloader(
        dict(cfg.test_dataloader, batch_size=1, num_workers=0, persistent_workers=False)
    )
    evaluators = build_evaluators(detectors, cfg.test_evaluator, loader.dataset.metainfo)
    results = {name: Result() for name in detectors}
    for data in loader:
        for name, detector in detectors.items():
            sample = _run(detector, copy.deepcopy(data), results[name])
            evaluators[name].process(data_samples=[sample], data_batch=data)
    for name, metrics in evaluate_each(evaluators, len(loader.dataset)).items():
        results[name].box_ap = metrics.get(BOX_AP, math.nan)
    return results


@torch.no_grad()
def _run(detector: nn.Module, data: dict[str, Any], result: Result) -> Any:
    start = time.perf_counter()
    (sample,) = detector.test_step(data)
    result.seconds.append(time.perf_counter() - start)
    result.detections.append(sample.pred_instances)
    return sample


def count_matches(found: InstanceData, truth: InstanceData) -> int:
    """Count equal detections of two detectors in one image.

    Args:
        found: Detections of one detector.
        truth: Detections of the other.

    Returns:
        Number of pairs with the same label, scores within 1e-4 and corners within 1e-3 pixels. Each
        detection is in at most one pair.
    """
    is_equal = found.labels[:, None] == truth.labels
    is_equal &= (found.scores[:, None] - truth.scores).abs() < MAX_SCORE_DIFFERENCE
    corners = (found.bboxes[:, None] - truth.bboxes).abs().amax(-1)
    is_equal &= corners < MAX_CORNER_DIFFERENCE
    matches = 0
    for row in is_equal:
        if row.any():
            is_equal[:, row.int().argmax()] = False
            matches += 1
    return matches


def evaluate_onnx(
    config: str | Path,
    file: str | Path,
    checkpoint: str | Path | None = None,
    num_threads: int | None = None,
) -> str:
    """Evaluate an ONNX file on the test images of its config.

    Args:
        config: Config file of the detector.
        file: ONNX file of :func:`.export_onnx`.
        checkpoint: Checkpoint of the detector, to run it in PyTorch, too; None for the file alone.
        num_threads: Threads of each; None for torch's default.

    Returns:
        A table of box AP, time per image and number of equal detections.

    Raises:
        FileNotFoundError: If one of the files is missing.
        ValueError: If the files are of different detectors.
    """
    register_all_modules()
    if num_threads is not None:
        torch.set_num_threads(num_threads)
    detectors: dict[str, nn.Module] = {}
    if checkpoint is not None:
        detectors['PyTorch'] = load_detector(config, checkpoint, device='cpu')
    exported = detectors['onnxruntime'] = OnnxDetector(file, torch.get_num_threads())
    cfg = Config.fromfile(config)
    exported.check_config(cfg)
    return format_results(evaluate(cfg, detectors))


def format_results(results: Mapping[str, Result]) -> str:
    """Format a table of results; the others are compared with the first one."""
    (first, *others) = results.items()
    lines = [f'{"":<14}{"box AP":>8}{"ms/image":>10}{"ratio":>8}   equal detections']
    for name, result in (first, *others):
        ratio = result.median_seconds / first[1].median_seconds
        row = f'{name:<14}{result.box_ap:>8.3f}{1000 * result.median_seconds:>10.1f}{ratio:>8.2f}'
        if result is not first[1]:
            matches, number = compare(result, first[1])
            row += f'   {matches} of {number}'
        lines.append(row)
    return '\n'.join(lines)


def compare(result: Result, reference: Result) -> tuple[int, int]:
    """Count the equal detections of two detectors in all images.

    Args:
        result: Results of one detector.
        reference: Results of another, for the same images.

    Returns:
        Number of equal detections, and the number if none were missing, added or different.
    """
    pairs = list(zip(result.detections, reference.detections, strict=True))
    matches = sum(count_matches(found, truth) for found, truth in pairs)
    return matches, sum(max(len(found), len(truth)) for found, truth in pairs)
