"""Fusion of class scores."""

import pytest
import torch

from mmdet_detnet.models.layers import SCORE_FUSIONS


@pytest.mark.parametrize(
    ('name', 'fused'),
    [('complementary', 0.8), ('max', 0.6), ('average', 0.55)],  # 0.6 + 0.5 * (1 - 0.6) = 0.8
)
def test_values(name, fused):
    torch.testing.assert_close(
        SCORE_FUSIONS[name](torch.tensor(0.6), torch.tensor(0.5)), torch.tensor(fused)
    )
