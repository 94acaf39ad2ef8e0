"""A small dataset on disk, and its check."""

import json

import pytest
from folders import write_image
from small_dataset import make_content

from mmdet_detnet.data.check import check_dataset


@pytest.fixture
def content(tmp_path):
    """A dataset that has no defect yet; the third image on disk is not in its file."""
    for name in 'abc':
        write_image(tmp_path / f'images/{name}.png')
    return make_content()


@pytest.fixture
def check(tmp_path):
    """Write a dataset and check it."""

    def run(content, **options):
        file = tmp_path / 'data.json'
        file.write_text(json.dumps(content))
        return check_dataset(file, tmp_path / 'images', **options)

    return run
