"""Line charts as SVG, for pages that need no other file and follow their reader's colors."""

import html
import math
from collections.abc import Sequence
from typing import NamedTuple

WIDTH, HEIGHT = 420, 300
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 30, 44
# Colors that the page's style sheet defines as `.c0` ...; further lines of a chart are gray.
NUM_COLORS = 8


class Line(NamedTuple):
    """A line of a chart, bold if it is the main one; points with a value of NaN are left out."""

    name: str
    points: Sequence[tuple[float, float]]
    is_main: bool = False


def draw_chart(
    lines: Sequence[Line],
    x_label: str,
    y_label: str,
    x_mark: float | None = None,
    y_max: float | None = None,
) -> str:
    """Draw lines over a grid from 0, with a legend below, as HTML with an ``<svg>`` element.

    Args:
        lines: The lines.
        x_label: What x is.
        y_label: What y is.
        x_mark: x of a dashed vertical line.
        y_max: Top of the chart; None for the highest value.
    """
    kept = [[p for p in line.points if all(map(math.isfinite, p))] for line in lines]
    points = [point for line in kept for point in line]
    x_step, x_top = _scale(max((x for x, _ in points), default=1))
    y_step, y_top = _scale(y_max or max((y for _, y in points), default=1))

    def at_x(x: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * x / x_top

    def at_y(y: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * y / y_top

    left, right, top, bottom = LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM
    parts = []
    for value in _ticks(x_step, x_top):
        x = at_x(value)
        parts.append(f'<path class="grid" d="M{x:.1f} {top}V{bottom}"/>')
        parts.append(_text(x, bottom + 18, f'{value:g}'))
    for value in _ticks(y_step, y_top):
        y = at_y(value)
        parts.append(f'<path class="grid" d="M{left} {y:.1f}H{right}"/>')
        parts.append(_text(left - 8, y + 5, f'{value:g}', 'end'))
    if x_mark is not None:
        parts.append(f'<path class="mark" d="M{at_x(x_mark):.1f} {top}V{bottom}"/>')
    legend = []
    # Bold lines come last, on top of the others.
    for number, (line, drawn) in sorted(
        enumerate(zip(lines, kept, strict=True)), key=lambda pair: pair[1][0].is_main
    ):
        style = 'main' if line.is_main else f'c{number}' if number < NUM_COLORS else 'rest'
        name = html.escape(line.name)
        path = 'L'.join(f'{at_x(x):.1f} {at_y(y):.1f}' for x, y in drawn)
        if path:
            parts.append(f'<path class="line {style}" d="M{path}"><title>{name}</title></path>')
        if style != 'rest':
            legend.append(f'<span class="{style}">{name}</span>')
    parts.append(_text((left + right) / 2, HEIGHT - 6, x_label))
    parts.append(_text(left, top - 10, y_label, 'start'))
    if len(lines) > NUM_COLORS + 1:
        legend.append('<span class="rest">other classes</span>')
    return (
        f'<figure class="chart"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{y_label} over {x_label}">{"".join(parts)}</svg>'
        f'<figcaption class="legend">{" ".join(legend)}</figcaption></figure>'
    )


def _ticks(step: float, top: float) -> list[float]:
    return [step * number for number in range(round(top / step) + 1)]


def _text(x: float, y: float, text: str, anchor: str = 'middle') -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(text)}</text>'


def _scale(maximum: float) -> tuple[float, float]:
    """Choose a step of 1, 2 or 5 times a power of ten, and the step at or above the maximum."""
    maximum = maximum if maximum > 0 else 1.0
    power = 10.0 ** math.floor(math.log10(maximum / 5))
    step = next(each * power for each in (1, 2, 5, 10) if maximum / (each * power) <= 5.001)
    return step, step * math.ceil(maximum / step - 1e-6)
