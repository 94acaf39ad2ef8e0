"""Average precision of a head with a confidence branch for a list of exponents of the joint score.

The network runs once over the validation set. For each exponent, its outputs are converted to
detections twice: ``score_thr`` and ``nms_pre`` apply to the joint score or to the class score. At
the same threshold, the joint score lets more boxes pass with a higher exponent, so only the class
score compares exponents on the same candidates.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from matplotlib.figure import Figure
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner
from tabulate import tabulate
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from mmdet_detnet.models.retinanet_conf import SELECTION_SCORES, ConfidenceBranch

from .evaluators import build_evaluators, evaluate_each
from .loading import load_detector

EXPONENTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
DPI = 120
LINE_STYLES = dict(zip(SELECTION_SCORES, ('-', '--'), strict=True))


class Scoring(NamedTuple):
    """How a head with a confidence branch scores.

    Attributes:
        select_by: Score that selects boxes before NMS, 'joint' or 'cls'.
        conf_exponent: Exponent of the confidence in the joint score.
    """

    select_by: str
    conf_exponent: float


# The metrics of each scoring, by the evaluator's names.
Results = dict[Scoring, dict[str, float]]


def sweep_conf_exponent(
    config: str | Path,
    checkpoint: str | Path,
    out_dir: str | Path,
    exponents: Sequence[float] = EXPONENTS,
    cfg_options: dict[str, Any] | None = None,
    device: str | None = None,
    allow_mismatch: bool = False,
) -> Results:
    """Evaluate a detector on its validation set for each exponent and both values of select_by.

    Args:
        config: Config file of a detector with a ConfidenceRetinaHead or ConfidenceATSSHead; its
            ``val_dataloader`` and ``val_evaluator`` are used.
        checkpoint: Checkpoint file of the detector.
        out_dir: Folder for ``sweep.json`` and ``sweep.png``.
        exponents: Values of ``conf_exponent``, each in [0, 1).
        cfg_options: Settings that override the config's, as for ``tools/test.py``.
        device: Device of the detector; None for a GPU if there is one.
        allow_mismatch: Whether the checkpoint may be of another detector than the config's.

    Returns:
        The metrics of each scoring, except undefined ones: all if there are no detections, and
        those of sizes that no object has.

    Raises:
        FileNotFoundError: If the config, the checkpoint or the data set is missing.
        ValueError: If the detector has another head, an exponent is out of range,
            or the checkpoint is of another detector.
    """
    model = load_detector(config, checkpoint, cfg_options, device, allow_mismatch)
    head = getattr(model, 'bbox_head', None)
    if not isinstance(head, ConfidenceBranch):
        raise ValueError(
            f'{config} must have a confidence branch in model.bbox_head, got {type(head).__name__}.'
        )
    for exponent in exponents:
        head.conf_exponent = exponent  # rejects invalid values before anything runs
    loader = Runner.build_dataloader(model.cfg.val_dataloader)
    scorings = [Scoring(select_by, e) for select_by in SELECTION_SCORES for e in exponents]
    evaluators = build_evaluators(scorings, model.cfg.val_evaluator, loader.dataset.metainfo)
    _process(model, loader, evaluators)
    results = evaluate_each(evaluators, len(loader.dataset))
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    _write(results, out_dir / 'sweep.json')
    _plot(results, out_dir / 'sweep.png')
    return results


@torch.no_grad()
def _process(model: nn.Module, loader: DataLoader, evaluators: dict[Scoring, Evaluator]) -> None:
    """Run the network once, and pass each evaluator the detections of its scoring."""
    for batch in tqdm(loader):
        data = model.data_preprocessor(batch, False)
        outputs = model(**data, mode='tensor')
        samples = data['data_samples']
        metas = [sample.metainfo for sample in samples]
        for scoring, evaluator in evaluators.items():
            model.bbox_head.select_by, model.bbox_head.conf_exponent = scoring
            detections = model.bbox_head.predict_by_feat(
                *outputs, batch_img_metas=metas, rescale=True
            )
            # The evaluator keeps a copy, so the samples can be reused.
            evaluator.process(model.add_pred_to_datasample(samples, detections), batch)


def _metric_names(results: Results) -> list[str]:
    """List all metrics in order, including those undefined for some scorings."""
    return list(dict.fromkeys(name for metrics in results.values() for name in metrics))


def _write(results: Results, file: Path) -> None:
    rows = [{**scoring._asdict(), **metrics} for scoring, metrics in results.items()]
    file.write_text(json.dumps(rows, indent=1))


def _plot(results: Results, file: Path) -> None:
    figure = Figure(figsize=(7, 5), dpi=DPI, layout='constrained')
    axes = figure.subplots()
    for index, name in enumerate(_metric_names(results)):
        for select_by, style in LINE_STYLES.items():
            chosen = [scoring for scoring in results if scoring.select_by == select_by]
            axes.plot(
                [scoring.conf_exponent for scoring in chosen],
                [results[scoring].get(name, math.nan) for scoring in chosen],
                f'C{index}o{style}',
                label=f'{name.split("/")[-1]}, {select_by}',
            )
    axes.set(xlabel='conf_exponent', ylabel='average precision', ylim=(0, None))
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(loc='center left', bbox_to_anchor=(1, 0.5))
    figure.savefig(file)


def format_table(results: Results) -> str:
    """Format the metrics as a Markdown table.

    Args:
        results: The metrics of each scoring.

    Returns:
        The table, with one row per scoring.
    """
    names = _metric_names(results)
    titles = ['select_by', 'exponent', *(name.split('/')[-1] for name in names)]
    rows = []
    for (select_by, exponent), metrics in results.items():
        values = [f'{metrics[name]:.3f}' if name in metrics else '-' for name in names]
        rows.append([select_by, f'{exponent:g}', *values])
    return tabulate(rows, titles, tablefmt='github', disable_numparse=True)
