"""The precision of operators, predictors and RoI pooling: at least float32."""

import torch
from torch import Tensor


def widen(tensor: Tensor) -> Tensor:
    """Convert low precision to float32."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
