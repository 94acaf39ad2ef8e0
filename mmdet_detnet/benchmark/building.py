"""Build detectors and images to measure them with."""

import argparse

import torch
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config, DictAction
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from torch import nn

from mmdet_detnet.config import load_config

from .workload import Workload, split_name

# A typical COCO image holds about seven objects.
NUM_BOXES = 7
# Valid labels for any detector with two or more classes.
NUM_CLASSES = 2


def load_with_settings(name: str) -> Config:
    """Load a config whose name may be followed by settings, as for ``--cfg-options``.

    Args:
        name: As for :func:`~mmdet_detnet.config.load_config`; with settings such as
            ``a.py model.roi_head.gate_score_thr=0.05``.
    """
    path, settings = split_name(name)
    parser = argparse.ArgumentParser()
    parser.add_argument('settings', nargs='*', action=DictAction, default={})
    return load_config(path, parser.parse_args(settings).settings)


def build_detector(config: Config, workload: Workload, device: torch.device) -> nn.Module:
    """Build the detector of a config with random weights, in evaluation mode."""
    init_default_scope(config.get('default_scope', 'mmdet'))
    torch.manual_seed(workload.seed)
    return revert_sync_batchnorm(MODELS.build(config.model)).to(device).eval()


def module_list(modules: nn.Module | None) -> list[nn.Module]:
    """List the modules of an attribute, which is a list in a cascade."""
    if modules is None:
        return []
    return list(modules) if isinstance(modules, nn.ModuleList) else [modules]


def dense_heads(detector: nn.Module) -> list[nn.Module]:
    """List the heads that run on whole feature maps: RPN, or a one-stage detector's box head."""
    heads = (getattr(detector, name, None) for name in ('rpn_head', 'bbox_head'))
    return [head for head in heads if isinstance(head, nn.Module)]


def share_weights(network: nn.Module, reference: nn.Module) -> None:
    """Copy the weights of another network wherever names and shapes agree."""
    own = network.state_dict()
    shared = {
        key: value
        for key, value in reference.state_dict().items()
        if key in own and own[key].shape == value.shape
    }
    network.load_state_dict(shared, strict=False)


def make_batch(detector: nn.Module, workload: Workload, device: torch.device) -> dict:
    """Make preprocessed images with boxes and labels, and masks if the detector needs them.

    Args:
        detector: Its data preprocessor pads and normalizes.
        workload: Size and number of the images.
        device: Device of the batch.

    Returns:
        ``inputs`` of shape (batch, 3, H, W) and ``data_samples``.
    """
    images = demo_mm_inputs(
        workload.batch,
        (3, workload.height, workload.width),
        num_items=[NUM_BOXES] * workload.batch,
        num_classes=NUM_CLASSES,
        with_mask=getattr(detector, 'with_mask', False),
        device=str(device),
    )
    return detector.data_preprocessor(images, training=True)
