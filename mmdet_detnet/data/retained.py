"""Records that mmdet's CocoDataset retains, and why it drops the others."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from .annotation_file import AnnotationFile, Record
from .problems import Problem, problem_of

IGNORED = 'ignored-annotation'
NOT_TRAINED = 'category-not-in-classes'
DEGENERATE = 'degenerate-box'
NO_AREA = 'area-not-positive'
OUTSIDE = 'box-outside-image'


def drop_reason(annotation: Record, image: Record, category_ids: Collection) -> str:
    """Say why CocoDataset drops an annotation, by the rules of ``CocoDataset.parse_data_info``.

    Args:
        annotation: An annotation.
        image: Its image.
        category_ids: Ids of the trained categories.

    Returns:
        The reason; empty if the annotation is retained.
    """
    left, top, width, height = annotation['bbox']
    if annotation.get('ignore', False):
        return IGNORED
    if width < 1 or height < 1:
        return DEGENERATE
    if annotation['area'] <= 0:
        return NO_AREA
    if min(left + width, image['width']) <= max(left, 0):
        return OUTSIDE
    if min(top + height, image['height']) <= max(top, 0):
        return OUTSIDE
    return '' if annotation['category_id'] in category_ids else NOT_TRAINED


@dataclass(frozen=True)
class Retained:
    """Records that CocoDataset trains on.

    Attributes:
        categories: Categories with a label, in the order of the labels.
        boxes: Each annotation with its image, including crowds.
        images: The retained images.
    """

    categories: list[Record]
    boxes: list[tuple[Record, Record]]
    images: list[Record]


def find_retained(
    file: AnnotationFile, classes: Collection[str] | None, filter_cfg: dict[str, Any]
) -> Retained:
    """Select the records that CocoDataset trains on.

    Args:
        file: Records with all fields.
        classes: Class names; None for all categories.
        filter_cfg: Option of the data set: ``filter_empty_gt`` drops images without annotations of
            these classes, ``min_size`` those with a shorter side, in pixels.

    Returns:
        Records of ``file``, in file order.
    """
    categories = [each for each in file.categories if classes is None or each['name'] in classes]
    category_ids = {category['id'] for category in categories}
    images = {image['id']: image for image in file.images}
    pairs = [
        (each, images[each['image_id']]) for each in file.annotations if each['image_id'] in images
    ]
    boxes = [pair for pair in pairs if not drop_reason(*pair, category_ids)]
    # As in ``CocoDataset.filter_data``, dropped annotations count, too.
    annotated = {
        each['image_id'] for each in file.annotations if each['category_id'] in category_ids
    }
    empty_too = not filter_cfg.get('filter_empty_gt', False)
    min_size = filter_cfg.get('min_size', 0)
    used = [
        image
        for image in images.values()
        if (empty_too or image['id'] in annotated)
        and min(image['width'], image['height']) >= min_size
    ]
    return Retained(categories, boxes, used)


def check_retained(file: AnnotationFile, retained: Retained) -> list[Problem]:
    """Find classes and images without boxes.

    Args:
        file: Records with all fields.
        retained: Records that CocoDataset retains of them.
    """
    if not retained.boxes:
        images = [f'{len(file.images)} images']
        return problem_of('no-boxes', 'CocoDataset retains no boxes.', images)
    if all(annotation['iscrowd'] for annotation, _ in retained.boxes):
        crowds = [f'{len(retained.boxes)} boxes']
        return problem_of('only-crowds', 'all boxes are crowds, which are not trained on.', crowds)
    classes_with_boxes = {annotation['category_id'] for annotation, _ in retained.boxes}
    images_with_boxes = {image['id'] for _, image in retained.boxes}
    used = {image['id'] for image in retained.images}
    return [
        *problem_of(
            'class-without-boxes',
            'classes without retained boxes.',
            [each['name'] for each in retained.categories if each['id'] not in classes_with_boxes],
            is_warning=True,
        ),
        *problem_of(
            'image-without-boxes',
            'images without retained boxes. They are used as background.',
            [each['file_name'] for each in retained.images if each['id'] not in images_with_boxes],
            is_warning=True,
        ),
        *problem_of(
            'image-left-out',
            "images that the config's filter_cfg drops: without annotations, or too small.",
            [each['file_name'] for each in file.images if each['id'] not in used],
            is_warning=True,
        ),
    ]
