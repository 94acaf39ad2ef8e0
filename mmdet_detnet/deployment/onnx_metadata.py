"""What an ONNX file says of its detector, in addition to the graph."""

import json
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from mmdet_detnet.arguments import is_number, reject

KEY = 'mmdet_detnet'
TRANSFORMS = ('LoadImageFromFile', 'LoadAnnotations', 'Resize', 'PackDetInputs')
RESIZE_OPTIONS = ('type', 'scale', 'keep_ratio')
MAX_SIZE = 2**14  # pixels of the side of a resized image, and detections in it


@dataclass(frozen=True)
class Metadata:
    """Information needed in addition to the graph, and its source.

    Raises:
        ValueError: If a value is wrong.
    """

    config: str  # name of the config, without its folder
    classes: list[str]  # in the order of the labels
    takes_pixels: bool  # whether the input is uint8 RGB, or normalized by mean and std
    image_scale: list[int]  # width and height that images are scaled to, in pixels
    keep_ratio: bool  # whether their aspect ratio is kept, so that they fit into the scale
    to_rgb: bool  # whether the detector takes RGB instead of BGR; matters without takes_pixels
    mean: list[float] | None  # of each channel, in the detector's order
    std: list[float] | None
    score_thr: float  # score that detections of the graph exceed
    max_per_img: int
    # Scores from which detections count, as a checkpoint has them after a test, such as
    # {'all': 0.42, 'classes': {'cat': 0.38}}. None if none were chosen.
    best_score_thr: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        for name, (is_valid, allowed) in VALUES.items():
            if not is_valid(value := getattr(self, name)):
                raise ValueError(f'{name} must be {allowed}, got {reprlib.repr(value)}')

    def to_json(self) -> str:
        """Convert it to the value of :data:`KEY` in the file's metadata."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> 'Metadata':
        """Read the output of :meth:`to_json` from an untrusted file.

        Raises:
            KeyError: If a value is missing.
            ValueError: If a value is wrong.
        """
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f'the description is not valid JSON ({error})') from error
        # Files of earlier versions have no best scores.
        values = {'best_score_thr': None, **(found if isinstance(found, dict) else {})}
        return cls(**{name: values[name] for name in VALUES})

    def differences(self, other: 'Metadata') -> list[str]:
        """List differences between two detectors, except names, kinds of input and best scores."""
        return [
            f'{field.name} {getattr(self, field.name)!r} and {getattr(other, field.name)!r}'
            for field in fields(self)
            if field.name not in ('config', 'takes_pixels', 'best_score_thr')
            and getattr(self, field.name) != getattr(other, field.name)
        ]


def _is_list(value: Any, is_item: Callable[[Any], bool], *lengths: int) -> bool:
    """Return whether a value is a list of some items, of an allowed length or not empty."""
    is_list = isinstance(value, list) and (len(value) in lengths if lengths else value != [])
    return is_list and all(map(is_item, value))


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_size(value: object) -> bool:
    return type(value) is int and 1 <= value <= MAX_SIZE


def _are_scores(value: object) -> bool:
    if not isinstance(value, dict) or set(value) != {'all', 'classes'}:
        return value is None
    classes = value['classes']
    scores = [value['all'], *classes.values()] if isinstance(classes, dict) else [None]
    return all(is_number(score) and 0 <= score <= 1 for score in scores)


FLAG = (lambda value: isinstance(value, bool), 'true or false')
# Whether a value of the description is valid, and what is.
VALUES: dict[str, tuple[Callable[[Any], bool], str]] = {
    'config': (_is_text, 'a string'),
    'classes': (lambda value: _is_list(value, _is_text), 'a list of names'),
    'takes_pixels': FLAG,
    'image_scale': (
        lambda value: _is_list(value, _is_size, 2),
        f'two integers from 1 to {MAX_SIZE}',
    ),
    'keep_ratio': FLAG,
    'to_rgb': FLAG,
    'mean': (
        lambda value: value is None or _is_list(value, is_number, 1, 3),
        'null, or a number per channel',
    ),
    'std': (
        lambda value: value is None or (_is_list(value, is_number, 1, 3) and all(value)),
        'null, or a number other than 0 per channel',
    ),
    'score_thr': (is_number, 'a number'),
    'max_per_img': (_is_size, f'an integer from 1 to {MAX_SIZE}'),
    'best_score_thr': (_are_scores, "null, or {'all': score, 'classes': {name: score}}"),
}


def describe(
    cfg: Config,
    classes: list[str] | tuple[str, ...],
    takes_pixels: bool,
    best_score_thr: Mapping[str, Any] | None = None,
) -> Metadata:
    """Describe the detector of a config; the other arguments are those of :class:`Metadata`.

    Raises:
        ValueError: If its test pipeline has transforms other than a resize, or a value is wrong.
    """
    resize = _find_resize(cfg.test_dataloader.dataset)
    preprocessor = cfg.model.data_preprocessor
    test_cfg = cfg.model.test_cfg
    test_cfg = test_cfg.get('rcnn', test_cfg)
    mean, std = (preprocessor.get(name) for name in ('mean', 'std'))
    return Metadata(
        config=Path(cfg.filename or '').stem,
        classes=list(classes),
        takes_pixels=takes_pixels,
        image_scale=list(resize.scale),
        keep_ratio=resize.get('keep_ratio', False),
        to_rgb=preprocessor.get('bgr_to_rgb', False) or preprocessor.get('rgb_to_bgr', False),
        mean=None if mean is None else [float(value) for value in mean],
        std=None if std is None else [float(value) for value in std],
        score_thr=test_cfg.get('score_thr', 0.0),
        max_per_img=test_cfg.max_per_img,
        best_score_thr=None if best_score_thr is None else dict(best_score_thr),
    )


def _find_resize(dataset: ConfigDict) -> ConfigDict:
    pipeline = dataset.get('pipeline') or ()
    # A type is a class, or its name with a scope.
    types = [getattr(each.type, '__name__', each.type).split('.')[-1] for each in pipeline]
    others = [name for name in types if name not in TRANSFORMS]
    if others or types.count('Resize') != 1:
        allowed = f'{", ".join(TRANSFORMS)}, each once at most, with one Resize'
        reject('export_onnx', "the test images' pipeline", types, allowed)
    resize = pipeline[types.index('Resize')]
    if set(resize) - set(RESIZE_OPTIONS) or not isinstance(resize.get('scale'), list | tuple):
        allowed = f'with {", ".join(RESIZE_OPTIONS[1:])} and no other option'
        reject('export_onnx', 'the Resize of the test images', dict(resize), allowed)
    return resize
