"""The steps of mmcv's MMSyncBN, between which processes exchange statistics."""

import torch
from torch import Tensor


def sync_bn_forward_mean(input: Tensor, mean: Tensor) -> None:
    """Write the mean of each channel of ``(N, C, L)`` to ``mean``."""
    mean.copy_(input.float().mean((0, 2)))


def sync_bn_forward_var(input: Tensor, mean: Tensor, var: Tensor) -> None:
    """Write the biased variance of each channel about ``mean`` to ``var``."""
    var.copy_((input.float() - mean[:, None]).square().mean((0, 2)))


def sync_bn_forward_output(
    input: Tensor,  # (N, C, L)
    mean: Tensor,  # mean of all processes, (C,), as all below
    var: Tensor,  # biased variance of all processes
    weight: Tensor,  # the scale; 1 if empty
    bias: Tensor,  # the shift; 0 if empty
    running_mean: Tensor,  # moved towards the mean; not used if empty
    running_var: Tensor,  # moved towards the unbiased variance; not used if empty
    norm: Tensor,  # receives the normalized input, (N, C, L)
    std: Tensor,  # receives the standard deviations
    output: Tensor,  # receives the result, (N, C, L)
    eps: float,  # added to the variance
    momentum: float,  # weight of the new statistics in the running ones
    group_size: int,  # number of processes
) -> None:
    """Normalize, and update the running statistics."""
    std.copy_((var + eps).sqrt())
    norm.copy_((input.float() - mean[:, None]) / std[:, None])
    output.copy_(norm * weight[:, None] + bias[:, None] if weight.numel() else norm)
    if running_mean.numel():
        count = input.shape[0] * input.shape[2] * group_size
        running_mean.lerp_(mean, torch.as_tensor(momentum).to(mean))
        unbiased = var * (count / max(count - 1, 1))
        running_var.lerp_(unbiased, torch.as_tensor(momentum).to(var))


def sync_bn_backward_param(
    grad_output: Tensor, norm: Tensor, grad_weight: Tensor, grad_bias: Tensor
) -> None:
    """Write the gradients of weight and bias; ``norm`` is as written by forward."""
    grad_weight.copy_((grad_output.float() * norm).sum((0, 2)))
    grad_bias.copy_(grad_output.float().sum((0, 2)))


def sync_bn_backward_data(
    grad_output: Tensor,
    weight: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    norm: Tensor,
    std: Tensor,
    grad_input: Tensor,
) -> None:
    """Write the gradient of the input.

    ``grad_weight`` and ``grad_bias`` are means over the processes, ``norm`` and ``std`` as written
    by forward.
    """
    count = norm.shape[0] * norm.shape[2]
    common = (grad_weight[:, None] * norm + grad_bias[:, None]) / count
    grad_input.copy_((weight / std)[:, None] * (grad_output.float() - common))
