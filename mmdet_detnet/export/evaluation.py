"""Detectors on the images of a config's test, side by side: AP, time, and equal detections."""

import copy
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from torch import nn

from .loading import load_detector
from .onnx_detector import OnnxDetector

MAX_SCORE_DIFFERENCE = 1e-4
MAX_CORNER_DIFFERENCE = 1e-3  # pixels
AP_NAME = 'coco/bbox_mAP'


@dataclass
class Result:
    """What one detector gave.

    Attributes:
        box_ap: COCO box AP.
        seconds: Time of each image.
        detections: Of each image: ``bboxes``, ``scores``, ``labels``.
    """

    box_ap: float = float('nan')
    seconds: list[float] = field(default_factory=list)
    detections: list[InstanceData] = field(default_factory=list)

    @property
    def median_seconds(self) -> float:
        """The median time of an image; the first one is left out."""
        return median(self.seconds[1:] or self.seconds)


def evaluate(cfg: Config, detectors: Mapping[str, nn.Module]) -> dict[str, Result]:
    """Run detectors on the test images, each image in turn, one image at a time.

    Args:
        cfg: Config with the test images and their evaluation, by COCO's metric.
        detectors: Detectors with a ``test_step``, by name.

    Returns:
        What each gave, by name.
    """
    loader = Runner.build_dataloader(
        dict(cfg.test_dataloader, batch_size=1, num_workers=0, persistent_workers=False)
    )
    evaluators = {}
    for name in detectors:
        evaluators[name] = Evaluator(cfg.test_evaluator)
        evaluators[name].dataset_meta = loader.dataset.metainfo
    results = {name: Result() for name in detectors}
    for data in loader:
        for name, detector in detectors.items():
            sample = _run(detector, copy.deepcopy(data), results[name])
            evaluators[name].process(data_samples=[sample], data_batch=data)
    for name, evaluator in evaluators.items():
        results[name].box_ap = evaluator.evaluate(len(loader.dataset))[AP_NAME]
    return results


@torch.no_grad()
def _run(detector: nn.Module, data: dict[str, Any], result: Result) -> Any:
    start = time.perf_counter()
    (sample,) = detector.test_step(data)
    result.seconds.append(time.perf_counter() - start)
    result.detections.append(sample.pred_instances)
    return sample


def count_matches(found: InstanceData, truth: InstanceData) -> int:
    """Count pairs of equal detections, each in one pair at most.

    Args:
        found: Detections of an image.
        truth: Those of another detector, in the same image.

    Returns:
        How many have one label, scores within 1e-4 and corners within 1e-3 pixels.
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
        checkpoint: Checkpoint that the file was made from, to run it in PyTorch beside it; None
            for the file alone.
        num_threads: Threads of both; None for what torch takes.

    Returns:
        A table: box AP, time of an image, and detections that are equal.

    Raises:
        FileNotFoundError: If one of the files is missing.
        ValueError: If the files are of different detectors.
    """
    register_all_modules()
    if num_threads is not None:
        torch.set_num_threads(num_threads)
    detectors: dict[str, nn.Module] = {}
    if checkpoint is not None:
        detectors['PyTorch'] = load_detector(config, checkpoint)
    exported = detectors['onnxruntime'] = OnnxDetector(file, torch.get_num_threads())
    cfg = Config.fromfile(config)
    exported.check_config(cfg)
    return format_results(evaluate(cfg, detectors))


def format_results(results: Mapping[str, Result]) -> str:
    """Write a table of what detectors gave; the first one is what the others are compared with."""
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
    """Count the equal detections of two detectors, and of all the most that can be equal.

    Args:
        result: What one detector gave.
        reference: What another gave, for the same images.

    Returns:
        The two numbers. They are the same if no detection is missing, added or different.
    """
    pairs = list(zip(result.detections, reference.detections, strict=True))
    matches = sum(count_matches(found, truth) for found, truth in pairs)
    return matches, sum(max(len(found), len(truth)) for found, truth in pairs)
