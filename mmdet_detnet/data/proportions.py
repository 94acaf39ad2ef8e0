"""Check for images so long and narrow that resizing leaves nothing of them."""

from collections.abc import Callable
from dataclasses import replace

import cv2

from .annotation_file import AnnotationFile, Record
from .problems import Problem, problem_of

Rescale = Callable[[int, int], tuple[float, float]]
# Usual long side in MMDetection.
USUAL_SIDE = 1333


def check_proportions(
    file: AnnotationFile, rescale: Rescale
) -> tuple[AnnotationFile, list[Problem]]:
    """Find images whose short side has no pixel after resizing.

    Args:
        file: Records with all fields.
        rescale: Returns the resize factors of width and height.

    Returns:
        The records without these images, and problems.
    """
    vanishing = [image for image in file.images if _vanishes(image, rescale)]
    found = problem_of(
        'extreme-proportions',
        'images without pixels after resizing. Training stops. Skipped in all further checks.',
        [f'{each["file_name"]} ({each["width"]} x {each["height"]})' for each in vanishing],
    )
    return replace(file, images=[each for each in file.images if each not in vanishing]), found


def _vanishes(image: Record, rescale: Rescale) -> bool:
    short, long = sorted((int(image['width']), int(image['height'])))
    if long > 2 * USUAL_SIDE * short:
        return True
    try:
        rescale(int(image['width']), int(image['height']))
    except cv2.error:
        return True
    return False
