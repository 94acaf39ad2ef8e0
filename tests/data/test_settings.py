"""Settings that are chosen from the memory, the images and their boxes."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmdet_detnet import config_path
from mmdet_detnet.data import config_file
from mmdet_detnet.data.config_file import MEMORY_SHARE, choose_settings
from mmdet_detnet.data.options import TEMPLATES
from mmdet_detnet.data.records import LabeledBox, LabeledImage

NAME = 'faster-rcnn_detnet59-slim'


@pytest.fixture(scope='module')
def model():
    return Config.fromfile(config_path(f'custom/{NAME}_fpn_custom.py')).model


def choose(model, size=(320, 240), side=100, num_images=100, max_epochs=None):
    image = LabeledImage(Path('a.png'), [LabeledBox('cat', (0, 0, side, side))], size=size)
    return choose_settings(NAME, model, [image] * num_images, max_epochs)[0]


@pytest.mark.parametrize(('fitting', 'batch'), [(8.1, 8), (7.9, 4), (2.1, 2), (0.5, 1)])
@pytest.mark.parametrize('factor', [1, 0.65])  # DetNet's of a GPU
def test_batch_fits_the_memory_and_sets_the_rate(fitting, batch, factor, model, monkeypatch):
    one = factor * TEMPLATES[NAME] * 320 * 240
    free = int(fitting * one / MEMORY_SHARE)
    monkeypatch.setattr(config_file, '_free_memory', lambda: free)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: factor < 1)
    monkeypatch.setattr(torch.cuda, 'mem_get_info', lambda: (free, 80 * 2**30))
    chosen = choose(model)
    assert chosen['batch_size'] == batch
    assert chosen['lr'] == pytest.approx(1e-3 * batch / 8)
    assert ("the GPU's memory" in chosen['batch_reason']) == (factor < 1)


@pytest.mark.parametrize(
    ('size', 'scale'),
    [((416, 416), (416, 416)), ((1920, 1080), (416, 234)), ((640, 480), (416, 312))],
)
def test_scale_has_the_shape_of_the_images(model, size, scale):
    """The boxes take 40 of 1000 pixels: 16.6 of 416, and the smallest anchor has 16."""
    chosen = choose(model, size, side=max(size) * 0.04)
    assert chosen['image_scale'] == scale
    assert '17 pixels' in chosen['scale_reason']


def test_boxes_that_stay_too_small_are_said(model):
    chosen = choose(model, (416, 416), side=12)
    assert chosen['image_scale'] == (416, 416)
    assert '12 pixels, fewer than the 16 of the smallest anchor' in chosen['scale_reason']


# 1500 batches of 8 images; validations are at most 30; four batches an epoch.
@pytest.mark.parametrize(
    ('num_images', 'given', 'expected'),
    [
        (205, None, (59, 2, 8)),
        (16, None, (120, 4, 4)),
        (9999, None, (12, 1, 8)),
        (205, 7, (7, 1, 8)),
    ],
)
def test_epochs_validations_and_batches(num_images, given, expected, model, monkeypatch):
    monkeypatch.setattr(config_file, '_free_memory', lambda: 2**40)
    chosen = choose(model, num_images=num_images, max_epochs=given)
    assert (chosen['max_epochs'], chosen['val_interval'], chosen['batch_size']) == expected
