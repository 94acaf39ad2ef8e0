"""The precision in which operators compute."""

import torch
from torch import Tensor


def widen(tensor: Tensor) -> Tensor:
    """Convert low precision to float32, in which samples and sums are computed."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
