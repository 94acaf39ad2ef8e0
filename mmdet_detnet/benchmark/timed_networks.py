"""Networks to time, with input: a detector, or its backbone or RoI head alone."""

import argparse
from contextlib import AbstractContextManager, nullcontext

import torch
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config, DictAction
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint
from torch import nn

from mmdet_detnet.config import load_config
from mmdet_detnet.deployment import accelerate
from mmdet_detnet.deployment.acceleration import DTYPES

from .comparisons import PLAIN, Entry, Workload, split_options
from .inference_split import time_parts
from .trained_scores import (
    NUM_PROPOSALS,
    draw_proposals,
    fix_proposals,
    set_candidates,
    set_passing,
)

# A typical COCO image has about seven objects.
NUM_BOXES = 7
# Valid labels for any detector with two or more classes.
NUM_CLASSES = 2
# Too small to change a weight: the steps are timed, not their effect.
LEARNING_RATE = 1e-8


def load_with_options(name: str) -> Config:
    """Load a config whose name may be followed by options, as for ``--cfg-options``."""
    path, options = split_options(name)
    parser = argparse.ArgumentParser()
    parser.add_argument('options', nargs='*', action=DictAction, default={})
    return load_config(path, parser.parse_args(options).options)


def build_detector(config: Config, workload: Workload, device: torch.device) -> nn.Module:
    """Build the detector of a config with random weights, in evaluation mode."""
    init_default_scope(config.get('default_scope', 'mmdet'))
    torch.manual_seed(workload.seed)
    return revert_sync_batchnorm(MODELS.build(config.model)).to(device).eval()


def make_batch(detector: nn.Module, workload: Workload, device: torch.device) -> dict:
    """Make preprocessed images with boxes and labels, and masks if the detector needs them.

    Returns:
        ``inputs`` of shape (batch, 3, H, W), padded and normalized, and ``data_samples``.
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


class TimedNetwork:
    """A network with its input.

    Args:
        entry: What to build and how it is accelerated.
        workload: Its input.
        device: Where it runs.
        reference: Network to share weights with where names and shapes agree; None if this is the
            reference.

    Attributes:
        actions: Which of ``predict``, ``parts`` and ``train`` can be timed.
        network: The network with the weights.
        passing: How many proposals exceed the score threshold, of how many; None for a one-stage
            detector or a checkpoint.
    """

    actions: tuple[str, ...] = ('predict', 'parts', 'train')

    def __init__(
        self,
        entry: Entry,
        workload: Workload,
        device: torch.device,
        reference: 'TimedNetwork | None' = None,
    ) -> None:
        self.entry, self.workload, self.device = entry, workload, device
        self.passing: tuple[int, int] | None = None
        self.network = self.build()
        if entry.checkpoint:
            load_checkpoint(self.network, entry.checkpoint, map_location='cpu')
        else:
            if reference is not None:
                _share_weights(self.network, reference.network)
            self.set_scores()
        self._accelerate()
        roi_head = self.find_roi_head()
        if roi_head is not None and not entry.checkpoint:
            self.passing = set_passing(roi_head, self.predict, workload.passing * workload.batch)

    def build(self) -> nn.Module:
        """Build the network and its input; return the network."""
        raise NotImplementedError

    def predict(self) -> None:
        """Run inference, from the network's input to its outputs."""
        raise NotImplementedError

    def train(self) -> None:
        """Run one training step."""
        raise NotImplementedError

    def parts(self) -> dict[str, float]:
        """Run inference and return the seconds of each part."""
        return time_parts(self.network, self.predict, self.device)

    def set_scores(self) -> None:
        """Spread the scores of a one-stage detector as in a trained one."""

    def find_roi_head(self) -> nn.Module | None:
        """Return the RoI head, if there is one."""
        return getattr(self.network, 'roi_head', None)

    def set_mode(self, training: bool) -> None:
        """Switch to training or evaluation mode, if it is the other."""
        if self.network.training != training:
            self.network.train(training)

    def autocast(self) -> AbstractContextManager:
        """Cast the operations inside to the entry's precision, as MMEngine does in training."""
        precision = self.entry.settings.precision
        if precision == 'fp32':
            return nullcontext()
        return torch.autocast(self.device.type, DTYPES[precision])

    def _accelerate(self) -> None:
        settings = self.entry.settings
        if settings != PLAIN:
            dtype = None if settings.precision == 'fp32' else settings.precision
            options = dict(channels_last=settings.channels_last, compile=settings.compile)
            accelerate(self.network, dtype=dtype, **options)


def _share_weights(network: nn.Module, reference: nn.Module) -> None:
    own = network.state_dict()
    shared = {
        key: value
        for key, value in reference.state_dict().items()
        if key in own and own[key].shape == value.shape
    }
    network.load_state_dict(shared, strict=False)


class TimedDetector(TimedNetwork):
    """A whole detector: from preprocessed images to boxes or an optimizer step."""

    def build(self) -> nn.Module:
        """Build the detector and a batch of images with boxes."""
        detector = build_detector(load_with_options(self.entry.config), self.workload, self.device)
        self.batch = make_batch(detector, self.workload, self.device)
        if not self.entry.checkpoint:
            fix_proposals(detector, self.workload, self.device)
        self.optimizer: torch.optim.Optimizer | None = None
        return detector

    def set_scores(self) -> None:
        """Spread the scores of a one-stage detector as in a trained one."""
        set_candidates(self.network, self.batch, self.workload.candidates)

    @torch.no_grad()
    def predict(self) -> None:
        """Run the network and the post-processing."""
        self.set_mode(training=False)
        self.network(**self.batch, mode='predict')

    def train(self) -> None:
        """Run loss, backward pass and the optimizer's step."""
        self.set_mode(training=True)
        if self.optimizer is None:
            trained = [p for p in self.network.parameters() if p.requires_grad]
            self.optimizer = torch.optim.SGD(trained, lr=LEARNING_RATE, momentum=0.9)
        with self.autocast():
            loss, _ = self.network.parse_losses(self.network(**self.batch, mode='loss'))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


class TimedBackbone(TimedNetwork):
    """The backbone of a detector: from images to feature maps, and backward from their sum."""

    actions = ('predict', 'train')

    def build(self) -> nn.Module:
        """Build the detector and a batch of images; keep only the backbone, under its name."""
        detector = build_detector(load_with_options(self.entry.config), self.workload, self.device)
        self.inputs = make_batch(detector, self.workload, self.device)['inputs']
        return nn.ModuleDict({'backbone': detector.backbone})

    @torch.no_grad()
    def predict(self) -> None:
        """Compute the feature maps."""
        self.set_mode(training=False)
        self.network['backbone'](self.inputs)

    def train(self) -> None:
        """Compute the gradients of the sum of the feature maps."""
        self.set_mode(training=True)
        self.network.zero_grad()
        with self.autocast():
            maps = self.network['backbone'](self.inputs)
        torch.stack([level.float().sum() for level in maps]).sum().backward()


class TimedRoIHead(TimedNetwork):
    """The RoI head of a detector: from random feature maps and 1000 proposals to boxes."""

    actions = ('predict', 'parts')

    def build(self) -> nn.Module:
        """Build the RoI head, feature maps and proposals."""
        config = load_with_options(self.entry.config)
        model, size = config.model, self.workload
        if 'roi_head' not in model:
            raise ValueError(f'the detector {model.type} has no RoI head')
        init_default_scope(config.get('default_scope', 'mmdet'))
        torch.manual_seed(size.seed)
        settings = dict(train_cfg=model.train_cfg.rcnn, test_cfg=model.test_cfg.rcnn)
        roi_head = MODELS.build({**model.roi_head, **settings}).to(self.device).eval()
        extractor = roi_head.bbox_roi_extractor
        self.features = tuple(
            torch.randn(
                (size.batch, extractor.out_channels, -(-size.height // s), -(-size.width // s)),
                device=self.device,
            )
            for s in extractor.featmap_strides
        )
        self.boxes = draw_proposals(NUM_PROPOSALS, size, self.device)
        images = demo_mm_inputs(size.batch, (3, size.height, size.width), device=str(self.device))
        self.samples = images['data_samples']
        return roi_head

    def find_roi_head(self) -> nn.Module:
        """Return the network itself."""
        return self.network

    @torch.no_grad()
    def predict(self) -> None:
        """Pool, classify, regress, decode and run NMS."""
        self.network.predict(self.features, self.boxes, self.samples, rescale=True)


NETWORKS = {'backbone': TimedBackbone, 'detector': TimedDetector, 'roi_head': TimedRoIHead}
