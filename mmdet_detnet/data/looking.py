"""Show the results of a trained detector: pictures in a folder, and one page with them."""

import base64
import contextlib
import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mmengine.dataset import BaseDataset
from mmengine.runner import Runner
from torch import nn

from mmdet_detnet.evaluation.contact_sheet import draw_contact_sheet
from mmdet_detnet.evaluation.detections import read_ground_truth, run_detector
from mmdet_detnet.evaluation.errors import Errors, draw_matrix, find_errors
from mmdet_detnet.evaluation.loading import load_detector
from mmdet_detnet.evaluation.training_curves import plot_training

NUM_IMAGES = 8  # on a contact sheet
COLUMNS = ('class', 'objects', 'found', 'missed', 'false positives')
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 16px/1.5 sans-serif; max-width: 1200px; margin: 2em auto; padding: 0 1em }}
img {{ max-width: 100%; border: 1px solid #ccc }}
td, th {{ padding: 0.2em 1em; text-align: right }}
td:first-child, th:first-child {{ text-align: left }}
</style></head><body>
<h1>{title}</h1>
<p>{checkpoint}. Detections with a score above {score_thr:g} are shown and counted.</p>
{body}
</body></html>
"""


class Picture(NamedTuple):
    """A picture of the page.

    Attributes:
        heading: Its heading.
        text: Its description.
        file: The image.
    """

    heading: str
    text: str
    file: Path


def look(
    config: Path, checkpoint: Path, work_dir: Path, out_dir: Path, score_thr: float = 0.3
) -> Path:
    """Run a detector on its test set, draw the results and write the page.

    Args:
        config: Config of the detector, with its test set.
        checkpoint: The weights.
        work_dir: Work directory of the training, for the curves.
        out_dir: Output folder.
        score_thr: Only detections with a higher score are shown and counted.

    Returns:
        Path of the page, which needs no other files.

    Raises:
        FileNotFoundError: If the config, the checkpoint or the data set is missing.
        ValueError: If the checkpoint is of another detector.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    model = load_detector(config, checkpoint)
    loader = Runner.build_dataloader(model.cfg.test_dataloader)
    truths = read_ground_truth(loader.dataset)
    classes = loader.dataset.metainfo['classes']
    errors = find_errors(run_detector(model, loader), truths, classes, score_thr)
    _write_counts(errors, out_dir / 'errors.json')
    ids = [*truths]
    worst = [ids.index(image) for image in errors.worst(NUM_IMAGES)]
    pictures = [
        *_draw_sheets(model, loader.dataset, worst, out_dir, score_thr),
        _draw_matrix(errors, out_dir),
        *_draw_curves(work_dir, out_dir),
    ]
    text = PAGE.format(
        title=html.escape(config.stem),
        checkpoint=html.escape(checkpoint.name),
        score_thr=score_thr,
        body=_make_table(errors) + ''.join(map(_make_section, pictures)),
    )
    page = out_dir / 'index.html'
    page.write_text(text, encoding='utf-8')
    return page


def _draw_sheets(
    model: nn.Module, dataset: BaseDataset, worst: Sequence[int], out_dir: Path, score_thr: float
) -> list[Picture]:
    """Draw the first images, and the worst ones if there are any."""
    first = range(min(NUM_IMAGES, len(dataset)))
    file = draw_contact_sheet(model, dataset, first, out_dir / 'contact_sheet.png', score_thr)
    text = 'Ground truth on the left, detections on the right.'
    pictures = [Picture('Test images', text, file)]
    if worst:
        file = draw_contact_sheet(model, dataset, worst, out_dir / 'worst.png', score_thr)
        text = 'The images with most missed objects and false positives.'
        pictures.append(Picture('Worst images', text, file))
    return pictures


def _draw_matrix(errors: Errors, out_dir: Path) -> Picture:
    file = out_dir / 'confusion_matrix.png'
    draw_matrix(errors, file)
    text = (
        'An object and a detection match at an IoU of at least 0.5. The last column '
        'counts missed objects, the last row detections without an object.'
    )
    return Picture('Confusion matrix', text, file)


def _draw_curves(work_dir: Path, out_dir: Path) -> list[Picture]:
    with contextlib.suppress(FileNotFoundError):  # no log: the checkpoint is from elsewhere
        file = plot_training(work_dir, out=out_dir / 'training.png')
        return [Picture('Training', 'Loss and average precision.', file)]
    return []


def _count(errors: Errors) -> list[tuple[str, int, int, int, int]]:
    """Count for each class what ``COLUMNS`` names."""
    rows = []
    for label, name in enumerate(errors.classes):
        found = int(errors.matrix[label, label])
        objects = int(errors.matrix[label].sum())
        detections = int(errors.matrix[:, label].sum())
        rows.append((name, objects, found, objects - found, detections - found))
    return rows


def _write_counts(errors: Errors, file: Path) -> None:
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in _count(errors)]
    file.write_text(json.dumps({'classes': rows, 'matrix': errors.matrix.tolist()}, indent=1))


def _make_table(errors: Errors) -> str:
    head = ''.join(f'<th>{name}' for name in COLUMNS)
    rows = [
        '<tr>' + ''.join(f'<td>{html.escape(str(cell))}' for cell in row) + '</tr>'
        for row in _count(errors)
    ]
    return f'<table><tr>{head}</tr>{"".join(rows)}</table>\n'


def _make_section(picture: Picture) -> str:
    data = base64.b64encode(picture.file.read_bytes()).decode()
    return (
        f'<h2>{picture.heading}</h2><p>{picture.text}</p>'
        f'<img alt="{picture.heading}" src="data:image/png;base64,{data}">\n'
    )
