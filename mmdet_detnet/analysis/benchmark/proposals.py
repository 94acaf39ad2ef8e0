"""Proposals that are the same for every row: what pooling costs depends on their sizes."""

from collections.abc import Callable, Sequence
from functools import wraps

import torch
from mmengine.structures import InstanceData
from torch import nn

from .workload import Workload

# As many as MMDetection's Faster R-CNN has at test time.
NUM_PROPOSALS = 1000
# Side lengths in pixels: from small objects to most of an image, log-uniform.
SHORTEST, LONGEST = 16, 512


def make_proposals(number: int, workload: Workload, device: torch.device) -> list[InstanceData]:
    """Draw boxes as a region proposal network gives them out.

    Args:
        number: For each image.
        workload: Size and number of images, and the seed.
        device: Where they go.

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
    """Let the RPN of a detector do its work, and then give out fixed proposals.

    Those of random weights differ from detector to detector, in sizes and even in number.

    Args:
        detector: One without an RPN is left alone.
        workload: Size and number of images, and the seed.
        device: Where the detector is.
    """
    rpn_head = getattr(detector, 'rpn_head', None)
    if rpn_head is None:
        return
    proposals = make_proposals(detector.test_cfg.rpn.max_per_img, workload, device)
    rpn_head.predict = _replace_result(rpn_head.predict, proposals)
    rpn_head.loss_and_predict = _replace_result(rpn_head.loss_and_predict, proposals)


def _replace_result(method: Callable, proposals: Sequence[InstanceData]) -> Callable:
    @wraps(method)
    def with_fixed_proposals(*args: object, **kwargs: object) -> object:
        result = method(*args, **kwargs)
        # The RoI head takes the boxes out of what it is given.
        fixed = [one_image.clone() for one_image in proposals]
        return (result[0], fixed) if isinstance(result, tuple) else fixed

    return with_fixed_proposals
