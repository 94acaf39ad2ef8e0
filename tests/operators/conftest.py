"""``mmcv.ops`` on this package's functions, even where it has compiled ones."""

import pytest
import torch

from mmdet_detnet.benchmark.operators import use_own_operators


@pytest.fixture
def on_own_operators():
    with use_own_operators():
        yield


@pytest.fixture
def feature_map():
    """A small map of two images."""
    return torch.randn(2, 2, 7, 12, dtype=torch.float64, requires_grad=True)
