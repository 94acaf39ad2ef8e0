"""Gathering and scattering for mmcv's MaskedConv2d, which convolves only at chosen places."""

import torch.nn.functional as F
from torch import Tensor


def masked_im2col_forward(
    im: Tensor,  # (1, C, H, W), padded with zeros
    mask_h_idx: Tensor,  # rows of the places, (num_places,)
    mask_w_idx: Tensor,  # columns of the places, (num_places,)
    col: Tensor,  # receives the windows, (C * kernel_h * kernel_w, num_places)
    kernel_h: int,  # rows of a window
    kernel_w: int,  # columns of a window
    pad_h: int,  # rows of zeros above and below
    pad_w: int,  # columns of zeros on the left and on the right
) -> None:
    """Gather the windows around the chosen places."""
    padded = F.pad(im[0], (pad_w, pad_w, pad_h, pad_h))
    windows = padded.unfold(1, kernel_h, 1).unfold(2, kernel_w, 1)  # (C, h, w, kernel_h, kernel_w)
    col.copy_(windows[:, mask_h_idx, mask_w_idx].movedim(1, -1).flatten(0, 2))


def masked_col2im_forward(
    col: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    im: Tensor,
    height: int,
    width: int,
    channels: int,
) -> None:
    """Scatter ``(channels, num_places)`` to the chosen places of ``im``; others do not change."""
    im[0, :, mask_h_idx, mask_w_idx] = col
