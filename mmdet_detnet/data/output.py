"""Write a report to files."""

import json
from pathlib import Path

from .dataset_check import DatasetCheck
from .picture import draw_distributions


def write_report(report: DatasetCheck, out_dir: str | Path) -> tuple[Path, Path]:
    """Write a report as JSON, with a picture of the distributions.

    Args:
        report: Result of the checks.
        out_dir: Folder for both; it is made if it is missing.

    Returns:
        The JSON file and the picture, named after the annotation file.
    """
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    name = Path(report.annotation_file).stem
    text, picture = out_dir / f'{name}_report.json', out_dir / f'{name}_boxes.png'
    text.write_text(json.dumps(report.as_dict(), indent=1))
    draw_distributions(report, picture)
    return text, picture
