"""A small dataset on disk, and its check."""

import json

import cv2
import numpy as np
import pytest
from small_dataset import HEIGHT, WIDTH, make_content

from mmdet_detnet.data.check import check_dataset


@pytest.fixture
def content(tmp_path):
    """A dataset that has no defect yet; the third image on disk is not in its file."""
    (tmp_path / 'images').mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    for name in 'abc':
        cv2.imwrite(str(tmp_path / f'images/{name}.png'), pixels)
    return make_content()


@pytest.fixture
def check(tmp_path):
    """Write a dataset and check it."""

    def run(content, **options):
        file = tmp_path / 'data.json'
        file.write_text(json.dumps(content))
        return check_dataset(file, tmp_path / 'images', **options)

    return run
