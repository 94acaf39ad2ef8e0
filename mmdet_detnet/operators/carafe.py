"""CARAFE, upsampling with predicted kernels (https://arxiv.org/abs/1905.02188)."""

import torch
import torch.nn.functional as F
from torch import Tensor


def carafe_naive_forward(
    features: Tensor,  # (N, C, H, W)
    masks: Tensor,  # weights, (N, group_size * kernel_size ** 2, H * scale, W * scale)
    output: Tensor,  # receives the result, (N, C, H * scale, W * scale)
    kernel_size: int,  # side of the window of each source pixel; odd
    group_size: int,  # number of channel groups with separate weights
    scale_factor: int,  # output pixels per side of an input pixel
) -> None:
    """Upsample; each output pixel is a weighted sum of the pixels around its source."""
    for index in range(len(features)):
        output[index] = _upsample(
            features[index], masks[index], kernel_size, group_size, scale_factor
        )


def carafe_naive_backward(
    top_grad: Tensor,
    features: Tensor,
    masks: Tensor,
    bottom_grad: Tensor,
    mask_grad: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Write the gradients of ``features`` and ``masks`` to ``bottom_grad`` and ``mask_grad``."""
    for index in range(len(features)):
        inputs = [tensor[index].detach().requires_grad_() for tensor in (features, masks)]
        with torch.enable_grad():
            output = _upsample(inputs[0], inputs[1], kernel_size, group_size, scale_factor)
            gradients = torch.autograd.grad(output, inputs, top_grad[index])
        bottom_grad[index], mask_grad[index] = gradients


def carafe_forward(
    features: Tensor,
    masks: Tensor,
    rfeatures: Tensor,
    routput: Tensor,
    rmasks: Tensor,
    output: Tensor,
    **settings: int,
) -> None:
    """Upsample like :func:`carafe_naive_forward`; ``rfeatures`` keeps the features for backward."""
    rfeatures.copy_(features)
    carafe_naive_forward(features, masks, output, **settings)


def carafe_backward(
    top_grad: Tensor,
    rfeatures: Tensor,
    masks: Tensor,
    rtop_grad: Tensor,
    rbottom_grad_hs: Tensor,
    rbottom_grad: Tensor,
    rmask_grad: Tensor,
    bottom_grad: Tensor,
    mask_grad: Tensor,
    **settings: int,
) -> None:
    """Write the gradients like :func:`carafe_naive_backward`."""
    carafe_naive_backward(top_grad, rfeatures, masks, bottom_grad, mask_grad, **settings)


def _upsample(image: Tensor, mask: Tensor, kernel_size: int, groups: int, scale: int) -> Tensor:
    channels, height, width = image.shape
    # (1, channels * kernel_size**2, height * width)
    windows = F.unfold(image[None], kernel_size, padding=kernel_size // 2)
    windows = windows.view(groups, channels // groups, kernel_size**2, height, width)
    mask = mask.view(groups, kernel_size**2, height, scale, width, scale)
    return torch.einsum('gckyx,gkyixj->gcyixj', windows, mask).reshape(
        channels, height * scale, width * scale
    )
