"""The objects of a dataset and the detections of a detector, both as in COCO."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import mmengine
import torch
from mmdet.structures.mask import encode_mask_results
from mmengine.dataset import BaseDataset
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from mmdet_detnet.files import read_json

from .metrics import Detection, GroundTruth


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
    chosen = [
        each
        for each in content['annotations']
        if each['image_id'] in paths and each['category_id'] in classes
    ]
    return GroundTruth(
        classes,
        [dict(each, path=paths[each['id']]) for each in content['images'] if each['id'] in paths],
        [
            {'iscrowd': 0, 'area': each['bbox'][2] * each['bbox'][3], **each, 'id': number}
            for number, each in enumerate(chosen, 1)
        ],
    )


@torch.no_grad()
def run_detector(model: nn.Module, loader: DataLoader) -> Iterator[Detection]:
    """Run a detector on a ``CocoDataset``; yield its detections, image by image."""
    for batch in tqdm(loader, desc=Path(loader.dataset.ann_file).stem, unit='batch'):
        for sample in model.test_step(batch):
            yield from to_coco(sample.cpu().to_dict(), loader.dataset)


def read_predictions(file: str | Path, dataset: BaseDataset) -> list[Detection]:
    """Read the predictions of ``tools/test.py --out``.

    Args:
        file: A pickle file; reading it can run code.
        dataset: The ``CocoDataset`` that they are for.

    Raises:
        ValueError: If the file has something else, or predictions for other images.
    """
    samples = mmengine.load(file)
    if not all('pred_instances' in sample and 'img_id' in sample for sample in samples):
        raise ValueError(f'{file} must have detections with image ids, as tools/test.py writes.')
    missing = {dataset.get_data_info(index)['img_id'] for index in range(len(dataset))}
    for sample in samples:
        if sample['img_id'] not in missing:
            raise ValueError(
                f'{file}: image {sample["img_id"]} is not in the test set, or is duplicated.'
            )
        missing.remove(sample['img_id'])
    if missing:
        raise ValueError(f'{file} lacks {len(missing)} of the {len(dataset)} test images.')
    return [each for sample in samples for each in to_coco(sample, dataset)]


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
