"""Make a wanted number of proposals survive the score threshold, whatever the weights."""

from collections.abc import Callable

import torch
from torch import nn

from .detectors import LOGIT_STD


@torch.no_grad()
def set_survivors(
    roi_head: nn.Module, predict: Callable[[], object], survivors: int
) -> tuple[int, int] | None:
    """Change the classifier so that a number of proposals have a class worth detecting.

    Post-processing, and a head that computes boxes for such proposals only, cost as much as there
    are of them; with random weights there are none. The logits of every class get zero mean and a
    trained detector's spread over the proposals. Then the bias of the background decides: for
    each proposal there is a bias at which its best foreground score equals the threshold, and the
    bias that is set lies half-way between those of the last survivor and of the next proposal.

    Args:
        roi_head: A RoI head with one box head that ends in a linear layer ``fc_cls`` with softmax;
            any other, such as a cascade's, is left alone.
        predict: Runs the RoI head.
        survivors: Wanted number, of all proposals of the batch.

    Returns:
        The number of proposals, and of those whose best foreground score exceeds ``score_thr``; or
        none if the head was left alone.
    """
    classifier = getattr(getattr(roi_head, 'bbox_head', None), 'fc_cls', None)
    if not isinstance(classifier, nn.Linear):
        return None
    features = _recorded_input(classifier, predict)
    _spread(classifier, features)
    logits = _logits(classifier, features)
    biases = _critical_biases(logits, roi_head.test_cfg.score_thr).sort(descending=True).values
    classifier.bias[-1] += _between(biases, survivors).to(classifier.bias)
    best = _logits(classifier, features).softmax(dim=1)[:, :-1].amax(dim=1)
    return len(best), int((best > roi_head.test_cfg.score_thr).sum())


def _recorded_input(module: nn.Module, action: Callable[[], object]) -> torch.Tensor:
    inputs = []
    handle = module.register_forward_pre_hook(lambda _, arguments: inputs.append(arguments[0]))
    try:
        action()
    finally:
        handle.remove()
    return torch.cat(inputs)


def _logits(classifier: nn.Linear, features: torch.Tensor) -> torch.Tensor:
    """Compute them in float32, whatever the detector runs in: (R, num_classes + 1)."""
    weight, bias = classifier.weight.float(), classifier.bias.float()
    return nn.functional.linear(features.float(), weight, bias)


def _spread(classifier: nn.Linear, features: torch.Tensor) -> None:
    """Give the logits of every class zero mean and the same deviation over the proposals."""
    logits = _logits(classifier, features)
    scale = LOGIT_STD / logits.std(dim=0, correction=0).clamp(min=torch.finfo(logits.dtype).eps)
    classifier.weight *= scale[:, None].to(classifier.weight)
    classifier.bias.copy_((classifier.bias.float() - logits.mean(dim=0)) * scale)


def _critical_biases(logits: torch.Tensor, threshold: float) -> torch.Tensor:
    """Find what to add to the background's logit, so that the best class gets the threshold.

    From exp(best) / (sum of foreground exp + exp(background + bias)) = threshold. A proposal whose
    foreground classes are so even that none reaches it gets minus infinity.
    """
    foreground, background = logits[:, :-1].double(), logits[:, -1].double()
    others = (foreground - foreground.amax(dim=1, keepdim=True)).exp().sum(dim=1)
    room = (1 / threshold - others).clamp(min=0)
    return room.log() + foreground.amax(dim=1) - background


def _between(biases: torch.Tensor, survivors: int) -> torch.Tensor:
    """Find a bias that lies below the first ``survivors`` of the sorted ones and no other."""
    biases = biases[biases.isfinite()]
    if not 0 < survivors < len(biases):
        return biases[0] + 1 if survivors <= 0 else biases[-1] - 1
    return biases[survivors - 1 : survivors + 1].mean()
