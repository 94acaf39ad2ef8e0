"""``mmcv.ops`` on this package's functions, even where it has compiled ones."""

import pytest

from mmdet_detnet.benchmark.operators import use_own_operators


@pytest.fixture
def on_own_operators():
    with use_own_operators():
        yield
