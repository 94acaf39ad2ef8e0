"""Datasets in the formats of annotation tools, detected from the content of the files.

Each format has functions that recognize and read it. They are our own because conversion libraries
lose what an evaluation needs: docs/own_data.md compares them.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from mmdet_detnet.data.images import ImageFiles, list_files, read_head, show_progress
from mmdet_detnet.data.options import FORMATS, Options
from mmdet_detnet.data.records import LabeledImage, LabeledSet
from mmdet_detnet.files import OutputFolder, read_json

from . import coco, json_shapes, table, voc, yolo

# The suffixes of the files of a format, what recognizes a file, or the content of a JSON file, and
# what reads all: JSON files as pairs with their content, since large ones take long to decode.
READERS: dict[str, tuple[tuple[str, ...], Callable[..., bool], Callable[..., LabeledSet]]] = {
    'coco': (('.json',), coco.recognizes, coco.read),
    'voc': (('.xml', ''), voc.recognizes, voc.read),
    'yolo': (('.txt',), yolo.recognizes, yolo.read),
    'csv': (('.csv', '.tsv'), table.recognizes, table.read),
    'labelme': (('.json',), json_shapes.is_labelme, json_shapes.read_labelme),
    'createml': (('.json',), json_shapes.is_createml, json_shapes.read_createml),
}


def read_folder(options: Options, out: OutputFolder | None = None) -> tuple[str, LabeledSet]:
    """Read a dataset in any known format, without the files of ``out``; return its format, too.

    Raises:
        ValueError: If no annotations or several formats are found, a file is damaged, or an option
            does not apply to the format.
    """
    place = options.annotations or options.folder
    images = ImageFiles(options, out)
    if not images.paths:
        raise ValueError(f'{images.folder} has no images.')
    files = [place] if place.is_file() else images.files
    if place.is_dir() and place != options.image_folder:
        files = [*list_files(place, out)]
    recognized = _recognize(files, images)
    if not recognized:
        suffixes, _, _ = READERS['csv']
        tables = (f' {table.explain(file)}' for file in files if file.suffix.lower() in suffixes)
        raise ValueError(
            _recognize_foreign(files, place)
            or f'{place} has no annotations in a known format: {", ".join(FORMATS)}. Besides '
            f'images, it has {_count(files, images)}. Are they elsewhere? Then give '
            f'--annotations FOLDER.{next(tables, "")}'
        )
    name = options.format_name or next(iter(recognized))
    if name not in recognized:
        raise ValueError(f'{place} has no annotations in the format {name}.')
    if len(recognized) > 1 and not options.format_name:
        names = ', '.join(f'{name} ({len(files)} files)' for name, files in recognized.items())
        raise ValueError(f'{place} has several formats: {names}. Choose one with --format.')
    if options.zero_based and name != 'voc':
        raise ValueError(f'--zero-based applies to Pascal VOC, but {place} is in {name}.')
    _, _, read = READERS[name]
    labeled = read(recognized[name], images, options)
    _check_unique(labeled.images)
    unused, result = images.unused(), 'Skipped.'
    if name == 'yolo':
        unused = [image.path for image in labeled.images if image.source is None]
        result = 'Used as background.'
    text = f'image-not-annotated: images without an annotation. {result}'
    images.problems.warn(text, *(path.relative_to(images.folder) for path in unused))
    labeled.problems = [*images.problems]
    return name, labeled


def _recognize(files: Sequence[Path], images: ImageFiles) -> dict[str, list[Any]]:
    """Sort files by format."""
    found: dict[str, list[Any]] = {name: [] for name in READERS}
    for file in show_progress(files, desc='reading annotations', unit='file'):
        is_json = file.suffix.lower() == '.json'
        content = read_json(file) if is_json else file
        if isinstance(content, dict):
            # The encoded images of a whole dataset may not fit the memory.
            content.pop('imageData', None)
        for name, (suffixes, recognizes, _) in READERS.items():
            if file.suffix.lower() in suffixes and recognizes(content, images):
                found[name].append((file, content) if is_json else file)
    # Empty text files are background, if others have boxes.
    if not any(file.stat().st_size for file in found['yolo']):
        found['yolo'] = []
    return {name: items for name, items in found.items() if items}


def _check_unique(images: Sequence[LabeledImage]) -> None:
    sources: dict[Path, Path | None] = {}
    for image in images:
        if image.path in sources:
            if sources[image.path] == image.source:
                raise ValueError(f'{image.source} has the image {image.path} twice.')
            raise ValueError(
                f'{image.path} has annotations in two places: {sources[image.path]} and '
                f'{image.source}. Name the right one with --annotations.'
            )
        sources[image.path] = image.source


NUMBER = r'-?\d+(?:\.\d+)?(?:e-?\d+)?'
CONVERT = '. Export COCO, Pascal VOC or YOLO from the tool that wrote it, or convert it to COCO.'
# Formats that are not read: by the pattern of a path, patterns of the first lines, with the name of
# the format, and what to do.
FOREIGN = {
    r'\.xml$': {
        r'<annotations>.*?<(?:version|meta|image|track)\b': "CVAT's own XML. In CVAT, export the "
        'task or the project as "COCO 1.0".',
    },
    r'\.(?:json|ndjson|csv)$': {
        r'"_via_img_metadata"|"shape_attributes"': 'JSON of the VGG Image Annotator (VIA). In VIA, '
        'choose Annotation, Export Annotations (as csv) or (COCO format).',
        r'"__VIA_PROJECT_ID__"|VGG Image Annotator': f'a file of VIA 3{CONVERT}',
        r'"regions".*"boundingBox"': "VoTT's JSON. In VoTT, export as Pascal VOC or CSV.",
        r'"rectanglelabels"|"polygonlabels"|"from_name"|"annotations":\s*\[\{"id".*"result"': (
            'Label Studio\'s JSON. In Label Studio, export as "COCO" or as "Pascal VOC XML".'
        ),
        r'"classTitle"|"projectType"\s*:|"geometryType"': "Supervisely's JSON. In Supervisely, run "
        'the app "Export to COCO" or "Export to Pascal VOC".',
        r'"Labeled Data"|"data_row"\s*:': "Labelbox's export. Convert it with Labelbox's \"COCO "
        'converter".',
        r'"bounding_box"\s*:\s*\{': 'V7 Darwin\'s JSON. In V7, export as "COCO".',
        r'"items"\s*:\s*\[\s*\{.*"annotations"|"label"\s*:\s*\{\s*"labels"': "Datumaro's JSON. "
        'Convert it with "datum convert" to the format coco_instances.',
        r'"box2d"': f"BDD100K's or Scalabel's JSON{CONVERT}",
    },
    r'\.geojson$': {'': f'GeoJSON, as of xView{CONVERT}'},
    r'\.odgt$': {'': f"CrowdHuman's odgt files{CONVERT}"},
    r'\.manifest$': {r'"source-ref"': f'an output manifest of SageMaker Ground Truth{CONVERT}'},
    r'\.txt$': {
        rf'\A[A-Za-z_]+ {NUMBER} -?\d+(?: {NUMBER}){{12,13}}\s*$': f"KITTI's text files{CONVERT}",
        r'\A(?:(?:imagesource|gsd)[^\n]*\n)*'
        rf'{NUMBER}(?:\s+{NUMBER}){{7}}\s+[A-Za-z][\w-]*(?: \d)?\s*$': "DOTA's text files. Their "
        'rotated boxes need another detector, or a conversion to COCO.',
        r'\A\S[^\n]*\.\w+ \d+,\d+,\d+,\d+,\d+(?:\s|$)': 'the list of keras-yolo3. Write a row per '
        'box, as CSV: filename,xmin,ymin,xmax,ymax,class.',
        rf'\A[^\n;\t ]+\.\w+[;\t ](?:[^\n;\t ]+[;\t ])?{NUMBER}(?:[;\t ]{NUMBER}){{3}}': (
            'a list of boxes. Save it as CSV, with a first line such as '
            'filename;xmin;ymin;xmax;ymax;class.'
        ),
        r'PASCAL Annotation Version 1\.00': f"Pascal's text files of before 2007{CONVERT}",
        r'\A% bbGt version=': f"text files of Piotr's toolbox (bbGt){CONVERT}",
        rf'\A[^\n]*\.\w+\s*\n\d+\s*\n{NUMBER}(?: {NUMBER}){{3}}': f"WIDER FACE's list{CONVERT}",
        r'\A(?:\d+,){7}\d+,?\s*$': f"VisDrone's text files{CONVERT}",
        rf'\A\d+,\s*-?\d+(?:,\s*{NUMBER}){{4,8}}\s*$': f"MOT Challenge's text files{CONVERT}",
    },
    r'\.(?:tfrecords?|record)(?:-\d+-of-\d+)?$': {
        '': 'TFRecord files of TensorFlow. Export the annotations again as COCO or Pascal VOC from '
        'where they were drawn.',
    },
    r'\.parquet$': {'': 'Parquet files. Convert them to COCO, with the pictures as files.'},
    r'(?:segmentation(?:class|object)|masks?|labels?)/[^/]*\.(?:png|bmp)$': {
        '': 'masks of Pascal VOC or a similar set, without boxes. Use the XML files in '
        'Annotations, or make COCO instances of the masks.',
    },
}


def _count(files: Iterable[Path], images: ImageFiles) -> str:
    """Count files that are no images by suffix, with an example of each."""
    others = {*files}.difference(images.paths)
    counts = Counter(file.suffix.lower() for file in others)
    examples = {file.suffix.lower(): file.name for file in sorted(others, reverse=True)}
    texts = (f'{count} like {examples[suffix]}' for suffix, count in counts.most_common())
    return ', '.join(texts) or 'no files'


def _recognize_foreign(files: Iterable[Path], root: Path) -> str:
    """Describe the first file in a format of ``FOREIGN``; return nothing if there is none."""
    for file in files:
        path = file.relative_to(root).as_posix() if file.is_relative_to(root) else file.name
        tables = [each for key, each in FOREIGN.items() if re.search(key, path, re.IGNORECASE)]
        if not tables:
            continue
        head = read_head(file).decode('utf-8-sig', errors='replace')
        for text, description in (row for each in tables for row in each.items()):
            if re.search(text, head, re.MULTILINE | re.DOTALL):
                name, _, advice = description.partition('. ')
                return f'{file}: {name}, which mmdet-detnet does not read. {advice}'
    return ''
