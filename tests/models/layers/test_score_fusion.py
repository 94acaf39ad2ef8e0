"""Fusion of class scores."""

import pytest
import torch

from mmdet_detnet.models.layers import FUSIONS


@pytest.mark.parametrize(
    ('name', 'fused'),
    [('complementary', 0.8), ('max', 0.6), ('average', 0.55)],  # 0.6 + 0.5 * (1 - 0.6) = 0.8
)
def test_values(name, fused):
    torch.testing.assert_close(
        FUSIONS[name](torch.tensor(0.6), torch.tensor(0.5)), torch.tensor(fused)
    )


@pytest.mark.parametrize('name', ['complementary', 'max', 'average'])
def test_is_symmetric(name):
    first, second = torch.rand(2, 100, dtype=torch.float64)
    torch.testing.assert_close(FUSIONS[name](first, second), FUSIONS[name](second, first))


def test_complementary_is_one_minus_the_product_of_what_is_missing():
    first, second = torch.rand(2, 100, dtype=torch.float64)
    fused = FUSIONS['complementary'](first, second)
    torch.testing.assert_close(fused, 1 - (1 - first) * (1 - second))
    assert (fused >= torch.maximum(first, second)).all()
