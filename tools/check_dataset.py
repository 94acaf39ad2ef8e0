"""Check a data set in COCO format before training on it.

Usage:
    python tools/check_dataset.py data/mine/annotations/train.json data/mine/images \
        --config configs/custom/faster-rcnn_detnet59-slim_fpn_custom.py

Decodes every image, looks for what stops mmdet or what it drops or mixes up without a word,
counts the boxes that it keeps and compares their sizes with the anchors. Prints a report and
writes it as JSON, with a picture of the distributions.

The exit status is 0 if nothing would break or silently change the training (there may be
warnings), 1 if something would, 2 if the command line is wrong.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

from dataset_checks.anchors import check_sizes
from dataset_checks.annotation_file import AnnotationFile, check_fields, read_annotation_file
from dataset_checks.boxes import check_boxes
from dataset_checks.classes import check_classes
from dataset_checks.findings import Findings
from dataset_checks.images import check_images
from dataset_checks.kept import check_kept, find_kept
from dataset_checks.picture import draw_distributions
from dataset_checks.references import check_references
from dataset_checks.report import Report
from dataset_checks.statistics import count_boxes, resized_sizes
from dataset_checks.training_config import TrainingConfig, read_training_config


def main() -> int:
    """Run the command line.

    Returns:
        The exit status.
    """
    args = parse_args()
    try:
        whole_file = read_annotation_file(args.annotation_file)
        config = read_training_config(args.config) if args.config else TrainingConfig()
    except (FileNotFoundError, ValueError) as error:
        print(f'check_dataset: {error}', file=sys.stderr)
        return 1
    config = replace(config, classes=args.classes or config.classes)
    findings = Findings()
    file = check_fields(whole_file, findings)
    check_references(file, whole_file, findings)
    check_boxes(file, findings)
    if config.classes is not None:
        check_classes(file, config.classes, findings, args.allow_subset)
    check_images(file.images, args.image_folder, findings, args.num_workers)
    report = make_report(args.annotation_file, file, config, findings)
    print(report)
    write_report(report, args.out_dir)
    return 1 if findings.problems else 0


def parse_args() -> argparse.Namespace:
    """Read the command line.

    Returns:
        Its options; paths to read exist.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('annotation_file', type=Path, help='JSON file in COCO format')
    parser.add_argument('image_folder', type=Path, help='where the file names of its images start')
    expected = parser.add_mutually_exclusive_group()
    expected.add_argument('--config', type=Path, help='config with classes, image scale, anchors')
    expected.add_argument('--classes', nargs='+', help='names of the classes, in order')
    parser.add_argument(
        '--allow-subset', action='store_true', help='some categories are left out on purpose'
    )
    parser.add_argument(
        '--out-dir',
        type=Path,
        default=Path('work_dirs/check_dataset'),
        help='for the report (NAME_report.json) and the picture (NAME_boxes.png)',
    )
    parser.add_argument('--num-workers', type=int, default=2, help='images decoded at a time')
    args = parser.parse_args()
    for path in (args.annotation_file, args.config):
        if path is not None and not path.is_file():
            parser.error(f'no such file: {path}')
    if not args.image_folder.is_dir():
        parser.error(f'no such folder: {args.image_folder}')
    if args.num_workers < 1:
        parser.error(f'--num-workers must be at least 1, but got {args.num_workers}')
    return args


def make_report(
    path: Path, file: AnnotationFile, config: TrainingConfig, findings: Findings
) -> Report:
    """Count what training sees, and note the warnings that follow from the numbers.

    Args:
        path: Path of the annotation file.
        file: Records that have all fields.
        config: What to train with.
        findings: Takes what is found, and becomes a part of the report.

    Returns:
        The report.
    """
    kept = find_kept(file, config.classes, config.filter_cfg)
    sizes = resized_sizes(kept, config)
    check_kept(file, kept, findings)
    if config.anchors is not None:
        check_sizes(kept, sizes, config.anchors, findings)
    return Report(
        annotation_file=str(path),
        findings=findings,
        num_images=len(file.images),
        num_used_images=len(kept.images),
        rows=count_boxes(file, kept),
        sizes=sizes,
        scale=config.scale,
        anchors=config.anchors,
    )


def write_report(report: Report, out_dir: Path) -> None:
    """Write the report as JSON, and the picture beside it.

    Args:
        report: Result of the checks.
        out_dir: Folder for both, which are named after the annotation file.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    name = Path(report.annotation_file).stem
    text, picture = out_dir / f'{name}_report.json', out_dir / f'{name}_boxes.png'
    text.write_text(json.dumps(report.as_dict(), indent=1))
    draw_distributions(report, picture)
    print(f'written to {text} and {picture}')


if __name__ == '__main__':
    sys.exit(main())
