"""Subjects to time: a detector, or its backbone or RoI head alone, with input.

All subjects have the same methods; ``actions`` lists those that make sense.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint
from torch import nn

from mmdet_detnet.deployment.acceleration import accelerate
from mmdet_detnet.deployment.acceleration.precision import DTYPES

from .building import build_detector, load_with_settings, make_batch, share_weights
from .realism import NUM_PROPOSALS, fix_proposals, make_proposals, raise_scores, set_survivors
from .split import time_parts
from .workload import PLAIN, Entry, Workload

# Too small to change a weight: the steps are timed, not their effect.
LEARNING_RATE = 1e-8


class Subject:
    """A network with its input.

    Args:
        entry: What to build and its settings.
        workload: Its input.
        device: Where it runs.
        reference: Subject to share weights with; None if this is the reference.

    Attributes:
        actions: Which of ``predict``, ``parts`` and ``train`` can be timed.
        network: The network with the weights.
        proposals: Number of proposals of a two-stage detector with random weights.
        survivors: How many of them exceed the score threshold.
    """

    actions: tuple[str, ...] = ('predict', 'parts', 'train')

    def __init__(
        self,
        entry: Entry,
        workload: Workload,
        device: torch.device,
        reference: 'Subject | None' = None,
    ) -> None:
        self.entry, self.workload, self.device = entry, workload, device
        self.proposals: int | None = None
        self.survivors: int | None = None
        self.network = self.build()
        self._load_weights(reference)
        self._accelerate()
        if not entry.checkpoint:
            self._set_survivors()

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

    def raise_scores(self) -> None:
        """Raise the scores of a one-stage detector."""

    @property
    def roi_head(self) -> nn.Module | None:
        """The RoI head, if there is one."""
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

    def _load_weights(self, reference: 'Subject | None') -> None:
        if self.entry.checkpoint:
            load_checkpoint(self.network, self.entry.checkpoint, map_location='cpu')
            return
        if reference is not None:
            share_weights(self.network, reference.network)
        self.raise_scores()

    def _accelerate(self) -> None:
        settings = self.entry.settings
        if settings != PLAIN:
            dtype = None if settings.precision == 'fp32' else settings.precision
            options = dict(channels_last=settings.channels_last, compile=settings.compile)
            accelerate(self.network, dtype=dtype, **options)

    def _set_survivors(self) -> None:
        if self.roi_head is not None:
            wanted = self.workload.survivors * self.workload.batch
            counted = set_survivors(self.roi_head, self.predict, wanted)
            self.proposals, self.survivors = counted or (None, None)


class DetectorSubject(Subject):
    """A whole detector: from preprocessed images to boxes or an optimizer step."""

    def build(self) -> nn.Module:
        """Build the detector and a batch of images with boxes."""
        detector = build_detector(load_with_settings(self.entry.config), self.workload, self.device)
        self.batch = make_batch(detector, self.workload, self.device)
        if not self.entry.checkpoint:
            fix_proposals(detector, self.workload, self.device)
        self.optimizer: torch.optim.Optimizer | None = None
        return detector

    def raise_scores(self) -> None:
        """Spread the scores of a one-stage detector as in a trained one."""
        raise_scores(self.network, self.batch, self.workload.candidates)

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


class BackboneSubject(Subject):
    """The backbone of a detector: from images to feature maps, and backward from their sum."""

    actions = ('predict', 'train')

    def build(self) -> nn.Module:
        """Build the detector and a batch of images; keep only the backbone, under its name."""
        detector = build_detector(load_with_settings(self.entry.config), self.workload, self.device)
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


class RoIHeadSubject(Subject):
    """The RoI head of a detector: from random feature maps and 1000 proposals to boxes."""

    actions = ('predict', 'parts')

    def build(self) -> nn.Module:
        """Build the RoI head, feature maps and proposals."""
        config = load_with_settings(self.entry.config)
        model = config.model
        if 'roi_head' not in model:
            raise ValueError(f'the detector {model.type} has no RoI head')
        init_default_scope(config.get('default_scope', 'mmdet'))
        torch.manual_seed(self.workload.seed)
        settings = dict(train_cfg=model.train_cfg.rcnn, test_cfg=model.test_cfg.rcnn)
        roi_head = MODELS.build({**model.roi_head, **settings}).to(self.device).eval()
        self.features = self._make_features(roi_head.bbox_roi_extractor)
        self.boxes = make_proposals(NUM_PROPOSALS, self.workload, self.device)
        shape = (3, self.workload.height, self.workload.width)
        images = demo_mm_inputs(self.workload.batch, shape, device=str(self.device))
        self.samples = images['data_samples']
        return roi_head

    @property
    def roi_head(self) -> nn.Module:
        """The network itself."""
        return self.network

    @torch.no_grad()
    def predict(self) -> None:
        """Pool, classify, regress, decode and run NMS."""
        self.network.predict(self.features, self.boxes, self.samples, rescale=True)

    def _make_features(self, extractor: nn.Module) -> tuple[torch.Tensor, ...]:
        size = self.workload
        shapes = [
            (
                size.batch,
                extractor.out_channels,
                -(-size.height // stride),
                -(-size.width // stride),
            )
            for stride in extractor.featmap_strides
        ]
        return tuple(torch.randn(shape, device=self.device) for shape in shapes)


SUBJECTS = {
    'backbone': BackboneSubject,
    'detector': DetectorSubject,
    'roi_head': RoIHeadSubject,
}
