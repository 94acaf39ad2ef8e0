"""Detections on a data set, and the ground truth to compare them with."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mmengine
import torch
from mmengine.dataset import BaseDataset
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

# A detection does not count if a larger fraction of it is in a crowd.
CROWD_SHARE = 0.5


def read_predictions(file: str | Path) -> list[dict[str, Any]]:
    """Read the predictions of ``tools/test.py --out``.

    Args:
        file: A pickle file; reading it can run code.

    Returns:
        For each image its ``img_id`` and ``pred_instances``.

    Raises:
        ValueError: If the file has something else.
    """
    samples = mmengine.load(file)
    if not all('pred_instances' in sample and 'img_id' in sample for sample in samples):
        raise ValueError(f'{file} must hold detections with image ids, as tools/test.py writes.')
    return samples


@torch.no_grad()
def run_detector(model: nn.Module, loader: DataLoader) -> Iterator[dict[str, Any]]:
    """Run a detector on a data set.

    Args:
        model: The detector.
        loader: Loader of the data set.

    Yields:
        For each image its ``img_id`` and ``pred_instances``.
    """
    for batch in tqdm(loader):
        for sample in model.test_step(batch):
            yield sample.cpu().to_dict()


def read_ground_truth(dataset: BaseDataset) -> dict[int | str, list[dict[str, Any]]]:
    """Read the objects of each image.

    Args:
        dataset: A data set.

    Returns:
        By the image's id, ``bbox``, ``bbox_label`` and ``ignore_flag`` of each object.
    """
    infos = (dataset.get_data_info(index) for index in range(len(dataset)))
    return {info['img_id']: info['instances'] for info in infos}
