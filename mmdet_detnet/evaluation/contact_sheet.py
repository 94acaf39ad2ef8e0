"""Draw ground truth beside predictions for the first images of a config's test set.

Works for any MMDetection config that predicts boxes, instance masks or both.
"""

import math
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from mmdet.apis import inference_detector
from mmdet.registry import DATASETS
from mmdet.structures.mask import BitmapMasks
from mmdet.visualization import get_palette
from mmengine.dataset import BaseDataset, Compose
from mmengine.structures import InstanceData
from torch import nn

from .loading import load_detector

TILE_INCHES = 4
DPI = 100
FONT_POINTS = 9
# A label is drawn above its box, or inside if the box starts in this top fraction of the image.
TOP_MARGIN = 0.08


def make_contact_sheet(
    config: str | Path,
    checkpoint: str | Path,
    out: str | Path,
    num_images: int = 8,
    score_thr: float = 0.3,
    pairs_per_row: int = 2,
    device: str | None = None,
    allow_mismatch: bool = False,
) -> Path:
    """Run a detector on images of its test set and draw them on one sheet.

    Args:
        config: Config file of the detector, with the data set in its ``test_dataloader``.
        checkpoint: Checkpoint file of the detector.
        out: Image to write, as for :func:`draw_contact_sheet`.
        num_images: Number of images to show; all if the data set has fewer.
        score_thr: Only predictions with a higher score are drawn.
        pairs_per_row: Number of pairs of ground truth and prediction per row.
        device: Device of the detector; None for a GPU if there is one.
        allow_mismatch: Whether the checkpoint may be of another detector than the config's.

    Returns:
        ``out`` as a path.

    Raises:
        FileNotFoundError: If the config, the checkpoint or the data set is missing.
        ValueError: If ``num_images`` or ``pairs_per_row`` is less than 1, or the checkpoint is of
            another detector.
    """
    if min(num_images, pairs_per_row) < 1:
        raise ValueError(
            'num_images and pairs_per_row must be at least 1, but got '
            f'num_images={num_images}, pairs_per_row={pairs_per_row}.'
        )
    model = load_detector(config, checkpoint, device=device, allow_mismatch=allow_mismatch)
    dataset = DATASETS.build(model.cfg.test_dataloader.dataset)
    indices = range(min(num_images, len(dataset)))
    return draw_contact_sheet(model, dataset, indices, Path(out), score_thr, pairs_per_row)


def draw_contact_sheet(
    model: nn.Module,
    dataset: BaseDataset,
    indices: Sequence[int],
    out: Path,
    score_thr: float = 0.3,
    pairs_per_row: int = 2,
) -> Path:
    """Run a detector on images of a data set and draw them on one sheet.

    Args:
        model: The detector, as ``init_detector`` returns it.
        dataset: The data set.
        indices: Numbers of the images in the data set, from 0.
        out: Image to write, with tiles of 400 x 400 pixels. The tiles of an image that cannot be
            processed stay empty.
        score_thr: Only predictions with a higher score are drawn.
        pairs_per_row: Number of pairs of ground truth and prediction per row.

    Returns:
        ``out``.
    """
    rows = math.ceil(len(indices) / pairs_per_row)
    columns = 2 * pairs_per_row
    figure = Figure((columns * TILE_INCHES, rows * TILE_INCHES), DPI, layout='constrained')
    tiles = figure.subplots(rows, columns, squeeze=False).ravel()
    for tile in tiles:
        tile.set_axis_off()
    for place, index in enumerate(indices):
        title = Path(dataset.get_data_info(index)['img_path']).name
        try:
            image, truth, prediction = _detect(model, dataset, index)
        except (cv2.error, OSError, RuntimeError, ValueError) as error:
            print(f'{title}: cannot be processed ({error})', file=sys.stderr)
            tiles[2 * place].set_title(f'{title}: cannot be processed', parse_math=False)
            continue
        prediction = prediction[prediction.scores > score_thr]
        # The best prediction is drawn last, on top of the others.
        prediction = prediction[prediction.scores.argsort()]
        _draw(tiles[2 * place], title, image, truth, dataset.metainfo)
        _draw(tiles[2 * place + 1], 'prediction', image, prediction, model.dataset_meta)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out)
    return out


def _detect(
    model: nn.Module, dataset: BaseDataset, index: int
) -> tuple[np.ndarray, InstanceData, InstanceData]:
    """Return image (RGB), ground truth and prediction, both in pixels of the original image.

    The ground truth is not from the test pipeline, which may rescale it.
    """
    info = dataset.get_data_info(index)
    prediction = inference_detector(model, info['img_path']).pred_instances.cpu()
    load_truth = Compose(
        [
            dict(type='LoadImageFromFile', backend_args=model.cfg.get('backend_args')),
            dict(type='LoadAnnotations', box_type=None, with_mask='masks' in prediction),
            dict(type='PackDetInputs'),
        ]
    )
    packed = load_truth(info)
    image = packed['inputs'].permute(1, 2, 0).flip(-1).numpy()
    return image, packed['data_samples'].gt_instances, prediction


def _draw(
    axes: Axes, title: str, image: np.ndarray, instances: InstanceData, metainfo: dict
) -> None:
    """Draw an image with boxes, captions and the outlines of masks."""
    height, width = image.shape[:2]
    # Box coordinates start at the edge of the first pixel, those of `imshow` at its center.
    axes.imshow(image, extent=(0, width, height, 0))
    axes.set_title(title, fontsize=FONT_POINTS, parse_math=False)
    palette = get_palette(metainfo.get('palette'), len(metainfo['classes']))
    for index, label in enumerate(instances.labels.tolist()):
        color = np.array(palette[label]) / 255
        caption = metainfo['classes'][label]
        if 'scores' in instances:
            caption += f' {instances.scores[index]:.2f}'
        if 'masks' in instances and (mask := _mask(instances, index)).any():
            pixel_centers = (0.5, width - 0.5, 0.5, height - 0.5)
            axes.contour(mask, levels=[0.5], colors=[color], extent=pixel_centers)
        _draw_box(axes, instances.bboxes[index].tolist(), caption, color, height)


def _mask(instances: InstanceData, index: int) -> np.ndarray:
    """Return one mask as an array: ground truth is `BitmapMasks`, a prediction a tensor."""
    masks = instances.masks
    return masks.masks[index] if isinstance(masks, BitmapMasks) else masks[index].numpy()


def _draw_box(
    axes: Axes, box: Sequence[float], caption: str, color: np.ndarray, image_height: int
) -> None:
    left, top, right, bottom = box
    axes.add_patch(
        Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=color, lw=2)
    )
    axes.text(
        left,
        top,
        caption,
        fontsize=FONT_POINTS,
        parse_math=False,
        color='white',
        verticalalignment='top' if top < TOP_MARGIN * image_height else 'bottom',
        bbox=dict(facecolor=color, edgecolor='none', pad=1),
    )
