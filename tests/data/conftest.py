"""A small dataset on disk, and the command line that checks it."""

import json
import sys

import check_dataset
import cv2
import numpy as np
import pytest
from small_dataset import HEIGHT, WIDTH, make_content

from mmdet_detnet.data import check as data_check


@pytest.fixture
def content(tmp_path):
    """A dataset that has no defect yet; the third image on disk is not in its file."""
    (tmp_path / 'images').mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    for name in 'abc':
        cv2.imwrite(str(tmp_path / f'images/{name}.png'), pixels)
    return make_content()


@pytest.fixture
def check(tmp_path, monkeypatch):
    """Run the command line on a dataset; return its exit status and its report."""

    def run(content, *options, with_picture=False):
        file = tmp_path / 'data.json'
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        paths = [str(file), str(tmp_path / 'images'), '--out-dir', str(tmp_path / 'out')]
        monkeypatch.setattr(sys, 'argv', ['check_dataset.py', *paths, *map(str, options)])
        if not with_picture:
            monkeypatch.setattr(data_check, 'draw_distributions', lambda check, out: None)
        status = check_dataset.main()
        report = tmp_path / 'out/data_check.json'
        return status, json.loads(report.read_text()) if report.exists() else None

    return run
