"""Evaluate Double-Head-Ext with RoIs that skip the conv-head at test time."""

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner
from tabulate import tabulate
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from mmdet_detnet.benchmark.inference_split import wait_for
from mmdet_detnet.models import DoubleHeadRoIHead

from .evaluators import BOX_AP, build_evaluators, evaluate_each
from .loading import load_detector

THRESHOLDS = (0.001, 0.01, 0.02, 0.05, 0.1)


@dataclass
class Variant:
    """A way to score detections of two heads, with the results.

    Attributes:
        fusion: As for ``DoubleConvFCBBoxHead``.
        gate_score_thr: As for ``DoubleHeadRoIHead``.
        rois: Number of RoIs in the conv-head, over all images.
        seconds: Time of each batch, from images to boxes.
        metrics: Metrics from the evaluator.
    """

    fusion: str
    gate_score_thr: float | None
    rois: int = 0
    seconds: list[float] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Both settings in a few words."""
        return self.fusion if self.gate_score_thr is None else f'gate {self.gate_score_thr:g}'


def sweep_gate(
    config: str | Path,
    checkpoint: str | Path,
    thresholds: Sequence[float] = THRESHOLDS,
    cfg_options: dict[str, Any] | None = None,
    device: str | None = None,
    allow_mismatch: bool = False,
) -> str:
    """Evaluate a Double-Head-Ext on its validation set, exactly and with skipped RoIs.

    Each batch runs with all variants in turn, so that their times are comparable.

    Args:
        config: Config file of the detector, with ``val_dataloader`` and ``val_evaluator``.
        checkpoint: Checkpoint file of the detector.
        thresholds: Values of ``gate_score_thr``, each in [0, 1].
        cfg_options: Settings that override the config's, as for ``tools/test.py``.
        device: Device of the detector; None for a GPU if there is one.
        allow_mismatch: Whether the checkpoint may be of another detector than the config's.

    Returns:
        A Markdown table for exact fused scores, each threshold, and ``fusion='none'``: RoIs per
        image in the conv-head, box AP, and median time relative to exact.

    Raises:
        FileNotFoundError: If the config, the checkpoint or the data set is missing.
        ValueError: If the detector does not fuse scores, a threshold is out of range,
            or the checkpoint is of another detector.
    """
    model = load_detector(config, checkpoint, cfg_options, device, allow_mismatch)
    roi_head = getattr(model, 'roi_head', None)
    if not isinstance(roi_head, DoubleHeadRoIHead) or not roi_head.bbox_head.fuses_scores:
        raise ValueError(
            f'{config} must have a DoubleHeadRoIHead that fuses scores (Ext), got '
            f'{type(roi_head).__name__}.'
        )
    if not all(0 <= threshold <= 1 for threshold in thresholds):
        raise ValueError(f'thresholds must be in 0 to 1, got {list(thresholds)}.')
    fusion = roi_head.bbox_head.fusion
    gates = [Variant(fusion, threshold) for threshold in thresholds]
    variants = [Variant(fusion, None), *gates, Variant('none', None)]
    loader = Runner.build_dataloader(model.cfg.val_dataloader)
    names = [variant.name for variant in variants]
    evaluators = build_evaluators(names, model.cfg.val_evaluator, loader.dataset.metainfo)
    _process(model, loader, variants, evaluators)
    metrics = evaluate_each(evaluators, len(loader.dataset))
    for variant in variants:
        variant.metrics = metrics[variant.name]
    return _format_table(variants, len(loader.dataset))


@torch.no_grad()
def _process(
    model: nn.Module,
    loader: DataLoader,
    variants: Sequence[Variant],
    evaluators: dict[str, Evaluator],
) -> None:
    device = next(model.parameters()).device
    head = model.roi_head.bbox_head
    for batch in tqdm(loader):
        for variant in variants:
            head.fusion, model.roi_head.gate_score_thr = variant.fusion, variant.gate_score_thr
            with _counting(head.res_block) as sizes:
                wait_for(device)
                start = time.perf_counter()
                detections = model.test_step(batch)
                wait_for(device)
                variant.seconds.append(time.perf_counter() - start)
            variant.rois += sum(sizes)
            evaluators[variant.name].process(detections, batch)


@contextmanager
def _counting(layer: nn.Module) -> Iterator[list[int]]:
    sizes: list[int] = []
    handle = layer.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    try:
        yield sizes
    finally:
        handle.remove()


def _format_table(variants: Sequence[Variant], num_images: int) -> str:
    exact = variants[0]
    lines = [
        {
            'scores': variant.name,
            'RoIs convolved': f'{variant.rois / num_images:.0f}',
            'box AP': f'{variant.metrics.get(BOX_AP, 0):.3f}',
            'time': f'{_relative_time(variant, exact):.2f}',
        }
        for variant in variants
    ]
    return tabulate(lines, headers='keys', tablefmt='github', disable_numparse=True)


def _relative_time(variant: Variant, exact: Variant) -> float:
    pairs = zip(variant.seconds, exact.seconds, strict=True)
    return statistics.median(ours / theirs for ours, theirs in pairs)
