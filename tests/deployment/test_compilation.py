"""How often a forward is compiled, as sizes and batches change."""

import pytest
import torch
from helpers import needs_torch
from torch import nn
from torch._dynamo.utils import counters

from mmdet_detnet.deployment.replaced_forward import OLDEST_TORCH, CompiledForward

pytestmark = needs_torch(OLDEST_TORCH, 'accelerate does not compile')
# Square first; then wider, higher, odd, larger, and square again.
SIZES = [(96, 96), (96, 160), (160, 96), (97, 131), (640, 320), (128, 128)]


class Pyramid(nn.Module):
    """Levels at strides 16 and 32, and one from both."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=16, padding=1)
        self.top = nn.Conv2d(4, 4, 3, stride=2, padding=1)

    def forward(self, image):
        level = self.stem(image).relu()
        top = self.top(level)
        size = level.shape[2:]
        return level + nn.functional.interpolate(top, size=size), top


@pytest.fixture
def pyramid():
    torch.compiler.reset()
    counters.clear()
    return CompiledForward(Pyramid().eval().forward, backend='eager')


def count_compilations():
    return counters['stats']['unique_graphs']


@torch.no_grad()
def run_all(pyramid, batches, sizes):
    for batch in batches:
        for size in sizes:
            image = torch.rand(batch, 3, *size)
            for output, expected in zip(pyramid(image), pyramid.forward(image), strict=True):
                torch.testing.assert_close(output, expected)


def test_batches_of_one_and_of_several_are_compiled_once_each(pyramid):
    run_all(pyramid, [2, 1, 3, 8, 1], SIZES)
    assert count_compilations() == 2


def test_minimal_sizes_are_not_compiled_and_spoil_nothing(pyramid):
    run_all(pyramid, [1], [(32, 32), (1, 1), (63, 200)])
    assert count_compilations() == 0
    run_all(pyramid, [1], [*SIZES, (32, 64)])
    assert count_compilations() == 1
