"""Load a detector with all of its weights, read its test images, and run it on them."""

import contextlib
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from mmdet.apis import init_detector
from mmdet.models.detectors import BaseDetector
from mmdet.structures.mask import encode_mask_results
from mmengine.dataset import BaseDataset
from mmengine.device import get_device
from mmengine.logging import MMLogger
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from mmdet_detnet.config import load_config
from mmdet_detnet.deployment import keep_freed_memory
from mmdet_detnet.files import check_files, read_json
from mmdet_detnet.training.checks import check_checkpoint

from .metrics import Detection, GroundTruth, number_objects, quiet


def load_detector(
    config: str | Path,
    checkpoint: str | Path,
    cfg_options: dict[str, Any] | None = None,
    device: str | None = None,
    allow_mismatch: bool = False,
) -> BaseDetector:
    """Build the detector of a config, in evaluation mode, and load its weights.

    Args:
        config: As for :func:`~mmdet_detnet.config.load_config`.
        checkpoint: Checkpoint, a file or URL.
        cfg_options: As for :func:`~mmdet_detnet.config.set_options`.
        device: Device of the detector; None for a GPU if there is one.
        allow_mismatch: Whether the checkpoint may be of another detector than the config's.

    Raises:
        FileNotFoundError: If one of the files is missing.
        ValueError: If an option is wrong, or the checkpoint is of another detector, for example
            with other classes.
    """
    check_files(checkpoint)
    cfg = load_config(config, cfg_options)
    keep_freed_memory()
    detector = init_detector(cfg, str(checkpoint), device=device or get_device())
    if not allow_mismatch:
        check_checkpoint(detector, checkpoint)
    return detector


@contextlib.contextmanager
def silence(level: int = logging.WARNING) -> Iterator[None]:
    """Keep what mmengine and pycocotools print off the terminal, and what they log below a level.

    At ``logging.ERROR``, their warnings, too.
    """
    logger = MMLogger.get_current_instance()  # before the redirection, which it would keep
    before = logger.level
    logger.setLevel(level)
    try:
        with quiet(), warnings.catch_warnings():
            if level >= logging.ERROR:
                warnings.simplefilter('ignore', UserWarning)
            yield
    finally:
        logger.setLevel(before)


def read_ground_truth(dataset: BaseDataset) -> GroundTruth:
    """Read all objects of a dataset, also those that MMDetection leaves out.

    Args:
        dataset: A ``CocoDataset`` or one of its subclasses.

    Raises:
        ValueError: If it is of another type, or its file lacks a class of its ``metainfo``.
    """
    if not hasattr(dataset, 'cat_ids'):
        raise ValueError(
            f'the dataset must be a CocoDataset, got {type(dataset).__name__}; '
            'tools/test.py evaluates others.'
        )
    content = read_json(dataset.ann_file)
    names = {each['id']: each['name'] for each in content['categories']}
    if missing := {*dataset.metainfo['classes']} - {*names.values()}:
        raise ValueError(f'{dataset.ann_file} has no categories {sorted(missing)}.')
    # mmdet numbers the classes in the order of the file, not of `metainfo`.
    classes = {category: names[category] for category in dataset.cat_ids}
    infos = map(dataset.get_data_info, range(len(dataset)))
    paths = {info['img_id']: info['img_path'] for info in infos}
    chosen = (
        each
        for each in content['annotations']
        if each['image_id'] in paths and each['category_id'] in classes
    )
    return GroundTruth(
        classes,
        [dict(each, path=paths[each['id']]) for each in content['images'] if each['id'] in paths],
        number_objects(chosen),
    )


@torch.no_grad()
def run_detector(model: nn.Module, loader: DataLoader) -> Iterator[Detection]:
    """Run a detector on a ``CocoDataset``; yield its detections, image by image."""
    try:
        for batch in tqdm(loader, desc=Path(loader.dataset.ann_file).stem, unit='batch'):
            for sample in model.test_step(batch):
                yield from to_coco(sample.cpu().to_dict(), loader.dataset)
    except FileNotFoundError as error:
        # A process of the loader writes its traceback before the sentence.
        raise FileNotFoundError(str(error).strip().splitlines()[-1]) from error


def to_coco(sample: Mapping[str, Any], dataset: BaseDataset) -> list[Detection]:
    """Convert the detections of an image, as in MMDetection, to COCO's results."""
    predicted = sample['pred_instances']
    boxes = predicted['bboxes'].double()
    boxes = torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1).tolist()
    labels, scores = predicted['labels'].tolist(), predicted['scores'].tolist()
    detections = [
        dict(image_id=sample['img_id'], category_id=dataset.cat_ids[label], bbox=box, score=score)
        for box, label, score in zip(boxes, labels, scores, strict=True)
    ]
    if 'masks' in predicted:
        masks = predicted['masks']
        encoded = encode_mask_results(masks) if isinstance(masks, torch.Tensor) else masks
        for detection, mask in zip(detections, encoded, strict=True):
            detection['segmentation'] = mask
    return detections
