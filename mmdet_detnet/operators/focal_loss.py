"""The focal loss on sigmoids (https://arxiv.org/abs/1708.02002)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mmdet_detnet.precision import widen


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
    logits = widen(input)
    probability = logits.sigmoid()
    positive = -alpha * (1 - probability) ** gamma * F.logsigmoid(logits)
    negative = (alpha - 1) * probability**gamma * F.logsigmoid(-logits)
    loss = torch.where(_is_label(input, target), positive, negative)
    output.copy_(_weigh(loss, target, weight))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Write the derivative of each loss with respect to its logit to ``grad_input``."""
    logits = widen(input)
    probability = logits.sigmoid()
    rest = 1 - probability
    positive = rest**gamma * (gamma * probability * F.logsigmoid(logits) - rest)
    negative = probability**gamma * (probability - gamma * rest * F.logsigmoid(-logits))
    gradient = torch.where(_is_label(input, target), alpha * positive, (1 - alpha) * negative)
    grad_input.copy_(_weigh(gradient, target, weight))


def _is_label(input: Tensor, target: Tensor) -> Tensor:
    return target[:, None] == torch.arange(input.shape[1], device=input.device)


def _weigh(values: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    if weight.numel() == 0:
        return values
    is_class = (target >= 0) & (target < len(weight))
    of_sample = torch.where(is_class, weight[target.clamp(0, len(weight) - 1)], 1)
    return values * of_sample[:, None]
