"""Draw a small detection dataset in COCO format: circles, squares and triangles on noise.

The same arguments give the same pixels and the same annotation bytes. pycocotools rasterizes both
pixels and masks, so boxes, areas and polygons are exact.
"""

import json
import math
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

CLASSES = ('circle', 'square', 'triangle')
IMAGE_SIZE = 160  # pixels, height and width
MIN_SIZE, MAX_SIZE = 12, 72  # pixels, of either side of a box
MAX_OBJECTS = 6
MAX_BOX_OVERLAP = 0.1  # fraction of the smaller box; the shapes never cover each other
MIN_CONTRAST = 100  # Euclidean distance of a shape's mean color from the background's
PLACEMENT_TRIALS = 20
NUM_CORNERS = {'circle': 32, 'square': 4, 'triangle': 3}


def generate_shapes(
    root: str | Path, num_train: int = 400, num_val: int = 100, seed: int = 0
) -> Path:
    """Write the dataset, unless the same one exists already.

    It consists of ``annotations/{train,val}.json`` and ``{train,val}/*.png``. The folder appears
    only when it is complete. Image ``i`` of a split depends only on ``seed`` and ``i``, so a larger
    set starts with the images of a smaller one.

    Args:
        root: Folder of the dataset; must not exist, be empty, or contain this dataset.
        num_train: Number of training images.
        num_val: Number of validation images.
        seed: Seed of all random choices, at least 0.

    Returns:
        ``root`` as a path.

    Raises:
        ValueError: If a number of images or the seed is out of range.
        FileExistsError: If ``root`` contains anything but this dataset.
    """
    root = Path(root)
    if min(num_train, num_val) < 1 or seed < 0:
        raise ValueError(
            'num_train and num_val must be at least 1 and seed at least 0, but got '
            f'num_train={num_train}, num_val={num_val}, seed={seed}.'
        )
    sizes = {'train': num_train, 'val': num_val}
    if root.exists() and (root.is_file() or any(root.iterdir())):
        wanted = [_info(num_images, seed) for num_images in sizes.values()]
        found = [_read_info(root, split) for split in sizes]
        numbers = [len([*root.glob(f'{split}/*.png')]) for split in sizes]
        if (found, numbers) != (wanted, [num_train, num_val]):
            raise FileExistsError(
                f'{root} is not empty and is not the requested dataset: it has {numbers} images '
                f'and {found}; wanted {wanted}. Delete the folder or choose another.'
            )
        return root
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root.parent, prefix=f'.{root.name}-') as temporary:
        unfinished = Path(temporary) / 'shapes'
        for split_index, (split, num_images) in enumerate(sizes.items()):
            _write_split(unfinished, split, num_images, (seed, split_index))
        unfinished.rename(root)
    return root


def draw_image(rng: np.random.Generator) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Draw one image.

    Returns:
        The image, ``(IMAGE_SIZE, IMAGE_SIZE, 3)`` uint8, and the COCO annotation of each of its one
        to ``MAX_OBJECTS`` shapes, without ids.
    """
    background = rng.uniform(40, 216, 3)
    coarse = rng.normal(0, 10, (10, 10, 3))
    noise = cv2.resize(coarse, (IMAGE_SIZE, IMAGE_SIZE), interpolation=cv2.INTER_CUBIC)
    image = background + noise
    occupied = np.zeros((IMAGE_SIZE, IMAGE_SIZE), bool)
    shapes: list[dict[str, Any]] = []
    wanted = int(rng.integers(1, MAX_OBJECTS + 1))
    for _ in range(wanted * PLACEMENT_TRIALS):
        if len(shapes) == wanted:
            break
        shape, mask = _propose_shape(rng)
        if (mask & occupied).any() or not _fits(shape['bbox'], [s['bbox'] for s in shapes]):
            continue
        image[mask] = _contrasting_color(rng, background)
        occupied |= mask
        shapes.append(shape)
    image += rng.normal(0, 12, image.shape)
    return image.clip(0, 255).astype(np.uint8), shapes


def _contrasting_color(rng: np.random.Generator, background: np.ndarray) -> np.ndarray:
    while True:
        color = rng.uniform(0, 255, 3)
        if np.linalg.norm(color - background) >= MIN_CONTRAST:
            return color


def _propose_shape(rng: np.random.Generator) -> tuple[dict[str, Any], np.ndarray]:
    """Draw class, size, rotation and place at random; measure the annotation on the mask."""
    label = int(rng.integers(len(CLASSES)))
    corners = NUM_CORNERS[CLASSES[label]]
    angles = 2 * math.pi * np.arange(corners) / corners + rng.uniform(0, 2 * math.pi)
    polygon = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    polygon -= polygon.min(axis=0)
    polygon *= rng.uniform(MIN_SIZE, MAX_SIZE) / polygon.max()
    polygon += rng.uniform(0, IMAGE_SIZE - polygon.max(axis=0))
    points = polygon.round(2).ravel().tolist()
    encoded = coco_mask.frPyObjects([points], IMAGE_SIZE, IMAGE_SIZE)[0]
    shape = dict(
        category_id=label + 1,
        bbox=coco_mask.toBbox(encoded).tolist(),
        area=int(coco_mask.area(encoded)),
        segmentation=[points],
        iscrowd=0,
    )
    return shape, coco_mask.decode(encoded).astype(bool)


def _fits(box: list[float], others: list[list[float]]) -> bool:
    """Return whether a box has an allowed size and hardly overlaps others."""
    if not MIN_SIZE <= min(box[2:]) <= max(box[2:]) <= MAX_SIZE:
        return False
    if not others:
        return True
    # With `iscrowd`, pycocotools divides by the area of the first box only.
    of_this = coco_mask.iou(np.array([box]), np.array(others), [1] * len(others))
    of_other = coco_mask.iou(np.array(others), np.array([box]), [1])
    return max(of_this.max(), of_other.max()) <= MAX_BOX_OVERLAP


def _write_split(root: Path, split: str, num_images: int, seed: tuple[int, int]) -> None:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    (root / split).mkdir(parents=True)
    for index in range(num_images):
        image, shapes = draw_image(np.random.default_rng([*seed, index]))
        name = f'{index:06d}.png'
        if not cv2.imwrite(str(root / split / name), image):
            raise OSError(f'Cannot write {root / split / name}.')
        images.append(dict(id=index, file_name=name, height=IMAGE_SIZE, width=IMAGE_SIZE))
        for shape in shapes:
            annotations.append(dict(id=len(annotations) + 1, image_id=index, **shape))
    data = dict(
        info=_info(num_images, seed[0]),
        images=images,
        annotations=annotations,
        categories=[dict(id=i, name=name) for i, name in enumerate(CLASSES, start=1)],
    )
    (root / 'annotations').mkdir(exist_ok=True)
    (root / 'annotations' / f'{split}.json').write_text(json.dumps(data))


def _info(num_images: int, seed: int) -> dict[str, Any]:
    return dict(description='drawn shapes', version='1', num_images=num_images, seed=seed)


def _read_info(root: Path, split: str) -> dict[str, Any] | None:
    try:
        return json.loads((root / 'annotations' / f'{split}.json').read_text())['info']
    except (OSError, ValueError, KeyError, TypeError):
        return None
