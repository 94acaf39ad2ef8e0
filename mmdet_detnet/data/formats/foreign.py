"""Recognize annotations that are not read, to say who wrote them and what to export instead."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

HEAD_SIZE = 2**16


class Foreign(NamedTuple):
    """A format of another tool.

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


def recognize_foreign(files: Iterable[Path], root: Path) -> str:
    """Describe the first file in a format of :data:`FOREIGN`; return nothing if there is none."""
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
