"""Read and write the JSON files of a study, one per run."""

import json
from pathlib import Path
from typing import Any

from mmdet_detnet.files import write_file

from .plan import Run, hash_config

Result = dict[str, Any]


def result_path(run: Run, folder: Path) -> Path:
    """Return the path of a run's result."""
    return folder / 'results' / f'{run.name}.json'


def write_result(file: Path, result: Result) -> None:
    """Write a result atomically."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_file(file, (json.dumps(result, separators=(',', ':')) + '\n').encode())


def read_results(folder: str | Path) -> list[Result]:
    """Read all results of a study.

    Args:
        folder: Folder of the JSON files.

    Returns:
        Their contents, sorted by file name.

    Raises:
        ValueError: If a file is not a result.
    """
    return [_read(file) for file in sorted(Path(folder).glob('*.json'))]


def _read(file: Path) -> Result:
    try:
        result = json.loads(file.read_text())
    except ValueError as error:
        raise ValueError(f'{file} is not valid JSON: {error}.') from error
    if not isinstance(result, dict) or not {'detector', 'data_set', 'seed'} <= set(result):
        raise ValueError(f'{file} is not a result of a study.')
    return result


def is_finished(run: Run, folder: Path) -> bool:
    """Tell whether a run is finished; failed runs are not.

    Raises:
        ValueError: If its result has other settings.
    """
    file = result_path(run, folder)
    if not file.exists():
        return False
    result = _read(file)
    if 'failure' in result:
        return False
    if result['config_hash'] != hash_config(run.load_config()):
        raise ValueError(
            f'{file} was made with other settings than the study has now: move it away to make '
            'the run again, or name another folder.'
        )
    return True
