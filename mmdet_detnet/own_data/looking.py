"""Show the results of a trained detector: pictures in a folder, and one page with them."""

import base64
import html
import json
from pathlib import Path
from typing import NamedTuple

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from mmdet_detnet.analysis.contact_sheet import make_contact_sheet
from mmdet_detnet.analysis.errors import Errors, draw_matrix, find_errors
from mmdet_detnet.analysis.misalignment import read_ground_truth, run_detector
from mmdet_detnet.analysis.training_curves import plot_training

NUM_WORST = 8
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
    """A picture of the page: heading, description and file."""

    heading: str
    text: str
    file: Path


def look(
    config: Path, checkpoint: Path, work_dir: Path, out_dir: Path, score_thr: float = 0.3
) -> Path:
    """Draw all pictures and write the page.

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
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    errors, numbers = _detect(config, checkpoint, score_thr)
    draw_matrix(errors, out_dir / 'confusion_matrix.png')
    sheet = make_contact_sheet(config, checkpoint, out_dir / 'contact_sheet.png', 8, score_thr)
    pictures = [
        Picture('Test images', 'Ground truth on the left, detections on the right.', sheet),
        Picture(
            'Confusion matrix',
            'An object and a detection match at an IoU of at least 0.5. The last column '
            'counts missed objects, the last row detections without an object.',
            out_dir / 'confusion_matrix.png',
        ),
    ]
    worst = errors.worst(NUM_WORST)
    if worst:
        indices = [numbers[image] for image in worst]
        file = out_dir / 'worst.png'
        make_contact_sheet(config, checkpoint, file, NUM_WORST, score_thr, indices=indices)
        text = 'The images with most missed objects and most detections without an object.'
        pictures.insert(1, Picture('Worst images', text, file))
    try:
        curves = plot_training(work_dir, out=out_dir / 'training.png')
        pictures.append(Picture('Training', 'Loss and average precision.', curves))
    except FileNotFoundError:
        pass  # A checkpoint from another machine has no logs.
    _write_numbers(errors, out_dir / 'errors.json')
    page = out_dir / 'index.html'
    body = _table(errors) + ''.join(map(_section, pictures))
    text = PAGE.format(
        title=html.escape(config.stem),
        checkpoint=html.escape(checkpoint.name),
        score_thr=score_thr,
        body=body,
    )
    page.write_text(text, encoding='utf-8')
    return page


def _detect(
    config: Path, checkpoint: Path, score_thr: float
) -> tuple[Errors, dict[int | str, int]]:
    """Compare detections on the test set with its objects; index its images."""
    cfg = Config.fromfile(config)
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    loader = Runner.build_dataloader(cfg.test_dataloader)
    truths = read_ground_truth(loader.dataset)
    samples = run_detector(cfg, checkpoint, loader, get_device())
    errors = find_errors(samples, truths, loader.dataset.metainfo['classes'], score_thr)
    return errors, {image: number for number, image in enumerate(truths)}


def _rows(errors: Errors) -> list[tuple[str, int, int, int, int]]:
    """Count the objects of each class, and those found, missed and invented."""
    rows = []
    for label, name in enumerate(errors.classes):
        found = int(errors.matrix[label, label])
        objects = int(errors.matrix[label].sum())
        detections = int(errors.matrix[:, label].sum())
        rows.append((name, objects, found, objects - found, detections - found))
    return rows


def _write_numbers(errors: Errors, file: Path) -> None:
    names = ('class', 'objects', 'found', 'missed', 'invented')
    rows = [dict(zip(names, row, strict=True)) for row in _rows(errors)]
    file.write_text(json.dumps({'classes': rows, 'matrix': errors.matrix.tolist()}, indent=1))


def _table(errors: Errors) -> str:
    head = '<tr><th>class<th>objects<th>found<th>missed<th>invented</tr>'
    rows = [
        '<tr>' + ''.join(f'<td>{html.escape(str(cell))}' for cell in row) + '</tr>'
        for row in _rows(errors)
    ]
    return f'<table>{head}{"".join(rows)}</table>\n'


def _section(picture: Picture) -> str:
    data = base64.b64encode(picture.file.read_bytes()).decode()
    return (
        f'<h2>{picture.heading}</h2><p>{picture.text}</p>'
        f'<img alt="{picture.heading}" src="data:image/png;base64,{data}">\n'
    )
