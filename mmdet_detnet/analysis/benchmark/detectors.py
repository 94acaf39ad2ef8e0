"""A detector of a config, ready to be timed: its weights, its inputs, its two actions."""

from contextlib import AbstractContextManager
from pathlib import Path

import torch
from mmdet.models.dense_heads import RetinaHead
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from torch import nn

from mmdet_detnet import config_path

from .workload import Workload

# A typical COCO image holds about seven objects.
NUM_BOXES = 7
# Enough for labels of any detector with two classes and more.
NUM_CLASSES = 2
# Of all pairs of anchor and class in an image, measured on the slim RetinaNet of docs/bccd.md.
LOGIT_STD = 4.9


def load_config(name: str) -> Config:
    """Find a config by its path, as ``package::folder/file.py``, or among this package's.

    Args:
        name: Any of the three.

    Returns:
        The config.

    Raises:
        FileNotFoundError: If there is none.
    """
    if '::' in name:
        return get_config(name)
    return Config.fromfile(name if Path(name).is_file() else config_path(name))


def build_detector(config: Config, workload: Workload, device: torch.device) -> nn.Module:
    """Build the detector of a config with random weights.

    Args:
        config: A config with a ``model``.
        workload: Gives the seed.
        device: Where it goes.

    Returns:
        The detector, in evaluation mode.
    """
    init_default_scope(config.get('default_scope', 'mmdet'))
    torch.manual_seed(workload.seed)
    detector = revert_sync_batchnorm(MODELS.build(config.model)).to(device)
    detector.eval()
    return detector


def module_list(modules: nn.Module | None) -> list[nn.Module]:
    """List the modules of an attribute that a cascade has as a list.

    Args:
        modules: A module, a list of them, or none.

    Returns:
        All of them.
    """
    if modules is None:
        return []
    return list(modules) if isinstance(modules, nn.ModuleList) else [modules]


def dense_heads(detector: nn.Module) -> list[nn.Module]:
    """List the heads that see whole feature maps.

    Args:
        detector: Any detector.

    Returns:
        The RPN of a two-stage detector, the box head of a one-stage one.
    """
    heads = (getattr(detector, name, None) for name in ('rpn_head', 'bbox_head'))
    return [head for head in heads if isinstance(head, nn.Module)]


def share_weights(detector: nn.Module, reference: nn.Module) -> None:
    """Give a detector the weights of another wherever names and shapes agree.

    Args:
        detector: Takes the weights.
        reference: Gives them.
    """
    own = detector.state_dict()
    shared = {
        key: value
        for key, value in reference.state_dict().items()
        if key in own and own[key].shape == value.shape
    }
    detector.load_state_dict(shared, strict=False)


def make_batch(detector: nn.Module, workload: Workload, device: torch.device) -> dict:
    """Make preprocessed images with boxes and labels, and masks where the detector wants them.

    Args:
        detector: Its data preprocessor pads and normalises.
        workload: Size and number of the images.
        device: Where the batch goes.

    Returns:
        ``inputs`` of shape (batch, 3, H, W) and ``data_samples``.
    """
    images = demo_mm_inputs(
        workload.batch,
        (3, workload.height, workload.width),
        num_items=[NUM_BOXES] * workload.batch,
        num_classes=NUM_CLASSES,
        with_mask=detector.with_mask,
        device=str(device),
    )
    return detector.data_preprocessor(images, training=True)


@torch.no_grad()
def raise_scores(detector: nn.Module, batch: dict, candidates: int) -> None:
    """Spread the class scores of a one-stage detector as in a trained one.

    The logits get a trained detector's standard deviation, and a mean at which enough of them
    exceed the threshold: what post-processing costs depends on both.

    Args:
        detector: A detector whose ``bbox_head`` is a RetinaHead; any other is left alone.
        batch: What it will be timed on.
        candidates: How many pairs of anchor and class shall exceed ``score_thr`` in an image.
    """
    head = getattr(detector, 'bbox_head', None)
    if not isinstance(head, RetinaHead):
        return
    head.retina_cls.weight *= LOGIT_STD / _class_logits(detector, batch).std()
    logits = _class_logits(detector, batch)
    lowest = logits.topk(min(candidates, logits.shape[1]), dim=1).values[:, -1].min()
    head.retina_cls.bias += torch.tensor(head.test_cfg.score_thr).logit().to(lowest) - lowest


def _class_logits(detector: nn.Module, batch: dict) -> torch.Tensor:
    """Compute those of all levels, ``(N, num_pairs)``."""
    levels = detector(**batch, mode='tensor')[0]
    return torch.cat([level.flatten(1) for level in levels], dim=1)


def train_step(
    detector: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: dict,
    autocast: AbstractContextManager,
) -> None:
    """Run the losses, the backward pass and the optimiser's step.

    Args:
        detector: In training mode.
        optimizer: Of its parameters.
        batch: Of :func:`make_batch`.
        autocast: Context of the forward pass.
    """
    with autocast:
        loss, _ = detector.parse_losses(detector(**batch, mode='loss'))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


@torch.no_grad()
def predict(detector: nn.Module, batch: dict) -> None:
    """Run the network and the post-processing.

    Args:
        detector: In evaluation mode.
        batch: Of :func:`make_batch`.
    """
    detector(**batch, mode='predict')
