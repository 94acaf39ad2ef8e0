"""Average precision of a trained detector for several values of a setting of its inference.

:func:`sweep_conf_exponent` varies the exponent of RetinaNet-Conf's joint score, :func:`sweep_gate`
the score below which Double-Head-Ext spares a RoI the conv-head. Both take one pass over the
validation images.
"""

import json
import math
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from matplotlib.figure import Figure
from mmengine.runner import Runner
from tabulate import tabulate
from torch import nn
from tqdm import tqdm

from mmdet_detnet.benchmark.parts import wait_for
from mmdet_detnet.files import OutputFolder
from mmdet_detnet.models import DoubleHeadRoIHead
from mmdet_detnet.models.retinanet_conf import SELECTION_SCORES, ConfidenceBranch

from .detections import read_ground_truth, to_coco
from .loading import load_detector
from .metrics import FIGURES, Detection, coco_figures

EXPONENTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
THRESHOLDS = (0.001, 0.01, 0.02, 0.05, 0.1)
PRECISIONS = FIGURES[:6]
LINE_STYLES = dict(zip(SELECTION_SCORES, ('-', '--'), strict=True))


class Scoring(NamedTuple):
    """How a head with a confidence branch scores.

    Attributes:
        select_by: Score that ``score_thr`` and ``nms_pre`` apply to, 'joint' or 'cls'. At the same
            threshold, the joint score lets more boxes pass with a higher exponent, so only the
            class score compares exponents on the same candidates.
        conf_exponent: Exponent of the confidence in the joint score.
    """

    select_by: str
    conf_exponent: float


# COCO's figures of each scoring; undefined ones are None.
Results = dict[Scoring, dict[str, float | None]]


def sweep_conf_exponent(
    config: str | Path,
    checkpoint: str | Path,
    out_dir: str | Path,
    exponents: Sequence[float] = EXPONENTS,
    **options: Any,
) -> Results:
    """Evaluate a detector on its validation set for each exponent and both values of select_by.

    The network runs once; its outputs are converted to detections for each scoring.

    Args:
        config: Config file of a detector with a ConfidenceRetinaHead or ConfidenceATSSHead.
        checkpoint: Checkpoint file of the detector.
        out_dir: Folder for ``sweep.json`` and ``sweep.png``.
        exponents: Values of ``conf_exponent``, each in [0, 1).
        **options: As for :func:`.load_detector`.

    Raises:
        FileNotFoundError: If the config, the checkpoint or the dataset is missing.
        ValueError: If the detector has another head, an exponent is out of range, or the
            checkpoint is of another detector.
    """
    output = OutputFolder(out_dir)
    output.check('sweep.json', 'sweep.png')
    model = load_detector(config, checkpoint, **options)
    head = getattr(model, 'bbox_head', None)
    if not isinstance(head, ConfidenceBranch):
        raise ValueError(
            f'{config} must have a confidence branch in model.bbox_head, got {type(head).__name__}.'
        )
    for exponent in exponents:
        head.conf_exponent = exponent  # rejects invalid values before anything runs
    loader = Runner.build_dataloader(model.cfg.val_dataloader)
    detections: dict[Scoring, list[Detection]] = {
        Scoring(select_by, e): [] for select_by in SELECTION_SCORES for e in exponents
    }
    with torch.no_grad():
        for batch in tqdm(loader):
            data = model.data_preprocessor(batch, False)
            outputs = model(**data, mode='tensor')
            samples = data['data_samples']
            metas = [sample.metainfo for sample in samples]
            for scoring, found in detections.items():
                head.select_by, head.conf_exponent = scoring
                boxes = head.predict_by_feat(*outputs, batch_img_metas=metas, rescale=True)
                for sample in model.add_pred_to_datasample(samples, boxes):
                    found += to_coco(sample.cpu().to_dict(), loader.dataset)
    truth = read_ground_truth(loader.dataset)
    results = {scoring: coco_figures(truth, found)[0] for scoring, found in detections.items()}
    rows = [{**scoring._asdict(), **figures} for scoring, figures in results.items()]
    output.path('sweep.json').write_text(json.dumps(rows, indent=1))
    _plot(results, output.path('sweep.png'))
    return results


def _plot(results: Results, file: Path) -> None:
    figure = Figure(figsize=(7, 5), dpi=120, layout='constrained')
    axes = figure.subplots()
    for index, name in enumerate(PRECISIONS):
        for select_by, style in LINE_STYLES.items():
            points = [
                (scoring.conf_exponent, math.nan if figures[name] is None else figures[name])
                for scoring, figures in results.items()
                if scoring.select_by == select_by
            ]
            axes.plot(*zip(*points, strict=True), f'C{index}o{style}', label=f'{name}, {select_by}')
    axes.set(xlabel='conf_exponent', ylabel='average precision', ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(loc='center left', bbox_to_anchor=(1, 0.5))
    figure.savefig(file)


def format_table(results: Results) -> str:
    """Format the average precision of each scoring as a Markdown table."""
    rows = [
        [
            select_by,
            f'{exponent:g}',
            *('-' if figures[name] is None else f'{figures[name]:.3f}' for name in PRECISIONS),
        ]
        for (select_by, exponent), figures in results.items()
    ]
    titles = ['select_by', 'exponent', *PRECISIONS]
    return tabulate(rows, titles, tablefmt='github', disable_numparse=True)


@dataclass
class Gate:
    """A way to score with two heads, with its results.

    Attributes:
        fusion: As for ``DoubleConvFCBBoxHead``; ``gate_score_thr`` as for ``DoubleHeadRoIHead``.
        rois: Number of RoIs in the conv-head, over all images.
        seconds: Time of each batch, from images to boxes.
    """

    fusion: str
    gate_score_thr: float | None
    rois: int = 0
    seconds: list[float] = field(default_factory=list)
    detections: list[Detection] = field(default_factory=list)


def sweep_gate(
    config: str | Path,
    checkpoint: str | Path,
    thresholds: Sequence[float] = THRESHOLDS,
    **options: Any,
) -> str:
    """Evaluate a Double-Head-Ext on its validation set, exactly and with skipped RoIs.

    Each batch runs with all gates in turn, so that their times are comparable.

    Args:
        config: Config file of the detector.
        checkpoint: Checkpoint file of the detector.
        thresholds: Values of ``gate_score_thr``, each in [0, 1].
        **options: As for :func:`.load_detector`.

    Returns:
        A Markdown table for exact fused scores, each threshold, and ``fusion='none'``: RoIs per
        image in the conv-head, box AP, and median time relative to exact.

    Raises:
        FileNotFoundError: If the config, the checkpoint or the dataset is missing.
        ValueError: If the detector does not fuse scores, a threshold is out of range, or the
            checkpoint is of another detector.
    """
    model = load_detector(config, checkpoint, **options)
    roi_head = getattr(model, 'roi_head', None)
    if not isinstance(roi_head, DoubleHeadRoIHead) or not roi_head.bbox_head.fuses_scores:
        raise ValueError(
            f'{config} must have a DoubleHeadRoIHead that fuses scores (Ext), got '
            f'{type(roi_head).__name__}.'
        )
    if not all(0 <= threshold <= 1 for threshold in thresholds):
        raise ValueError(f'thresholds must be in 0 to 1, got {list(thresholds)}.')
    fusion = roi_head.bbox_head.fusion
    gates = {fusion: Gate(fusion, None)}
    gates |= {f'gate {threshold:g}': Gate(fusion, threshold) for threshold in thresholds}
    gates['none'] = Gate('none', None)
    loader = Runner.build_dataloader(model.cfg.val_dataloader)
    device = next(model.parameters()).device
    for batch in tqdm(loader):
        for gate in gates.values():
            roi_head.bbox_head.fusion = gate.fusion
            roi_head.gate_score_thr = gate.gate_score_thr
            with torch.no_grad(), _counting(roi_head.bbox_head.res_block) as sizes:
                wait_for(device)
                start = time.perf_counter()
                samples = model.test_step(batch)
                wait_for(device)
                gate.seconds.append(time.perf_counter() - start)
            gate.rois += sum(sizes)
            for sample in samples:
                gate.detections += to_coco(sample.cpu().to_dict(), loader.dataset)
    truth = read_ground_truth(loader.dataset)
    rows = []
    for name, gate in gates.items():
        box_ap = coco_figures(truth, gate.detections)[0]['AP']
        ratios = (a / b for a, b in zip(gate.seconds, gates[fusion].seconds, strict=True))
        rows.append(
            {
                'scores': name,
                'RoIs convolved': f'{gate.rois / len(loader.dataset):.0f}',
                'box AP': '-' if box_ap is None else f'{box_ap:.3f}',
                'time': f'{statistics.median(ratios):.2f}',
            }
        )
    return tabulate(rows, headers='keys', tablefmt='github', disable_numparse=True)


@contextmanager
def _counting(layer: nn.Module) -> Iterator[list[int]]:
    sizes: list[int] = []
    handle = layer.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    try:
        yield sizes
    finally:
        handle.remove()
