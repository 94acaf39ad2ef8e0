"""Datasets in the formats of annotation tools, detected from the content of the files.

Each format has functions that recognize and read it. They are our own because conversion libraries
lose what an evaluation needs: docs/own_data.md compares them.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmdet_detnet.data.images import MESSAGES, ImageFiles, list_files, show_progress
from mmdet_detnet.data.options import FORMATS, Options
from mmdet_detnet.data.records import LabeledImage, LabeledSet, list_warnings
from mmdet_detnet.files import OutputFolder, read_json

from . import coco, json_shapes, table, voc, yolo

HEAD_SIZE = 2**16
READERS: dict[str, tuple[Callable[..., LabeledSet], dict[str, str]]] = {
    'coco': (coco.read, coco.MESSAGES),
    'voc': (voc.read, voc.MESSAGES),
    'yolo': (yolo.read, yolo.MESSAGES),
    'csv': (table.read, table.MESSAGES),
    'labelme': (json_shapes.read_labelme, json_shapes.MESSAGES),
    'createml': (json_shapes.read_createml, {}),
}
# JSON files are recognized by their content, which is read only once; others by the file.
JSON_FORMATS = {
    'coco': coco.recognizes,
    'labelme': json_shapes.is_labelme,
    'createml': json_shapes.is_createml,
}
FILE_FORMATS = {
    '.xml': ('voc', voc.recognizes),
    '.txt': ('yolo', yolo.recognizes),
    '.csv': ('csv', table.recognizes),
    '.tsv': ('csv', table.recognizes),
}


def read_folder(options: Options, out: OutputFolder | None = None) -> tuple[str, LabeledSet]:
    """Read a dataset in any known format.

    Args:
        options: Where the dataset is, and how to read it.
        out: The output folder, whose files are left out.

    Returns:
        The name of the format, and the dataset.

    Raises:
        ValueError: If no annotations or several formats are found, or a file is damaged.
    """
    place = options.annotations or options.folder
    images = ImageFiles(options.image_folder, out)
    if not images.paths:
        raise ValueError(f'{images.folder} has no images.')
    if place == options.image_folder:
        files = images.files
    else:
        files = [place] if place.is_file() else [*list_files(place, out)]
    recognized = _recognize(files, images)
    if not recognized:
        raise ValueError(
            _recognize_foreign(files, place)
            or f'{place} has no annotations in a known format: {", ".join(FORMATS)}. '
            'Are they elsewhere? --annotations FOLDER'
        )
    name = options.format_name or next(iter(recognized))
    if name not in recognized:
        raise ValueError(f'{place} has no annotations in the format {name}.')
    if len(recognized) > 1 and not options.format_name:
        names = ', '.join(f'{name} ({len(files)} files)' for name, files in recognized.items())
        raise ValueError(f'{place} has several formats: {names}. Choose one with --format.')
    read, messages = READERS[name]
    labeled = read(recognized[name], images, options)
    _check_unique(labeled.images)
    images.found['image-not-annotated'] += images.unused()
    labeled.problems = list_warnings({**MESSAGES, **messages}, images.found)
    return name, labeled


def _recognize(files: Sequence[Path], images: ImageFiles) -> dict[str, list[Any]]:
    """Sort files by format; a JSON file is a pair with its content."""
    found: dict[str, list[Any]] = defaultdict(list)
    files = [file for file in files if file.suffix.lower() in ('.json', *FILE_FORMATS)]
    for file in show_progress(files, desc='reading annotations', unit='file'):
        suffix = file.suffix.lower()
        if suffix == '.json':
            content = read_json(file)
            if isinstance(content, dict):
                # The encoded images of a whole dataset may not fit the memory.
                content.pop(json_shapes.IMAGE_DATA, None)
            for name, recognizes in JSON_FORMATS.items():
                found[name] += [(file, content)] if recognizes(content) else []
        else:
            name, recognizes_file = FILE_FORMATS[suffix]
            found[name] += [file] if recognizes_file(file, images) else []
    return {name: found[name] for name in FORMATS if found[name]}


def _check_unique(images: Sequence[LabeledImage]) -> None:
    sources: dict[Path, Path | None] = {}
    for image in images:
        if image.path in sources:
            other = sources[image.path]
            places = f'twice in {other}' if other == image.source else f'{other} and {image.source}'
            raise ValueError(
                f'{image.path} has annotations in two places: {places}. Name the right one with '
                '--annotations.'
            )
        sources[image.path] = image.source


class Foreign(NamedTuple):
    """A format that is not read.

    Attributes:
        name: The format, and the tool that writes it.
        advice: What to do.
        path: Pattern of the files' paths.
        text: Pattern of the first lines.
    """

    name: str
    advice: str
    path: str
    text: str = ''


NUMBER = r'-?\d+(?:\.\d+)?(?:e-?\d+)?'
JSON = r'\.json$'
CONVERT = 'Export COCO, Pascal VOC or YOLO from the tool that wrote it, or convert it to COCO.'
FOREIGN = (
    Foreign(
        "CVAT's own XML",
        'In CVAT, export the task or the project as "COCO 1.0".',
        r'\.xml$',
        r'<annotations>.*?<(?:version|meta|image|track)\b',
    ),
    Foreign(
        'JSON of the VGG Image Annotator (VIA)',
        'In VIA, choose Annotation, Export Annotations (as csv) or (COCO format).',
        JSON,
        r'"_via_img_metadata"|"shape_attributes"',
    ),
    Foreign(
        "Label Studio's JSON",
        'In Label Studio, export as "COCO" or as "Pascal VOC XML".',
        JSON,
        r'"rectanglelabels"|"polygonlabels"|"from_name"|"annotations":\s*\[\{"id".*"result"',
    ),
    Foreign(
        "Supervisely's JSON",
        'In Supervisely, run the app "Export to COCO" or "Export to Pascal VOC".',
        JSON,
        r'"classTitle"|"projectType"\s*:|"geometryType"',
    ),
    Foreign(
        "Labelbox's export",
        'Convert it with Labelbox\'s "COCO converter".',
        r'\.(?:json|ndjson)$',
        r'"Labeled Data"|"data_row"\s*:',
    ),
    Foreign("V7 Darwin's JSON", 'In V7, export as "COCO".', JSON, r'"bounding_box"\s*:\s*\{'),
    Foreign(
        "Datumaro's JSON",
        'Convert it with "datum convert" to the format coco_instances.',
        JSON,
        r'"items"\s*:\s*\[\s*\{.*"annotations"|"label"\s*:\s*\{\s*"labels"',
    ),
    Foreign("BDD100K's or Scalabel's JSON", CONVERT, JSON, r'"box2d"'),
    Foreign(
        'an output manifest of SageMaker Ground Truth', CONVERT, r'\.manifest$', r'"source-ref"'
    ),
    Foreign(
        "KITTI's text files",
        CONVERT,
        r'\.txt$',
        rf'\A[A-Za-z_]+ {NUMBER} -?\d+(?: {NUMBER}){{12,13}}\s*$',
    ),
    Foreign(
        "DOTA's text files",
        'Their rotated boxes need another detector, or a conversion to COCO.',
        r'\.txt$',
        r'\A(?:(?:imagesource|gsd)[^\n]*\n)*'
        rf'{NUMBER}(?:\s+{NUMBER}){{7}}\s+[A-Za-z][\w-]*(?: \d)?\s*$',
    ),
    Foreign(
        'the list of keras-yolo3',
        'Write a row per box, as CSV: filename,xmin,ymin,xmax,ymax,class.',
        r'\.txt$',
        r'\A\S[^\n]*\.\w+ \d+,\d+,\d+,\d+,\d+(?:\s|$)',
    ),
    Foreign(
        "WIDER FACE's list",
        CONVERT,
        r'\.txt$',
        rf'\A[^\n]*\.\w+\s*\n\d+\s*\n{NUMBER}(?: {NUMBER}){{3}}',
    ),
    Foreign(
        "MOT Challenge's text files",
        CONVERT,
        r'\.txt$',
        rf'\A\d+,\s*-?\d+(?:,\s*{NUMBER}){{4,8}}\s*$',
    ),
    Foreign(
        'TFRecord files of TensorFlow',
        'Export the annotations again as COCO or Pascal VOC from where they were drawn.',
        r'\.(?:tfrecords?|record)(?:-\d+-of-\d+)?$',
    ),
    Foreign('Parquet files', 'Convert them to COCO, with the pictures as files.', r'\.parquet$'),
    Foreign(
        'masks of Pascal VOC or a similar set, without boxes',
        'Use the XML files in Annotations, or make COCO instances of the masks.',
        r'(?:segmentation(?:class|object)|masks?|labels?)/[^/]*\.(?:png|bmp)$',
    ),
)


def _recognize_foreign(files: Iterable[Path], root: Path) -> str:
    """Describe the first file in a format of ``FOREIGN``; return nothing if there is none."""
    for file in files:
        path = file.relative_to(root).as_posix() if file.is_relative_to(root) else file.name
        rows = [each for each in FOREIGN if re.search(each.path, path, re.IGNORECASE)]
        if not rows:
            continue
        with file.open('rb') as stream:
            head = stream.read(HEAD_SIZE).decode('utf-8-sig', errors='replace')
        for row in rows:
            if re.search(row.text, head, re.MULTILINE | re.DOTALL):
                return f'{file}: {row.name}, which mmdet-detnet does not read. {row.advice}'
    return ''
