"""Write a detector as an ONNX file."""

import contextlib
import copy
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from mmdet.models.detectors import BaseDetector
from torch import nn

from mmdet_detnet.deployment.acceleration import accelerate

from .graphs import DenseGraph, DetectorGraph, TwoStageGraph
from .metadata import KEY, describe
from .support import DENSE_DETECTORS, check_exportable

INPUT = 'images'
OUTPUTS = ('boxes', 'scores', 'labels', 'num_detections')
AXES = {0: 'batch', 2: 'height', 3: 'width'}
OPSET = 18
# The first whose torch.export knows `prefer_deferred_runtime_asserts_over_guards`.
OLDEST_TORCH = '2.9'
# All maps of these images have several pixels, because torch would make a size of 1 a constant. The
# file also accepts smaller batches and images.
EXAMPLE_SHAPE = (2, 3, 512, 640)


def export_onnx(model: BaseDetector, file: str | Path, takes_pixels: bool = True) -> None:
    """Write a detector, from image to boxes, as an ONNX file.

    The file has one input, ``images``: ``(B, 3, H, W)``, of any B, H and W. Its outputs are
    ``boxes`` ``(B, max_per_img, 4)``, corners in pixels of the input; ``scores`` and ``labels``,
    ``(B, max_per_img)``, the best first; and ``num_detections`` ``(B,)``. Entries beyond this
    number are zeros, with label -1. All nodes are standard.

    Args:
        model: A detector with its ``cfg`` and ``dataset_meta``, as ``init_detector`` returns it. It
            is not changed, accelerated or not.
        file: The file to write.
        takes_pixels: Whether the input is uint8 RGB, which the graph normalizes, or float32,
            normalized as in the config. The graph pads both.

    Raises:
        ImportError: If the packages for writing ONNX files are missing, or torch is too old.
        ValueError: If the detector has a part that cannot be exported.
    """
    if torch.__version__ < OLDEST_TORCH:
        raise ImportError(f'export_onnx needs torch {OLDEST_TORCH}, got {torch.__version__}.')
    check_exportable(model)
    metadata = describe(model.cfg, model.dataset_meta['classes'], takes_pixels)
    translations = _load_translations()
    program = torch.export.export(
        make_graph(model, takes_pixels),
        (torch.zeros(EXAMPLE_SHAPE, dtype=torch.uint8 if takes_pixels else torch.float32),),
        dynamic_shapes=[
            {axis: torch.export.Dim(name, min=EXAMPLE_SHAPE[axis]) for axis, name in AXES.items()}
        ],
        # torch cannot prove that the maps of IPG-Net's guidance have the stages' sizes.
        prefer_deferred_runtime_asserts_over_guards=True,
    )
    with _quiet():
        onnx_program = torch.onnx.export(
            program,
            dynamo=True,
            custom_translation_table=translations,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=OUTPUTS,
            dynamic_shapes=[AXES],  # names in the file
            verbose=False,
        )
    onnx_program.model.metadata_props[KEY] = metadata.to_json()
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    onnx_program.save(file)


def make_graph(model: BaseDetector, takes_pixels: bool) -> DetectorGraph:
    """Make the exported module of a detector, which also runs in PyTorch.

    Args:
        model: A detector that :func:`.check_exportable` accepts; it is copied.
        takes_pixels: As for :func:`export_onnx`.

    Returns:
        The module, on the CPU and in evaluation mode, without gradients.
    """
    family = DenseGraph if type(model) in DENSE_DETECTORS else TwoStageGraph
    detector: nn.Module = copy.deepcopy(model).cpu().eval().requires_grad_(False)
    accelerate(detector, channels_last=False, compile=False)
    return family(detector, takes_pixels).eval()


def _load_translations() -> dict:
    try:
        from .translations import TRANSLATIONS
    except ImportError as error:
        raise ImportError(
            f"export_onnx needs {error.name}: pip install 'mmdet_detnet[onnx]'."
        ) from error
    return TRANSLATIONS


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's own messages: torchvision's operators, deprecations."""
    logger = logging.getLogger('torch.onnx')
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        logger.setLevel(before)
