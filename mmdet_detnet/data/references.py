"""Check that ids are unique and that annotations refer to existing images and categories."""

from collections import Counter
from collections.abc import Iterable

from .annotation_file import AnnotationFile, is_id
from .problems import Problem, problem_of


def check_references(file: AnnotationFile, whole_file: AnnotationFile) -> list[Problem]:
    """Find duplicate ids, and annotations with unknown images or categories.

    Args:
        file: Records with all fields.
        whole_file: All records, including those with missing fields, which may be referred to.
    """
    found = _find_duplicates(file)
    for kind, records in (('image', whole_file.images), ('category', whole_file.categories)):
        known = {record['id'] for record in records if is_id(record.get('id'))}
        lost = [each['id'] for each in file.annotations if each[f'{kind}_id'] not in known]
        found += problem_of(
            f'unknown-{kind}',
            f'annotations whose {kind}_id is not in the file. CocoDataset drops them.',
            lost,
        )
    return found + problem_of(
        'annotation-id-0',
        'an annotation has the id 0. COCO evaluation always counts its box as missed.',
        [each['id'] for each in file.annotations if each['id'] == 0],
        is_warning=True,
    )


def _find_duplicates(file: AnnotationFile) -> list[Problem]:
    return [
        *problem_of(
            'duplicate-image-id',
            'duplicate image ids. Only the last image is used, with the boxes of all.',
            _duplicates(image['id'] for image in file.images),
        ),
        *problem_of(
            'duplicate-annotation-id',
            'duplicate annotation ids. CocoDataset stops with an AssertionError.',
            _duplicates(annotation['id'] for annotation in file.annotations),
        ),
        *problem_of(
            'duplicate-category-id',
            'duplicate category ids. Their boxes get the same label.',
            _duplicates(category['id'] for category in file.categories),
        ),
        *problem_of(
            'duplicate-category-name',
            'duplicate category names. CocoDataset creates more labels than classes.',
            _duplicates(category['name'] for category in file.categories),
        ),
        *problem_of(
            'duplicate-file-name',
            'image files that are listed more than once.',
            _duplicates(image['file_name'] for image in file.images),
            is_warning=True,
        ),
    ]


def _duplicates(values: Iterable[object]) -> list[object]:
    return [value for value, count in Counter(values).items() if count > 1]
