"""CARAFE, upsampling with predicted kernels (https://arxiv.org/abs/1905.02188)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mmdet_detnet.precision import widen


def carafe_forward(
    features: Tensor,  # (N, C, H, W)
    masks: Tensor,  # weights, (N, group_size * kernel_size ** 2, H * scale, W * scale)
    rfeatures: Tensor,  # receives the features, for the backward pass
    routput: Tensor,  # unused
    rmasks: Tensor,  # unused
    output: Tensor,  # receives the result, (N, C, H * scale, W * scale)
    kernel_size: int,  # side of the window of each source pixel; odd
    group_size: int,  # number of channel groups with separate weights
    scale_factor: int,  # output pixels per side of an input pixel
) -> None:
    """Upsample; each output pixel is a weighted sum of the pixels around its source."""
    rfeatures.copy_(features)
    for result, image, mask in zip(output, features, masks, strict=True):
        result.copy_(_upsample(image, mask, kernel_size, group_size, scale_factor))


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
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Write the gradients of ``rfeatures`` and ``masks`` to ``bottom_grad`` and ``mask_grad``."""
    for index, gradient in enumerate(top_grad):
        inputs = [tensor[index].detach().requires_grad_() for tensor in (rfeatures, masks)]
        with torch.enable_grad():
            output = _upsample(inputs[0], inputs[1], kernel_size, group_size, scale_factor)
        bottom_grad[index], mask_grad[index] = torch.autograd.grad(output, inputs, gradient)


def _upsample(image: Tensor, mask: Tensor, kernel_size: int, groups: int, scale: int) -> Tensor:
    channels, height, width = image.shape
    # (1, channels * kernel_size**2, height * width)
    windows = F.unfold(widen(image)[None], kernel_size, padding=kernel_size // 2)
    windows = windows.view(groups, channels // groups, kernel_size**2, height, width)
    mask = widen(mask).view(groups, kernel_size**2, height, scale, width, scale)
    output = torch.einsum('gckyx,gkyixj->gcyixj', windows, mask)
    return output.reshape(channels, height * scale, width * scale).to(image.dtype)
