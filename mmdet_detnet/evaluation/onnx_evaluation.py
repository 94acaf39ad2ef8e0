"""Evaluate an ONNX file next to its detector in PyTorch: AP, time and equal detections."""

import copy
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import torch
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from torch import nn

from mmdet_detnet.config import load_config
from mmdet_detnet.deployment import OnnxDetector

from .loading import load_detector, read_ground_truth, to_coco
from .metrics import Detection, coco_figures

MAX_SCORE_DIFFERENCE = 1e-4
MAX_CORNER_DIFFERENCE = 1e-3  # pixels


@dataclass
class Result:
    """Results of one detector: time and detections of each image, and COCO's box AP."""

    box_ap: float = math.nan
    seconds: list[float] = field(default_factory=list)
    detections: list[InstanceData] = field(default_factory=list)

    @property
    def median_seconds(self) -> float:
        """The median time of an image, without the first one."""
        return median(self.seconds[1:] or self.seconds)


@torch.no_grad()
def evaluate(cfg: Config, detectors: Mapping[str, nn.Module]) -> dict[str, Result]:
    """Run detectors on the test images in turn, one image at a time.

    Args:
        cfg: Config with the test images, a ``CocoDataset``.
        detectors: Detectors with a ``test_step``, by name.

    Returns:
        The results of each, by name.
    """
    loader = Runner.build_dataloader(
        dict(cfg.test_dataloader, batch_size=1, num_workers=0, persistent_workers=False)
    )
    results = {name: Result() for name in detectors}
    found: dict[str, list[Detection]] = {name: [] for name in detectors}
    for data in loader:
        for name, detector in detectors.items():
            own = copy.deepcopy(data)
            start = time.perf_counter()
            (sample,) = detector.test_step(own)
            results[name].seconds.append(time.perf_counter() - start)
            results[name].detections.append(sample.pred_instances)
            found[name] += to_coco(sample.to_dict(), loader.dataset)
    truth = read_ground_truth(loader.dataset)
    for name, result in results.items():
        box_ap = coco_figures(truth, found[name])[0]['AP']
        result.box_ap = math.nan if box_ap is None else box_ap
    return results


def count_matches(found: InstanceData, truth: InstanceData) -> int:
    """Count the equal detections of two detectors in one image.

    Equal are pairs with the same label, scores within 1e-4 and corners within 1e-3 pixels. Each
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
        config: As for :func:`~mmdet_detnet.config.load_config`.
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
    cfg = load_config(config)
    exported.check_config(cfg)
    return format_results(evaluate(cfg, detectors))


def format_results(results: Mapping[str, Result]) -> str:
    """Format a table of results; the others are compared with the first one."""
    first = next(iter(results.values()))
    lines = [f'{"":<14}{"box AP":>8}{"ms/image":>10}{"ratio":>8}   equal detections']
    for name, result in results.items():
        ratio = result.median_seconds / first.median_seconds
        row = f'{name:<14}{result.box_ap:>8.3f}{1000 * result.median_seconds:>10.1f}{ratio:>8.2f}'
        if result is not first:
            pairs = list(zip(result.detections, first.detections, strict=True))
            equal = sum(count_matches(*pair) for pair in pairs)
            # The number if none were missing, added or different.
            row += f'   {equal} of {sum(max(map(len, pair)) for pair in pairs)}'
        lines.append(row)
    return '\n'.join(lines)
