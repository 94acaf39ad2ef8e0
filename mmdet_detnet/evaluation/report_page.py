"""The report of a detector as one HTML file, for a desktop and a phone."""

import base64
import io
import json
import shlex
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import mmcv
import numpy as np
from jinja2 import Environment, FileSystemLoader
from matplotlib.figure import Figure

from mmdet_detnet.files import OutputFolder
from mmdet_detnet.training.runs import find_checkpoint, find_work_dir

from .errors import Box, ImageErrors
from .report import (
    CLASS_COLUMNS,
    SCORE_COLUMNS,
    SCORE_GRID,
    Report,
    class_cells,
    format_rate,
    score_cells,
    shorten,
    test,
)

LOG_NAME = 'vis_data/scalars.json'
NUM_WORST, NUM_OTHERS = 12, 4
JPEG_QUALITY = 85
NUM_COLORS = 8  # further lines of a chart are gray
KINDS = {
    'hit': 'found',
    'miss': 'missed',
    'false': 'false: no object there',
    'wrong': 'of a wrong class',
}
METRICS = ('bbox_mAP', 'bbox_mAP_50', 'segm_mAP', 'segm_mAP_50')
FOLDER = Path(__file__).parent
PAGES = Environment(loader=FileSystemLoader(FOLDER), autoescape=True, trim_blocks=True)
PAGES.filters['rate'] = format_rate

# Names of lines, with their points: arrays (n, 2).
Lines = Sequence[tuple[str, Any]]


def look(
    config: str | Path,
    checkpoint: str | Path | None = None,
    work_dir: str | Path | None = None,
    out_dir: str | Path | None = None,
    score_thr: float | None = None,
    **options: Any,
) -> Path:
    """Test a detector, and write its report as a page that needs no other file.

    Arguments and errors are those of :func:`.test`. The log of the run in ``work_dir`` gives the
    training curves; ``index.html`` and ``report.json`` are in ``out_dir``, or in its folder
    ``look``.

    Returns:
        Path of the page.

    Raises:
        FileExistsError: If ``out_dir`` has files of these names that are not from us.
    """
    work_dir = Path(work_dir or find_work_dir(Path(config)))
    checkpoint = checkpoint or find_checkpoint(work_dir)
    output = OutputFolder(out_dir or work_dir / 'look')
    output.check('index.html', 'report.json')
    report = test(config, checkpoint, work_dir, score_thr, **options)
    command = ['mmdet-detnet', 'look', shorten(config), '--checkpoint', shorten(checkpoint)]
    command += [] if score_thr is None else ['--score-thr', str(score_thr)]
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
    names = [row.name for row in report.classes]
    pictures = [_picture(each, n, names) for n, each in enumerate((*worst, *others), 1)]
    return PAGES.get_template('report_page.html').render(
        title=title,
        style=FOLDER.joinpath('report_page.css').read_text(),
        report=report,
        names=names,
        kinds=KINDS,
        class_columns=CLASS_COLUMNS,
        class_cells=class_cells,
        score_columns=SCORE_COLUMNS,
        score_cells=score_cells,
        score_charts=[_draw_f1(report, names), _draw_precision(report, names)],
        worst=pictures[: len(worst)],
        others=pictures[len(worst) :],
        training_charts=_draw_training(work_dir),
    )


def _picture(image: ImageErrors, number: int, names: Sequence[str]) -> dict[str, Any]:
    """Describe an image; its boxes are drawn over it as vectors, which any zoom keeps sharp."""
    pixels = mmcv.imread(image.path)
    height, width = pixels.shape[:2]
    encoded = cv2.imencode('.jpg', pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    font_size = width / 36
    # The errors come last, on top of what is right.
    boxes = sorted(image.boxes, key=lambda box: box.kind != 'hit')
    wrong = {label for box in boxes if box.kind != 'hit' for label in (box.found, box.true)}
    return dict(
        errors=image,
        number=number,
        width=width,
        height=height,
        font_size=font_size,
        data=base64.b64encode(encoded.tobytes()).decode(),
        boxes=[_describe_box(box, names, font_size) for box in boxes],
        wrong=sorted(wrong - {-1}),
    )


def _describe_box(box: Box, names: Sequence[str], font_size: float) -> dict[str, Any]:
    left, top, width, height = (round(float(value), 1) for value in box.bbox)
    text = names[box.true if box.kind == 'miss' else box.found]
    if box.score is not None:
        text += f' {box.score:.2f}'
    if box.kind == 'wrong':
        text += f', is {names[box.true]}'
    shift = -0.3 if top > 1.5 * font_size else 1.1
    described = dict(kind=box.kind, text=text, text_y=round(top + shift * font_size, 1))
    return described | dict(left=left, top=top, width=width, height=height)


def _draw_f1(report: Report, names: Sequence[str]) -> str:
    curves = [np.column_stack((SCORE_GRID, values)) for values in report.f1]
    lines = list(zip((*names, report.total.name), curves, strict=True))
    return _draw(lines, 'score', 'F1', has_main=True, top=1, mark=report.score_thr.all)


def _draw_precision(report: Report, names: Sequence[str]) -> str:
    recalls = np.linspace(0, 1, report.precisions.shape[1])
    curves = [np.column_stack((recalls, values)) for values in report.precisions]
    lines = list(zip(names, curves, strict=True))
    defined = report.precisions[~np.isnan(report.precisions).any(1)]
    if len(defined):
        lines.append(('mean', np.column_stack((recalls, defined.mean(0)))))
    return _draw(lines, 'recall at an IoU of 0.5', 'precision', has_main=len(defined) > 0, top=1)


def _draw_training(work_dir: Path) -> list[str]:
    records = read_training_log(work_dir)
    names = {name for record in records if 'loss' in record for name in record if 'loss' in name}
    ordered = sorted(names, key=lambda name: (name == 'loss', name))
    losses = [(name, select_values(records, name)) for name in ordered]
    precisions = [(n, points) for n in METRICS if (points := select_values(records, n))]
    unit = 'epoch' if any('epoch' in record for record in records) else 'iteration'
    charts = [_draw(losses, 'iteration', 'loss', has_main=True)] if losses else []
    charts += [_draw(precisions, unit, 'validation AP', top=1)] if precisions else []
    return charts


def _draw(
    lines: Lines,
    x_label: str,
    y_label: str,
    has_main: bool = False,
    top: float | None = None,
    mark: float | None = None,
) -> str:
    """Draw lines as SVG, the last one bold if it is the main one."""
    with (
        matplotlib.rc_context({'svg.fonttype': 'none', 'text.parse_math': False}),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter('ignore', UserWarning)  # of signs that the font lacks
        figure = Figure(figsize=(5, 4), layout='constrained')
        axes = figure.subplots()
        handles: list[Any] = []
        labels: list[str] = []
        for number, (name, points) in enumerate(lines):
            is_main = has_main and number == len(lines) - 1
            style = f'C{number}' if number < NUM_COLORS else 'silver'
            style = 'black' if is_main else style
            x, y = np.transpose(points)
            (line,) = axes.plot(x, y, color=style, linewidth=3 if is_main else 1.5)
            if style != 'silver':
                handles.append(line)
                labels.append(name)
        if mark is not None:
            axes.axvline(mark, color='gray', linestyle='--', linewidth=1)
        axes.set(xlabel=x_label, ylabel=y_label, xlim=(0, None), ylim=(0, top))
        axes.grid(alpha=0.5)
        figure.legend(handles, labels, loc='outside lower center', ncols=3, frameon=False)
        stream = io.StringIO()
        nothing = dict.fromkeys(('Creator', 'Date', 'Format', 'Type'))
        figure.savefig(stream, format='svg', transparent=True, metadata=nothing)
    svg = stream.getvalue()
    # Black lines take the text's color, which is light on a dark page.
    return svg[svg.index('<svg') :].replace('#000000', 'currentColor')


def read_training_log(work_dir: Path) -> list[dict[str, Any]]:
    """Read the log of the newest run in a work directory and of those that it resumed.

    Each run has its own folder, named by its start time. Training records have keys such as
    ``'loss'``, ``'iter'`` and, in epoch-based loops, ``'epoch'``; validation records have metrics,
    and as ``'step'`` the epoch or, in other loops, the iteration of the training record before. A
    checkpoint from elsewhere has no log.

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
        if not any('epoch' in record for record in records):
            # There, mmengine notes the pass through the data.
            records = _number_validations(records)
        if starts:
            # A resumed run repeats what came after its checkpoint; a fresh start repeats all.
            joined = [record for record in joined if _position(record) < starts[0]] + records
    return joined


def _number_validations(records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give the validations of an iteration-based run the iteration of the record before."""
    numbered = []
    iteration = 0
    for record in records:
        iteration = record['step'] if 'loss' in record else iteration
        numbered.append(record | {'step': iteration})
    return numbered


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
