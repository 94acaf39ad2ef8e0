"""Whether a conv-head may train on positive RoIs only, and which RoIs are positive."""

import torch
from mmdet.models.task_modules.samplers import SamplingResult
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def mixes_rois(layer: nn.Module) -> bool:
    """Tell whether a layer's output for one RoI depends on the other RoIs."""
    return layer.training and (isinstance(layer, _BatchNorm) or is_synchronized_norm(layer))


def is_synchronized_norm(layer: nn.Module) -> bool:
    """Tell whether a layer exchanges statistics with other processes: torch's or mmcv's SyncBN."""
    return layer.training and type(layer).__name__ == 'SyncBatchNorm'


def find_positives(sampling_results: list[SamplingResult]) -> Tensor:
    """Find the positive RoIs of a batch; they come first in each image.

    Args:
        sampling_results: Sampled RoIs for each image.

    Returns:
        Their indices, of shape (num_positives,).
    """
    flags = [
        torch.arange(len(result.priors), device=result.priors.device) < len(result.pos_priors)
        for result in sampling_results
    ]
    return torch.cat(flags).nonzero().squeeze(1)
