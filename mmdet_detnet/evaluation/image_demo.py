"""Detect objects in images, a folder or a glob, with any MMDetection model."""

import glob
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import mmcv
from mmdet.apis import DetInferencer
from mmdet.apis.det_inferencer import IMG_EXTENSIONS
from mmengine.device import get_device

from mmdet_detnet.data.images import open_image
from mmdet_detnet.deployment.export.onnx_inferencer import OnnxInferencer
from mmdet_detnet.files import check_files
from mmdet_detnet.models.arguments import reject
from mmdet_detnet.training.checks import check_checkpoint

from .prediction_file import PredictionFile


def detect_images(
    config: str | Path | None,
    checkpoint: str | Path,
    images: Sequence[Path],
    out_dir: str | Path,
    score_thr: float = 0.3,
    device: str | None = None,
    allow_mismatch: bool = False,
) -> list[Path]:
    """Run a detector on images; write pictures and ``predictions.json`` after each image.

    Args:
        config: Config file of the detector; None for the description in an ONNX file.
        checkpoint: Checkpoint or ONNX file of the detector.
        images: Image files. Pictures keep their folders relative to the common one.
        out_dir: Folder for the results; earlier results are overwritten.
        score_thr: Only detections with a higher score are drawn and written.
        device: Device of the detector; None for a GPU if there is one. ONNX files run on the CPU.
        allow_mismatch: Whether the checkpoint may be of another detector than the config's.

    Returns:
        Images that are missing, damaged or cannot be processed.

    Raises:
        FileNotFoundError: If the config or the checkpoint is missing.
        ValueError: If the checkpoint is of another detector, for example with other classes.
    """
    inferencer = _load_inferencer(config, checkpoint, device, allow_mismatch)
    out_dir = Path(out_dir)
    common_folder = os.path.commonpath([_without_dots(path).parent for path in images])
    failed = []
    with PredictionFile(out_dir / 'predictions.json', score_thr) as predictions:
        for path in images:
            picture = out_dir / 'vis' / _without_dots(path).relative_to(common_folder)
            detections, problem = _try_to_detect(inferencer, path, picture, score_thr)
            if problem:
                print(f'{path}: {problem}', file=sys.stderr)
                failed.append(path)
                predictions.add_failure(path)
            else:
                predictions.add(path, detections)
    return failed


def _load_inferencer(
    config: str | Path | None, checkpoint: str | Path, device: str | None, allow_mismatch: bool
) -> DetInferencer:
    if is_onnx(checkpoint):
        if device not in (None, 'cpu'):
            reject('detect_images', 'device', device, "'cpu' for an ONNX file")
        return OnnxInferencer(checkpoint, config, allow_mismatch)
    if config is None:
        reject('detect_images', 'config', None, 'a file, unless the checkpoint is an ONNX file')
    check_files(config, checkpoint)
    inferencer = DetInferencer(
        str(config), str(checkpoint), device or get_device(), show_progress=False
    )
    if not allow_mismatch:
        check_checkpoint(inferencer.model, checkpoint)
    return inferencer


def is_onnx(file: str | Path) -> bool:
    """Tell ONNX files from others by their names."""
    return Path(file).suffix.lower() == '.onnx'


def _try_to_detect(
    inferencer: DetInferencer, path: Path, picture: Path, score_thr: float
) -> tuple[list[dict[str, Any]], str]:
    """Detect in one image; return its detections or an error message."""
    problem = find_problem(path)
    if problem:
        return [], problem
    try:
        return _detect(inferencer, path, picture, score_thr), ''
    # Images and checkpoints of strangers can raise any error.
    except Exception as error:
        message = ' '.join(str(error).split())
        return [], f'cannot be processed ({type(error).__name__}: {message})'


def _without_dots(path: Path) -> Path:
    """Make a path absolute, without ``..``, which would lead out of the output folder."""
    return Path(os.path.abspath(path))


def _detect(
    inferencer: DetInferencer, path: Path, picture: Path, score_thr: float
) -> list[dict[str, Any]]:
    """Detect in one image, draw, and return detections above the score threshold.

    The inferencer's own threshold only affects drawing, and it would draw images of the same name
    in two folders into one file.
    """
    with matplotlib.rc_context({'text.parse_math': False}):  # a $ in a class name is a $
        output = inferencer(str(path), return_vis=True, pred_score_thr=score_thr)
    if picture.suffix.lower() not in IMG_EXTENSIONS:
        picture = picture.with_name(f'{picture.name}.png')
    mmcv.imwrite(output['visualization'][0][..., ::-1], str(picture))
    prediction = output['predictions'][0]
    classes = inferencer.model.dataset_meta['classes']
    detections = []
    for index, score in enumerate(prediction['scores']):
        if score <= score_thr:
            continue
        detection = {
            'label': classes[prediction['labels'][index]],
            'score': score,
            'bbox': prediction['bboxes'][index],
        }
        if 'masks' in prediction:
            detection['mask'] = prediction['masks'][index]
        detections.append(detection)
    return detections


def find_images(pattern: str) -> list[Path]:
    """List the images that a command line argument refers to.

    Args:
        pattern: An image file, a folder (without sub-folders), or a glob, where ``**`` means any
            depth.

    Returns:
        The sorted files. A plain file name is returned even if the file does not exist.

    Raises:
        FileNotFoundError: If a folder or a glob has no image.
    """
    path = Path(pattern)
    if path.is_dir():
        found = [file for file in path.iterdir() if file.suffix.lower() in IMG_EXTENSIONS]
    elif glob.has_magic(pattern) and not path.exists():
        found = [Path(name) for name in glob.glob(pattern, recursive=True)]
        found = [file for file in found if file.is_file()]
    else:
        return [path]
    if not found:
        raise FileNotFoundError(f'No image found: {pattern}.')
    return sorted(found)


def find_problem(path: Path) -> str:
    """Say why an image cannot be read; mmdet would stop at the first one.

    Args:
        path: An image file.

    Returns:
        A sentence; empty if the whole image can be read.
    """
    try:
        with open_image(path) as image:
            image.load()
        readable = mmcv.imread(path) is not None
    except FileNotFoundError:
        return 'no such file'
    # With a damaged file, decoders raise all kinds of errors.
    except Exception as error:
        return f'cannot be read as an image ({error})'
    return '' if readable else 'cannot be read as an image (OpenCV does not support its format)'
