"""Give random weights the work of a trained detector: its number of proposals and scores."""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import torch
from mmdet.models.dense_heads import RetinaHead
from mmengine.structures import InstanceData
from torch import nn

from .comparisons import Workload
from .inference_split import module_list

# As in MMDetection's Faster R-CNN at test time.
NUM_PROPOSALS = 1000
# Side lengths in pixels: from small objects to most of an image, log-uniform.
SHORTEST, LONGEST = 16, 512
# Over all pairs of anchor and class in an image, measured on the slim RetinaNet of docs/bccd.md.
LOGIT_STD = 4.9


def draw_proposals(number: int, workload: Workload, device: torch.device) -> list[InstanceData]:
    """Draw boxes like those of a region proposal network, the same for every detector.

    Returns:
        For each image, ``bboxes`` of shape (number, 4) as (x1, y1, x2, y2) in pixels, ``scores``
        and ``labels``.
    """
    random = torch.Generator().manual_seed(workload.seed)
    limits = torch.tensor([workload.width, workload.height])
    shape = (workload.batch, number, 2)
    longest = limits.clamp(max=LONGEST)
    sides = SHORTEST * (longest / SHORTEST) ** torch.rand(shape, generator=random)
    corners = torch.rand(shape, generator=random) * (limits - sides)
    return [
        InstanceData(
            bboxes=boxes,
            scores=torch.ones(number, device=device),
            labels=torch.zeros(number, dtype=torch.long, device=device),
        )
        for boxes in torch.cat([corners, corners + sides], dim=2).to(device)
    ]


def fix_proposals(detector: nn.Module, workload: Workload, device: torch.device) -> None:
    """Run the RPN of a detector, but replace its output with fixed proposals.

    With random weights, proposals differ between detectors in size and even in number.
    """
    rpn_head = getattr(detector, 'rpn_head', None)
    if rpn_head is not None:
        proposals = draw_proposals(detector.test_cfg.rpn.max_per_img, workload, device)
        rpn_head.predict = _replace_result(rpn_head.predict, proposals)
        rpn_head.loss_and_predict = _replace_result(rpn_head.loss_and_predict, proposals)


def _replace_result(method: Callable, proposals: Sequence[InstanceData]) -> Callable:
    @wraps(method)
    def with_fixed_proposals(*args: Any, **kwargs: Any) -> Any:
        result = method(*args, **kwargs)
        # The RoI head removes the boxes from its input.
        fixed = [one_image.clone() for one_image in proposals]
        return (result[0], fixed) if isinstance(result, tuple) else fixed

    return with_fixed_proposals


@torch.no_grad()
def set_candidates(detector: nn.Module, batch: dict, candidates: int) -> None:
    """Spread the class scores of a detector with a RetinaHead as in a trained one.

    The logits get the standard deviation of a trained detector, and a mean at which ``candidates``
    pairs of anchor and class exceed the threshold; the cost of post-processing depends on both.
    """
    head = getattr(detector, 'bbox_head', None)
    if not isinstance(head, RetinaHead):
        return
    head.retina_cls.weight *= LOGIT_STD / _class_logits(detector, batch).std()
    logits = _class_logits(detector, batch)
    lowest = logits.topk(min(candidates, logits.shape[1]), dim=1).values[:, -1].min()
    head.retina_cls.bias += torch.tensor(head.test_cfg.score_thr).logit().to(lowest) - lowest


def _class_logits(detector: nn.Module, batch: dict) -> torch.Tensor:
    levels = detector(**batch, mode='tensor')[0]
    return torch.cat([level.flatten(1) for level in levels], dim=1)  # (N, num_pairs)


@torch.no_grad()
def set_passing(
    roi_head: nn.Module, predict: Callable[[], object], number: int
) -> tuple[int, int] | None:
    """Change the classifiers so that a given number of proposals exceed the score threshold.

    The logits of each class (in a cascade, their average over the stages) get zero mean and a
    trained detector's spread over the proposals. The background's bias then decides: for each
    proposal, there is a bias at which its best foreground score equals the threshold; the new bias
    lies half-way between those of the last proposal that passes and the next one.

    Args:
        roi_head: A RoI head whose box heads end in a linear layer ``fc_cls`` with softmax; others
            are not changed.
        predict: Runs the RoI head.
        number: How many of all proposals of the batch are to exceed it.

    Returns:
        How many proposals exceed ``score_thr``, and of how many; None if the head was not changed.
    """
    heads = module_list(getattr(roi_head, 'bbox_head', None))
    last_layers = [getattr(head, 'fc_cls', None) for head in heads]
    classifiers = [layer for layer in last_layers if isinstance(layer, nn.Linear)]
    if not heads or len(classifiers) < len(heads):
        return None
    features = _recorded_inputs(classifiers, predict)
    logits = _logits(classifiers, features)
    scale = LOGIT_STD / logits.std(dim=0, correction=0).clamp(min=torch.finfo(logits.dtype).eps)
    for classifier in classifiers:
        classifier.weight *= scale[:, None].to(classifier.weight)
        classifier.bias.copy_((classifier.bias.float() - logits.mean(dim=0)) * scale)
    threshold = roi_head.test_cfg.score_thr
    biases = _critical_biases(_logits(classifiers, features), threshold)
    for classifier in classifiers:
        classifier.bias[-1] += _between(biases, number).to(classifier.bias)
    best = _logits(classifiers, features).softmax(dim=1)[:, :-1].amax(dim=1)
    return int((best > threshold).sum()), len(best)


def _recorded_inputs(
    modules: Sequence[nn.Module], action: Callable[[], object]
) -> list[torch.Tensor]:
    inputs: dict[nn.Module, list[torch.Tensor]] = {module: [] for module in modules}
    handles = [
        module.register_forward_pre_hook(
            lambda module, arguments: inputs[module].append(arguments[0])
        )
        for module in modules
    ]
    try:
        action()
    finally:
        for handle in handles:
            handle.remove()
    return [torch.cat(seen) for seen in inputs.values()]


def _logits(classifiers: Sequence[nn.Linear], features: Sequence[torch.Tensor]) -> torch.Tensor:
    """Average logits over the stages, always in float32: (R, num_classes + 1)."""
    logits = [
        nn.functional.linear(stage.float(), classifier.weight.float(), classifier.bias.float())
        for classifier, stage in zip(classifiers, features, strict=True)
    ]
    return torch.stack(logits).mean(dim=0)


def _critical_biases(logits: torch.Tensor, threshold: float) -> torch.Tensor:
    """Find the addition to the background's logit at which the best class equals the threshold.

    From exp(best) / (sum of foreground exp + exp(background + bias)) = threshold. It is minus
    infinity if the foreground classes are too even to reach the threshold.
    """
    foreground, background = logits[:, :-1].double(), logits[:, -1].double()
    others = (foreground - foreground.amax(dim=1, keepdim=True)).exp().sum(dim=1)
    room = (1 / threshold - others).clamp(min=0)
    return room.log() + foreground.amax(dim=1) - background


def _between(biases: torch.Tensor, number: int) -> torch.Tensor:
    """Find a bias below the ``number`` highest ones and above all others."""
    biases = biases[biases.isfinite()].sort(descending=True).values
    if not 0 < number < len(biases):
        return biases[0] + 1 if number <= 0 else biases[-1] - 1
    return biases[number - 1 : number + 1].mean()
