"""Networks to time, with input: a detector, or its backbone or RoI head alone.

Random weights are given the work of a trained detector: its number of proposals and scores.
"""

import argparse
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import Any

import torch
from mmdet.models.dense_heads import RetinaHead
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config, DictAction
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint
from mmengine.structures import InstanceData
from torch import nn

from mmdet_detnet.config import load_config
from mmdet_detnet.deployment import accelerate
from mmdet_detnet.deployment.acceleration import DTYPES

from .comparisons import PLAIN, Entry, Workload, split_options
from .parts import META, NUM_PROPOSALS, list_modules, time_parts

# A typical COCO image has about seven objects.
NUM_BOXES = 7
# Valid labels for any detector with two or more classes.
NUM_CLASSES = 2
# Too small to change a weight: the steps are timed, not their effect.
LEARNING_RATE = 1e-8
# Side lengths of proposals in pixels: from small objects to most of an image, log-uniform.
SHORTEST, LONGEST = 16, 512
# Over all pairs of anchor and class in an image, measured on the slim RetinaNet of docs/bccd.md.
LOGIT_STD = 4.9


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


def build_without_weights(config: Config) -> nn.Module:
    """Build the detector of a config with tensors that have shapes but no memory."""
    with META:
        return build_detector(config, Workload(), META)


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

    Subclasses have ``_build``, which returns the network, and ``predict``, and what else of
    ``actions`` can be timed.

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
    predict: Callable[[], None]
    _build: Callable[[], nn.Module]

    def __init__(
        self,
        entry: Entry,
        workload: Workload,
        device: torch.device,
        reference: 'TimedNetwork | None' = None,
    ) -> None:
        self.entry, self.workload, self.device = entry, workload, device
        self.passing: tuple[int, int] | None = None
        self.network = self._build()
        if entry.checkpoint:
            load_checkpoint(self.network, entry.checkpoint, map_location='cpu')
        else:
            if reference is not None:
                _share_weights(self.network, reference.network)
            self._set_scores()
        self._accelerate()
        roi_head = self._find_roi_head()
        if roi_head is not None and not entry.checkpoint:
            self.passing = set_passing(roi_head, self.predict, workload.passing * workload.batch)

    def parts(self) -> dict[str, float]:
        """Run inference and return the seconds of each part."""
        return time_parts(self.network, self.predict, self.device)

    def _set_scores(self) -> None:
        """Spread the scores of a one-stage detector as in a trained one."""

    def _find_roi_head(self) -> nn.Module | None:
        return getattr(self.network, 'roi_head', None)

    def _set_mode(self, training: bool) -> None:
        if self.network.training != training:
            self.network.train(training)

    def _autocast(self) -> AbstractContextManager:
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

    def _build(self) -> nn.Module:
        detector = build_detector(load_with_options(self.entry.config), self.workload, self.device)
        self.batch = make_batch(detector, self.workload, self.device)
        if not self.entry.checkpoint:
            fix_proposals(detector, self.workload, self.device)
        self.optimizer: torch.optim.Optimizer | None = None
        return detector

    def _set_scores(self) -> None:
        set_candidates(self.network, self.batch, self.workload.candidates)

    @torch.no_grad()
    def predict(self) -> None:
        """Run the network and the post-processing."""
        self._set_mode(training=False)
        self.network(**self.batch, mode='predict')

    def train(self) -> None:
        """Run loss, backward pass and the optimizer's step."""
        self._set_mode(training=True)
        if self.optimizer is None:
            trained = [p for p in self.network.parameters() if p.requires_grad]
            self.optimizer = torch.optim.SGD(trained, lr=LEARNING_RATE, momentum=0.9)
        with self._autocast():
            loss, _ = self.network.parse_losses(self.network(**self.batch, mode='loss'))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


class TimedBackbone(TimedNetwork):
    """The backbone of a detector: from images to feature maps, and backward from their sum."""

    actions = ('predict', 'train')

    def _build(self) -> nn.Module:
        detector = build_detector(load_with_options(self.entry.config), self.workload, self.device)
        self.inputs = make_batch(detector, self.workload, self.device)['inputs']
        # Under its name, as in the detector whose weights it shares.
        return nn.ModuleDict({'backbone': detector.backbone})

    @torch.no_grad()
    def predict(self) -> None:
        """Compute the feature maps."""
        self._set_mode(training=False)
        self.network['backbone'](self.inputs)

    def train(self) -> None:
        """Compute the gradients of the sum of the feature maps."""
        self._set_mode(training=True)
        self.network.zero_grad()
        with self._autocast():
            maps = self.network['backbone'](self.inputs)
        torch.stack([level.float().sum() for level in maps]).sum().backward()


class TimedRoIHead(TimedNetwork):
    """The RoI head of a detector: from random feature maps and 1000 proposals to boxes."""

    actions = ('predict', 'parts')

    def _build(self) -> nn.Module:
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

    def _find_roi_head(self) -> nn.Module:
        return self.network

    @torch.no_grad()
    def predict(self) -> None:
        """Pool, classify, regress, decode and run NMS."""
        self.network.predict(self.features, self.boxes, self.samples, rescale=True)


NETWORKS: dict[str, type[TimedNetwork]] = {
    'backbone': TimedBackbone,
    'detector': TimedDetector,
    'roi_head': TimedRoIHead,
}


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

    def compute_logits() -> torch.Tensor:  # (N, num_pairs)
        levels = detector(**batch, mode='tensor')[0]
        return torch.cat([level.flatten(1) for level in levels], dim=1)

    head.retina_cls.weight *= LOGIT_STD / compute_logits().std()
    logits = compute_logits()
    lowest = logits.topk(min(candidates, logits.shape[1]), dim=1).values[:, -1].min()
    head.retina_cls.bias += torch.tensor(head.test_cfg.score_thr).logit().to(lowest) - lowest


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
    heads = list_modules(getattr(roi_head, 'bbox_head', None))
    last_layers = [getattr(head, 'fc_cls', None) for head in heads]
    classifiers = [layer for layer in last_layers if isinstance(layer, nn.Linear)]
    if not heads or len(classifiers) < len(heads):
        return None
    features = _record_inputs(classifiers, predict)

    def compute_logits() -> torch.Tensor:  # (R, num_classes + 1), always in float32
        logits = [
            nn.functional.linear(stage.float(), layer.weight.float(), layer.bias.float())
            for layer, stage in zip(classifiers, features, strict=True)
        ]
        return torch.stack(logits).mean(dim=0)

    logits = compute_logits()
    scale = LOGIT_STD / logits.std(dim=0, correction=0).clamp(min=torch.finfo(logits.dtype).eps)
    for layer in classifiers:
        layer.weight *= scale[:, None].to(layer.weight)
        layer.bias.copy_((layer.bias.float() - logits.mean(dim=0)) * scale)
    threshold = roi_head.test_cfg.score_thr
    bias = _find_bias(compute_logits(), threshold, number)
    for layer in classifiers:
        layer.bias[-1] += bias.to(layer.bias)
    best = compute_logits().softmax(dim=1)[:, :-1].amax(dim=1)
    return int((best > threshold).sum()), len(best)


def _record_inputs(
    modules: Sequence[nn.Module], action: Callable[[], object]
) -> list[torch.Tensor]:
    inputs: dict[nn.Module, list[torch.Tensor]] = {module: [] for module in modules}
    handles = [
        module.register_forward_pre_hook(lambda module, given: inputs[module].append(given[0]))
        for module in modules
    ]
    try:
        action()
    finally:
        for handle in handles:
            handle.remove()
    return [torch.cat(seen) for seen in inputs.values()]


def _find_bias(logits: torch.Tensor, threshold: float, number: int) -> torch.Tensor:
    """Find the addition to the background's logit at which ``number`` proposals pass.

    From exp(best) / (sum of foreground exp + exp(background + bias)) = threshold. A bias is minus
    infinity if the foreground classes are too even to reach the threshold.
    """
    foreground, background = logits[:, :-1].double(), logits[:, -1].double()
    others = (foreground - foreground.amax(dim=1, keepdim=True)).exp().sum(dim=1)
    room = (1 / threshold - others).clamp(min=0)
    biases = room.log() + foreground.amax(dim=1) - background
    biases = biases[biases.isfinite()].sort(descending=True).values
    if not 0 < number < len(biases):
        return biases[0] + 1 if number <= 0 else biases[-1] - 1
    return biases[number - 1 : number + 1].mean()
