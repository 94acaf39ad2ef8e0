"""Compare the category names with the classes of the detector."""

from collections import Counter
from collections.abc import Sequence
from difflib import get_close_matches

from . import retained
from .annotation_file import AnnotationFile
from .problems import Problem, problem_of


def check_classes(
    file: AnnotationFile, classes: Sequence[str], allow_subset: bool = False
) -> list[Problem]:
    """Compare names in both directions, and their order.

    CocoDataset finds categories by name, but numbers them in file order. If a class is missing from
    the file or the order differs, labels get other names than in the config.

    Args:
        file: Records with all fields.
        classes: Class names in the order of the config.
        allow_subset: Whether categories with boxes may be missing from ``classes``.
    """
    names = [category['name'] for category in file.categories]
    of_config = [name for name in classes if name in names]
    of_file = list(dict.fromkeys(name for name in names if name in classes))
    return [
        *problem_of(
            'class-not-in-file',
            'classes that are not in the file. They get no boxes, and the labels of the '
            'following classes are shifted.',
            [_with_similar_name(name, names) for name in classes if name not in names],
        ),
        *_check_left_out(file, classes, allow_subset),
        *problem_of(
            'class-order',
            'the classes have different orders in config and file. Labels follow the file: '
            'detections get the names of other classes.',
            [f'config {of_config}, file {of_file}'] if of_config != of_file else [],
        ),
    ]


def _check_left_out(
    file: AnnotationFile, classes: Sequence[str], allow_subset: bool
) -> list[Problem]:
    num_boxes = Counter(annotation['category_id'] for annotation in file.annotations)
    left_out = [category for category in file.categories if category['name'] not in classes]
    return [
        *problem_of(
            retained.NOT_TRAINED,
            'categories that are not in the config. CocoDataset drops their boxes.',
            [
                f'{each["name"]!r} ({num_boxes[each["id"]]} boxes)'
                for each in left_out
                if num_boxes[each['id']]
            ],
            is_warning=allow_subset,
        ),
        *problem_of(
            'unused-category',
            'categories without boxes that are not in the config.',
            [repr(each['name']) for each in left_out if not num_boxes[each['id']]],
            is_warning=True,
        ),
    ]


def _with_similar_name(name: str, names: Sequence[str]) -> str:
    by_lower_case = {each.lower(): each for each in names}
    similar = get_close_matches(name.lower(), by_lower_case, n=1)
    hint = f' (the file has {by_lower_case[similar[0]]!r})' if similar else ''
    return repr(name) + hint
