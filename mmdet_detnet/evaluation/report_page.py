"""The report of a detector as one HTML file, for a desktop and a phone."""

import base64
import html
import json
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import mmcv
import numpy as np

from mmdet_detnet.files import OutputFolder
from mmdet_detnet.training.runs import find_checkpoint, find_work_dir

from .errors import Box, ImageErrors
from .line_chart import Line, draw_chart
from .report import (
    CLASS_COLUMNS,
    SCORE_COLUMNS,
    SCORE_GRID,
    Report,
    class_cells,
    format_rate,
    score_cells,
    test,
)

LOG_NAME = 'vis_data/scalars.json'
NUM_WORST, NUM_OTHERS = 12, 4
JPEG_QUALITY = 85
KINDS = {
    'hit': 'found',
    'miss': 'missed',
    'false': 'false: no object there',
    'wrong': 'of a wrong class',
}
METRICS = ('bbox_mAP', 'bbox_mAP_50', 'segm_mAP', 'segm_mAP_50')
STYLE = Path(__file__).with_name('report_page.css')


def look(
    config: str | Path,
    checkpoint: str | Path | None = None,
    work_dir: str | Path | None = None,
    out_dir: str | Path | None = None,
    score_thr: float | None = None,
    **options: Any,
) -> Path:
    """Test a detector, and write its report as a page that needs no other file.

    Args:
        config: Config file of the detector, with datasets in COCO's format.
        checkpoint: Its weights; None for the best of the run.
        work_dir: Work directory of the run, with its log; None for the config's.
        out_dir: Folder for ``index.html`` and ``report.json``; None for ``look`` in ``work_dir``.
        score_thr: Only detections with a higher score count; None for the best scores.
        **options: As for :func:`.test`.

    Returns:
        Path of the page.

    Raises:
        FileExistsError: If ``out_dir`` has files of these names that are not from us.
        FileNotFoundError: If the config, the checkpoint or a dataset is missing.
        ValueError: As of :func:`.test`.
    """
    work_dir = Path(work_dir or find_work_dir(Path(config)))
    checkpoint = checkpoint or find_checkpoint(work_dir)
    output = OutputFolder(out_dir or work_dir / 'look')
    output.check('index.html', 'report.json')
    report = test(config, checkpoint, work_dir, score_thr, **options)
    command = ['mmdet-detnet', 'look', str(config), '--checkpoint', str(checkpoint)]
    report.source['Command'] = shlex.join(command)
    output.path('report.json').write_text(json.dumps(report.to_dict(), indent=1))
    page = output.path('index.html')
    page.write_text(make_page(report, Path(config).stem, work_dir), encoding='utf-8')
    return page


def make_page(report: Report, title: str, work_dir: Path) -> str:
    """Return the page as HTML; without a log in ``work_dir``, it has no training curves."""
    worst = report.worst(NUM_WORST)
    rest = [image for image in report.images if image not in worst]
    others = rest[:: max(1, len(rest) // NUM_OTHERS)][:NUM_OTHERS]
    numbers = {image.path: number for number, image in enumerate([*worst, *others], 1)}
    sections = [
        ('', _facts(report.source)),
        ('Average precision', _figures(report)),
        ('Classes', _classes(report, worst)),
        ('Score', _scores(report) + _precision_curves(report)),
        ('Confusion', _confusion(report)),
        ('Worst images', _switches() + ''.join(_picture(each, numbers, report) for each in worst)),
        ('Other images', ''.join(_picture(each, numbers, report) for each in others)),
        ('Training', _training(work_dir)),
    ]
    body = ''.join(
        f'<section>{f"<h2>{heading}</h2>" if heading else ""}{content}</section>\n'
        for heading, content in sections
        if content
    )
    title = html.escape(title)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{title}</title><style>{STYLE.read_text()}</style></head>\n'
        f'<body><h1>{title}</h1>\n{body}</body></html>\n'
    )


def _facts(source: Any) -> str:
    rows = ''.join(
        f'<dt>{html.escape(topic)}</dt><dd>{html.escape(text)}</dd>'
        for topic, text in source.items()
    )
    return f'<dl>{rows}</dl>'


def _table(columns: Iterable[str], rows: Iterable[str]) -> str:
    """Make a table of HTML rows that scrolls in its own box."""
    head = ''.join(f'<th scope="col">{column}</th>' for column in columns)
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f'<tbody>{"".join(rows)}</tbody></table></div>'
    )


def _row(cells: Sequence[str], style: str = '', extra: str = '') -> str:
    first, *others = map(html.escape, cells)
    others = [f'<td>{cell}</td>' for cell in others]
    return f'<tr{style}><th scope="row">{first}</th>{"".join(others)}{extra}</tr>'


def _figures(report: Report) -> str:
    kinds = {'boxes': report.figures, 'masks': report.mask_figures}
    rows = [
        _row([kind, *map(format_rate, figures.values())])
        for kind, figures in kinds.items()
        if figures
    ]
    return _table(['', *report.figures], rows) + (
        '<p>As COCO defines them: AP is the mean over IoU thresholds from 0.5 to 0.95; small '
        'objects have less than 32² pixels, large ones more than 96². A dash is undefined.</p>'
    )


def _classes(report: Report, worst: Sequence[ImageErrors]) -> str:
    rows = []
    for label, row in enumerate(report.classes):
        links = ' '.join(
            f'<a href="#image-{number}">{number}</a>'
            for number, image in enumerate(worst, 1)
            if any(label in (box.true, box.found) and box.kind != 'hit' for box in image.boxes)
        )
        rows.append(
            _row(class_cells(row), f' id="class-{label}"', f'<td class="links">{links}</td>')
        )
    rows.append(_row(class_cells(report.total), ' class="total"', '<td></td>'))
    return _table([*CLASS_COLUMNS, 'errors in image'], rows) + (
        '<p>Only detections with a higher score than <em>score</em> count, which is the best of '
        'each class; the last row has one score for all. A found object overlaps a detection of '
        'its class with an IoU of at least 0.5.</p>'
    )


def _scores(report: Report) -> str:
    rows = [
        _row(score_cells(*move), ' class="total"' * (move[0] == report.score_thr.all))
        for move in report.moves
    ]
    lines = [
        Line(row.name, list(zip(SCORE_GRID, values, strict=True)), row is report.total)
        for row, values in zip((*report.classes, report.total), report.f1, strict=True)
    ]
    return (
        '<p>What another score for all classes gives, on these images:</p>'
        + _table(SCORE_COLUMNS, rows)
        + draw_chart(lines, 'score', 'F1', report.score_thr.all, y_max=1)
    )


def _precision_curves(report: Report) -> str:
    recalls = np.linspace(0, 1, report.precisions.shape[1])
    lines = [
        Line(row.name, list(zip(recalls, values, strict=True)))
        for row, values in zip(report.classes, report.precisions, strict=True)
    ]
    defined = report.precisions[~np.isnan(report.precisions).any(1)]
    if len(defined):
        lines.append(Line('mean', list(zip(recalls, defined.mean(0), strict=True)), True))
    return draw_chart(lines, 'recall at an IoU of 0.5', 'precision', y_max=1)


def _confusion(report: Report) -> str:
    names = [html.escape(row.name) for row in report.classes]
    rows = []
    for name, counts in zip([*names, 'nothing'], report.matrix, strict=True):
        cells = [f'<th scope="row">{name}</th>']
        for count, share in zip(counts, counts / max(counts.sum(), 1), strict=True):
            text = f'{count}<small>{share:.0%}</small>' if count else '0'
            cells.append(f'<td style="--share:{share:.0%}">{text}</td>')
        rows.append(f'<tr>{"".join(cells)}</tr>')
    return _table(['', *names, 'missed'], rows) + (
        f'<p>Row: what it is. Column: what it is detected as, above {report.score_thr.all:.3f}. '
        'Below each count, its share of the row.</p>'
    )


def _switches() -> str:
    """Make a legend with which the reader hides kinds of boxes."""
    return (
        '<p class="switches">'
        + ''.join(
            f'<label class="{kind}"><input type="checkbox" id="{kind}" checked> {text}</label> '
            for kind, text in KINDS.items()
        )
        + '</p>'
    )


def _picture(image: ImageErrors, numbers: dict[str, int], report: Report) -> str:
    """Draw the boxes over an image, as vectors that any zoom keeps sharp."""
    pixels = mmcv.imread(image.path)
    height, width = pixels.shape[:2]
    encoded = cv2.imencode('.jpg', pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    data = base64.b64encode(encoded.tobytes()).decode()
    names = [row.name for row in report.classes]
    # The errors come last, on top of what is right.
    boxes = sorted(image.boxes, key=lambda box: box.kind != 'hit')
    wrong = {label for box in boxes if box.kind != 'hit' for label in (box.found, box.true)}
    links = ', '.join(
        f'<a href="#class-{label}">{html.escape(names[label])}</a>'
        for label in sorted(wrong - {-1})
    )
    number = numbers[image.path]
    return (
        f'<figure id="image-{number}"><svg viewBox="0 0 {width} {height}" '
        f'font-size="{width / 36:.1f}"><image href="data:image/jpeg;base64,{data}" '
        f'width="{width}" height="{height}"/>'
        + ''.join(_draw_box(box, names, width / 36) for box in boxes)
        + f'</svg><figcaption>{number}. {html.escape(image.file_name)}: {image.missed} missed, '
        f'{image.false} false {f"({links})" if links else ""}</figcaption></figure>\n'
    )


def _draw_box(box: Box, names: Sequence[str], font_size: float) -> str:
    left, top, width, height = box.bbox
    text = names[box.true if box.kind == 'miss' else box.found]
    if box.score is not None:
        text += f' {box.score:.2f}'
    if box.kind == 'wrong':
        text += f', is {names[box.true]}'
    text = html.escape(text)
    place = top - 0.3 * font_size if top > 1.5 * font_size else top + 1.1 * font_size
    caption = f'<text x="{left:.1f}" y="{place:.1f}">{text}</text>' * (box.kind != 'hit')
    return (
        f'<g class="{box.kind}"><rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" '
        f'height="{height:.1f}"><title>{KINDS[box.kind]}: {text}</title></rect>{caption}</g>'
    )


def _training(work_dir: Path) -> str:
    records = read_training_log(work_dir)
    names = {name for record in records if 'loss' in record for name in record if 'loss' in name}
    losses = [Line(name, select_values(records, name), name == 'loss') for name in sorted(names)]
    precisions = [Line(name, select_values(records, name)) for name in METRICS]
    precisions = [line for line in precisions if line.points]
    unit = 'epoch' if any('epoch' in record for record in records) else 'iteration'
    charts = [draw_chart(losses, 'iteration', 'loss')] if losses else []
    charts += [draw_chart(precisions, unit, 'validation AP', y_max=1)] if precisions else []
    return ''.join(charts)


def read_training_log(work_dir: Path) -> list[dict[str, Any]]:
    """Read the log of the newest run in a work directory and of those that it resumed.

    Each run has its own folder, named by its start time. Training records have keys such as
    ``'loss'``, ``'iter'`` and, in epoch-based loops, ``'epoch'``; validation records have metrics,
    and the epoch (or iteration) as ``'step'``. A checkpoint from elsewhere has no log.

    Raises:
        ValueError: If a log is damaged.
    """
    joined: list[dict[str, Any]] = []
    for file in sorted(work_dir.glob(f'*/{LOG_NAME}')):
        try:
            records = [json.loads(line) for line in file.read_text().splitlines()]
        except json.JSONDecodeError as error:
            raise ValueError(f'{file} is damaged: {error}.') from error
        starts = [_position(record) for record in records if 'loss' in record]
        if starts:
            # A resumed run repeats what came after its checkpoint; a fresh start repeats all.
            joined = [record for record in joined if _position(record) < starts[0]] + records
    return joined


def _position(record: dict[str, Any]) -> int:
    """Return the epoch or, in iteration-based loops, the iteration."""
    return record['epoch'] if 'epoch' in record else record['step']


def select_values(records: Sequence[dict[str, Any]], name: str) -> list[tuple[int, float]]:
    """Select the step and the value of a quantity, named without the evaluator's prefix."""
    return [
        (record['step'], value)
        for record in records
        for key, value in record.items()
        if key.split('/')[-1] == name
    ]
