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
    input: Tensor,
    mean: Tensor,
    var: Tensor,
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    norm: Tensor,
    std: Tensor,
    output: Tensor,
    eps: float,
    momentum: float,
    group_size: int,
) -> None:
    """Normalize, and update the running statistics.

    Args:
        input: ``(N, C, L)``.
        mean: Mean of all processes, ``(C,)``, as all below.
        var: Biased variance of all processes.
        weight: The scale; 1 if empty.
        bias: The shift; 0 if empty.
        running_mean: Moved towards the mean; not used if empty.
        running_var: Moved towards the unbiased variance; not used if empty.
        norm: Receives the normalized input, ``(N, C, L)``.
        std: Receives the standard deviations.
        output: Receives the result, ``(N, C, L)``.
        eps: Added to the variance.
        momentum: Weight of the new statistics in the running ones.
        group_size: Number of processes.
    """
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
