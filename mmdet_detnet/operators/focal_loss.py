"""Focal losses on sigmoids and on a softmax (https://arxiv.org/abs/1708.02002)."""

import torch
import torch.nn.functional as F
from torch import Tensor


def sigmoid_focal_loss_forward(
    input: Tensor,  # logits, (num_samples, num_classes)
    target: Tensor,  # label of each sample, (num_samples,); any other value is background
    # Weight of the samples of each class, (num_classes,); 1 for all if empty, and for the
    # background.
    weight: Tensor,
    output: Tensor,  # receives the losses, as input
    gamma: float,  # exponent of the modulating factor
    alpha: float,  # weight of positive logits; negative logits have 1 - alpha
) -> None:
    """Compute the loss of each logit."""
    logits = input.float() if output.dtype != torch.float64 else input
    probability = logits.sigmoid()
    positive = -alpha * (1 - probability) ** gamma * F.logsigmoid(logits)
    negative = (alpha - 1) * probability**gamma * F.logsigmoid(-logits)
    output.copy_(
        _weigh_logits(torch.where(_is_label(input, target), positive, negative), target, weight)
    )


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Write the derivative of each loss with respect to its logit to ``grad_input``."""
    logits = input.float() if grad_input.dtype != torch.float64 else input
    probability = logits.sigmoid()
    rest = 1 - probability
    positive = rest**gamma * (gamma * probability * F.logsigmoid(logits) - rest)
    negative = probability**gamma * (probability - gamma * rest * F.logsigmoid(-logits))
    gradient = torch.where(_is_label(input, target), alpha * positive, (1 - alpha) * negative)
    grad_input.copy_(_weigh_logits(gradient, target, weight))


def _is_label(input: Tensor, target: Tensor) -> Tensor:
    return target[:, None] == torch.arange(input.shape[1], device=input.device)


def _weigh_logits(values: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    if weight.numel() == 0:
        return values
    is_class = (target >= 0) & (target < len(weight))
    of_sample = torch.where(is_class, weight[target.clamp(0, len(weight) - 1)], 1)
    return values * of_sample[:, None]


def softmax_focal_loss_forward(
    input: Tensor,  # softmax of the logits, (num_samples, num_classes)
    target: Tensor,  # label of each sample, (num_samples,); the loss of a negative one is 0
    weight: Tensor,  # weight of the samples of each class, (num_classes,); 1 for all if empty
    output: Tensor,  # receives the losses, (num_samples,)
    gamma: float,  # exponent of the modulating factor
    alpha: float,  # weight of all losses
) -> None:
    """Compute the loss of each sample."""
    probability = _of_label(input, target)
    loss = -alpha * (1 - probability) ** gamma * _log(probability)
    output.copy_(_weigh_samples(loss, target, weight))


def softmax_focal_loss_backward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    buff: Tensor,
    grad_input: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Write the gradients with respect to the logits to ``grad_input``.

    ``buff`` receives those of the labels' logits up to a factor, ``(num_samples,)``.
    """
    probability = _of_label(input, target)
    rest = 1 - probability
    slope = gamma * rest ** (gamma - 1) * probability * _log(probability) - rest**gamma
    buff.copy_(_weigh_samples(alpha * slope, target, weight))
    is_label = target[:, None] == torch.arange(input.shape[1], device=input.device)
    grad_input.copy_(buff[:, None] * (is_label.to(input.dtype) - input))


def _of_label(softmax: Tensor, target: Tensor) -> Tensor:
    return softmax.gather(1, target.clamp(min=0)[:, None]).squeeze(1)


def _log(probability: Tensor) -> Tensor:
    return probability.clamp(min=torch.finfo(torch.float32).tiny).log()


def _weigh_samples(values: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    if weight.numel():
        values = values * weight[target.clamp(min=0)]
    return values.masked_fill(target < 0, 0)
