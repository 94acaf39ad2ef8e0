"""What is timed: a detector, its backbone alone, or a product of matrices to compare them with.

Every subject has the same methods, and says by ``actions`` which of them make sense.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
from mmengine.runner import load_checkpoint
from torch import nn

from mmdet_detnet.acceleration import accelerate

from .detectors import (
    build_detector,
    load_config,
    make_batch,
    predict,
    raise_scores,
    share_weights,
    train_step,
)
from .proposals import fix_proposals
from .split import time_parts
from .survivors import set_survivors
from .workload import PLAIN, Entry, Workload

# Too small to change a weight: the steps are timed, not their effect.
LEARNING_RATE = 1e-8
DTYPES = {'fp32': torch.float32, 'fp16': torch.float16, 'bf16': torch.bfloat16}
MATRIX_SIZE = {'cpu': 2048, 'cuda': 8192}


class Subject:
    """A network with its input.

    Args:
        entry: What to build and how it runs.
        workload: Its input.
        device: Where it runs.

    Attributes:
        actions: Which of ``predict``, ``parts`` and ``train`` can be timed.
        network: What has weights.
        proposals: Number of proposals of a two-stage detector with random weights.
        survivors: How many of them exceed the score threshold.
    """

    actions = ('predict', 'parts', 'train')

    def __init__(self, entry: Entry, workload: Workload, device: torch.device) -> None:
        self.entry, self.workload, self.device = entry, workload, device
        self.proposals = self.survivors = None
        self.network = self.build()

    def build(self) -> nn.Module:
        """Make the network and its input.

        Returns:
            The network.
        """
        raise NotImplementedError

    def prepare(self, reference: 'Subject | None') -> None:
        """Give the network the reference's weights, or its checkpoint's, and its settings.

        Args:
            reference: Shares its weights wherever names and shapes agree; none if this is it.
        """
        if self.entry.checkpoint:
            load_checkpoint(self.network, self.entry.checkpoint, map_location='cpu')
        elif reference is not None:
            share_weights(self.network, reference.network)
        if not self.entry.checkpoint:
            self.raise_scores()
        settings = self.entry.settings
        if settings != PLAIN:
            accelerate(
                self.network,
                channels_last=settings.channels_last,
                compile=settings.compile,
                dtype=None if settings.precision == 'fp32' else settings.precision,
            )
        if not self.entry.checkpoint:
            self.set_survivors()

    def raise_scores(self) -> None:
        """Let a one-stage detector find something."""

    @property
    def roi_head(self) -> nn.Module | None:
        """The RoI head, if there is one."""
        return getattr(self.network, 'roi_head', None)

    def set_survivors(self) -> None:
        """Let the wanted number of a RoI head's proposals survive."""
        if self.roi_head is not None:
            wanted = self.workload.survivors * self.workload.batch
            counted = set_survivors(self.roi_head, self.predict, wanted)
            self.proposals, self.survivors = counted or (None, None)

    def predict(self) -> None:
        """Run inference, from the network's input to boxes where it has any."""
        raise NotImplementedError

    def train(self) -> None:
        """Run one training step."""
        raise NotImplementedError

    def parts(self) -> dict[str, float]:
        """Run inference and split its time.

        Returns:
            Seconds of each part.
        """
        return time_parts(self.network, self.predict, self.device)

    def autocast(self) -> AbstractContextManager:
        """Cast the operations inside to the entry's precision, as MMEngine does in training.

        Returns:
            A context.
        """
        precision = self.entry.settings.precision
        if precision == 'fp32':
            return nullcontext()
        return torch.autocast(self.device.type, DTYPES[precision])


class DetectorSubject(Subject):
    """A whole detector: from preprocessed images to boxes, or to a step of the optimiser."""

    def build(self) -> nn.Module:
        """Make the detector and a batch of images with boxes.

        Returns:
            The detector.
        """
        detector = build_detector(load_config(self.entry.config), self.workload, self.device)
        self.batch = make_batch(detector, self.workload, self.device)
        if not self.entry.checkpoint:
            fix_proposals(detector, self.workload, self.device)
        self.optimizer = None
        return detector

    def raise_scores(self) -> None:
        """Spread the scores of a one-stage detector as in a trained one."""
        raise_scores(self.network, self.batch, self.workload.candidates)

    def predict(self) -> None:
        """Run the network and the post-processing."""
        if self.network.training:
            self.network.eval()
        predict(self.network, self.batch)

    def train(self) -> None:
        """Run loss, backward pass and the optimiser's step."""
        if not self.network.training:
            self.network.train()
        if self.optimizer is None:
            trained = [p for p in self.network.parameters() if p.requires_grad]
            self.optimizer = torch.optim.SGD(trained, lr=LEARNING_RATE, momentum=0.9)
        train_step(self.network, self.optimizer, self.batch, self.autocast())


class BackboneSubject(Subject):
    """The backbone of a detector: from images to feature maps, and back from their sum."""

    actions = ('predict', 'train')

    def build(self) -> nn.Module:
        """Make the detector, a batch of images, and drop what is not the backbone.

        Returns:
            The backbone in a container, under the name it has in the detector.
        """
        detector = build_detector(load_config(self.entry.config), self.workload, self.device)
        self.inputs = make_batch(detector, self.workload, self.device)['inputs']
        return nn.ModuleDict({'backbone': detector.backbone})

    @torch.no_grad()
    def predict(self) -> None:
        """Compute the feature maps."""
        if self.network.training:
            self.network.eval()
        self.network['backbone'](self.inputs)

    def train(self) -> None:
        """Compute the gradients of the sum of the feature maps."""
        if not self.network.training:
            self.network.train()
        self.network.zero_grad()
        with self.autocast():
            maps = self.network['backbone'](self.inputs)
        sum(level.float().sum() for level in maps).backward()


class MatrixProduct(Subject):
    """The fastest that a device multiplies and adds in practice."""

    actions = ('predict',)

    def build(self) -> nn.Module:
        """Make two square matrices.

        Returns:
            A module without weights.
        """
        dtype = DTYPES[self.entry.settings.precision]
        shape = (2, matrix_size(self.device), matrix_size(self.device))
        self.left, self.right = torch.rand(shape, dtype=dtype, device=self.device)
        return nn.Identity()

    def prepare(self, reference: Subject | None) -> None:
        """Do nothing: there are no weights."""

    def predict(self) -> None:
        """Multiply them, in TensorFloat-32 where torch lets convolutions use it."""
        tf32 = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32
        try:
            torch.mm(self.left, self.right)
        finally:
            torch.backends.cuda.matmul.allow_tf32 = tf32


def matrix_size(device: torch.device) -> int:
    """Choose matrices that keep a device busy for a moment.

    Args:
        device: Where they are multiplied.

    Returns:
        Number of rows and of columns.
    """
    return MATRIX_SIZE.get(device.type, MATRIX_SIZE['cpu'])
