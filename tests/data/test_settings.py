"""Settings that are chosen from the memory and the number of images."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmdet_detnet.data import config_file
from mmdet_detnet.data.config_file import MEMORY_SHARE, choose_settings
from mmdet_detnet.data.options import TEMPLATES
from mmdet_detnet.data.records import LabeledBox, LabeledImage
from mmdet_detnet.files import config_path

NAME = 'faster-rcnn_detnet59-slim'


@pytest.fixture(scope='module')
def model():
    return Config.fromfile(config_path(TEMPLATES[NAME].config)).model


def choose(model, num_images=100, max_epochs=None):
    image = LabeledImage(Path('a.png'), [LabeledBox('cat', (0, 0, 100, 100))])
    return choose_settings(TEMPLATES[NAME], model, [(image, (320, 240))] * num_images, max_epochs)


@pytest.mark.parametrize(('fitting', 'batch'), [(8.1, 8), (7.9, 4), (2.1, 2), (0.5, 1)])
def test_batch_fits_the_memory_and_sets_the_rate(fitting, batch, model, monkeypatch):
    one = TEMPLATES[NAME].bytes_per_pixel * 320 * 240
    monkeypatch.setattr(config_file, '_free_memory', lambda: int(fitting * one / MEMORY_SHARE))
    chosen = choose(model)
    assert chosen.batch_size == batch
    assert chosen.learning_rate == pytest.approx(1e-3 * batch / 8)


@pytest.mark.parametrize(('fitting', 'batch'), [(8.1, 8), (7.9, 4)])
def test_batch_on_a_gpu_fits_its_free_memory(fitting, batch, monkeypatch):
    """DetNet needs 0.65 of the bytes that it needs on a CPU."""
    one = 0.65 * TEMPLATES[NAME].bytes_per_pixel * 320 * 240
    free = int(fitting * one / MEMORY_SHARE)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'mem_get_info', lambda: (free, 80 * 2**30))
    chosen, reason = config_file._choose_batch(TEMPLATES[NAME], (320, 240), 100)
    assert chosen == batch
    assert "the GPU's memory" in reason


@pytest.mark.parametrize(
    ('size', 'scale'),
    [((416, 416), (416, 416)), ((1920, 1080), (416, 234)), ((640, 480), (416, 312))],
)
def test_scale_has_the_shape_of_the_images(model, size, scale):
    """The boxes take 40 of 1000 pixels: 16.6 of 416, and the smallest anchor has 16."""
    side = max(size) * 0.04
    image = LabeledImage(Path('a.png'), [LabeledBox('cat', (0, 0, side, side))])
    chosen = choose_settings(TEMPLATES[NAME], model, [(image, size)] * 20)
    assert chosen.image_scale == scale
    assert '17 pixels' in chosen.scale_reason


def test_boxes_that_stay_too_small_are_said(model):
    image = LabeledImage(Path('a.png'), [LabeledBox('cat', (0, 0, 12, 12))])
    chosen = choose_settings(TEMPLATES[NAME], model, [(image, (416, 416))] * 20)
    assert chosen.image_scale == (416, 416)
    assert '12 pixels, fewer than the 16 of the smallest anchor' in chosen.scale_reason


def test_few_images_have_four_batches_an_epoch(model):
    assert choose(model, num_images=16).batch_size == 4


# 1500 batches of 8 images; validations are at most 30.
@pytest.mark.parametrize(
    ('num_images', 'epochs', 'interval'), [(205, 59, 2), (10, 120, 4), (9999, 12, 1)]
)
def test_epochs_and_validations(num_images, epochs, interval, model):
    chosen = choose(model, num_images)
    assert (chosen.max_epochs, chosen.val_interval) == (epochs, interval)


def test_given_epochs_are_kept(model):
    assert choose(model, max_epochs=7).max_epochs == 7
