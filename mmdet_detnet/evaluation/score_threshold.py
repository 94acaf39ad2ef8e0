"""The scores from which detections count: chosen on validation images, kept in the checkpoint.

A checkpoint of the run itself has them as ``meta['score_thr'] = {'all': 0.42, 'classes': {'cat':
0.38}}``. A checkpoint from elsewhere is not changed: a JSON file in the work directory has them,
with the SHA-256 of that checkpoint.
"""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from mmdet_detnet.checkpoints import (
    belongs_to_run,
    make_plain,
    read_checkpoint,
    write_checkpoint,
)
from mmdet_detnet.files import OutputFolder, file_digest, read_json, write_file

KEY = 'score_thr'
FILE_NAME = 'score_thr.json'


class ScoreThresholds(NamedTuple):
    """The lowest scores that count: one for all classes, and one for each.

    A class without objects or detections among the validation images has none.
    """

    all: float
    classes: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as a checkpoint and an ONNX file have them."""
        return {'all': self.all, 'classes': dict(self.classes)}


# Where no score can be chosen: mmdet's own for drawing.
DEFAULT_SCORE_THR = ScoreThresholds(0.3, {})


def parse_score_thr(value: object, file: str | Path) -> ScoreThresholds:
    """Check what a file has as its score thresholds.

    Raises:
        ValueError: If the value is anything but scores in [0, 1]; names the file.
    """
    if isinstance(value, Mapping) and {'all', 'classes'} <= value.keys():
        score, of_classes = value['all'], value['classes']
        if isinstance(of_classes, Mapping) and all(map(_is_score, (score, *of_classes.values()))):
            return ScoreThresholds(score, of_classes)
    raise ValueError(
        f"{file}: {KEY} must be {{'all': score, 'classes': {{name: score}}}} with scores in "
        f'[0, 1], got {value!r}.'
    )


def _is_score(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value <= 1


def read_score_thr(
    checkpoint: str | Path, work_dir: str | Path | None = None
) -> ScoreThresholds | None:
    """Read the score thresholds of a checkpoint; None if none were chosen, and for a URL.

    A ``score_thr.json`` for this checkpoint in ``work_dir`` comes before what the checkpoint says.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        ValueError: If one of the files is damaged.
    """
    if '://' in str(checkpoint):
        return None
    meta = read_checkpoint(checkpoint, 'cpu').get('meta')
    file = Path(work_dir, FILE_NAME) if work_dir is not None else None
    if file is not None and file.is_file():
        try:
            content = read_json(file)
            digest, value = content['sha256'], content[KEY]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f'{file} is damaged ({error!r}): delete it and test again.') from error
        if digest == file_digest(Path(checkpoint)):
            return parse_score_thr(value, file)
    if isinstance(meta, Mapping) and KEY in meta:
        return parse_score_thr(meta[KEY], checkpoint)
    return None


def write_score_thr(
    thresholds: ScoreThresholds, checkpoint: str | Path, work_dir: str | Path
) -> Path:
    """Keep the score thresholds of a checkpoint.

    It is rewritten, atomically and with the same weights, if this package wrote it in the last run
    of ``work_dir``.

    Returns:
        The file that has the thresholds now: the checkpoint, or ``score_thr.json`` in ``work_dir``.

    Raises:
        OSError: If the file cannot be written, or is not ours. What was there before remains.
    """
    path, work_dir = Path(checkpoint), Path(work_dir)
    if path.resolve().parent == work_dir.resolve() and belongs_to_run(path, work_dir):
        content = read_checkpoint(path, 'cpu')
        meta = content.setdefault('meta', {})
        if meta.get(KEY) != thresholds.to_dict():
            meta[KEY] = thresholds.to_dict()
            make_plain(content)
            stream = io.BytesIO()
            torch.save(content, stream)
            write_checkpoint(path, stream.getvalue())
        return path
    file = OutputFolder(work_dir).path(FILE_NAME)
    content = {'checkpoint': str(path), 'sha256': file_digest(path), KEY: thresholds.to_dict()}
    write_file(file, json.dumps(content, indent=1).encode())
    return file
