"""Polygons as boxes and as COCO's masks."""

from collections.abc import Sequence

from mmdet_detnet.data.records import LabeledBox

Point = Sequence[float]
Box = tuple[float, float, float, float]


def outline_box(points: Sequence[Point]) -> Box:
    """Compute the box around points.

    Args:
        points: Positions ``(x, y)`` in pixels, at least one.

    Returns:
        Left, top, width and height.
    """
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)


def polygon_area(points: Sequence[Point]) -> float:
    """Compute the area of a polygon by the shoelace formula.

    Args:
        points: Its corners in order, in pixels.

    Returns:
        The area in square pixels.
    """
    following = [*points[1:], points[0]]
    pairs = zip(points, following, strict=True)
    return abs(sum(x * next_y - next_x * y for (x, y), (next_x, next_y) in pairs)) / 2


def read_polygon(label: str, points: Sequence[Point]) -> LabeledBox:
    """Make an object of a polygon: its box, its area and a mask.

    Args:
        label: Class name.
        points: Corners of the polygon in order, in pixels.

    Returns:
        The object.
    """
    ring = [value for point in points for value in point]
    area = polygon_area(points)
    return LabeledBox(label, outline_box(points), segmentation=[ring], area=area)
