"""Fusion of two classifiers' scores, as Double-Head-Ext does at test time.

Paper: https://arxiv.org/abs/1904.06493, equation 4. The other fusions are for comparison.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def complementary_fusion(first: Tensor, second: Tensor) -> Tensor:
    """Combine probabilities as ``s1 + s2 (1 - s1)``: 0.6 and 0.5 become 0.8.

    Args:
        first: Probabilities of one classifier, of any shape.
        second: Those of the other, of the same shape.

    Returns:
        Scores of the same shape, at least as high as either; over all classes, they do not sum to
        1.
    """
    return first + second * (1 - first)


def average_fusion(first: Tensor, second: Tensor) -> Tensor:
    """Combine probabilities by their mean; arguments as of :func:`complementary_fusion`."""
    return (first + second) / 2


SCORE_FUSIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    'complementary': complementary_fusion,
    'max': torch.maximum,
    'average': average_fusion,
}
