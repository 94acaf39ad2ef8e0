"""Networks to time, with input: a detector, or its backbone or RoI head alone.

With random weights, they get the work of a trained detector: its number of proposals and scores.
"""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import torch
from mmdet.models.dense_heads import RetinaHead
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint
from mmengine.structures import InstanceData
from torch import nn

from mmdet_detnet.command_line import key_and_value
from mmdet_detnet.config import load_config
from mmdet_detnet.deployment import accelerate
from mmdet_detnet.deployment.acceleration import DTYPES
from mmdet_detnet.training.checks import check_checkpoint

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
    return load_config(path, dict(map(key_and_value, options)))


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
    # They need a Runner, and change the size of the images.
    detector.data_preprocessor.batch_augments = None
    return detector.data_preprocessor(images, training=True)


class TimedNetwork:
    """A network with its input, of which inference and a training step can be timed.

    Subclasses have ``_build``, which returns the network, ``predict`` and ``train``. Random weights
    are shared with the reference where names and shapes agree.
    """

    actions: tuple[str, ...] = ('predict', 'parts', 'train')  # those that can be timed
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
        self.network = self._build()
        if not entry.checkpoint:
            if reference is not None:
                _share_weights(self.network, reference.network)
            self._set_scores()
        settings = entry.settings
        if settings != PLAIN:
            dtype = None if settings.precision == 'fp32' else settings.precision
            options = dict(channels_last=settings.channels_last, compile=settings.compile)
            accelerate(self.network, dtype=dtype, **options)

    def _build_detector(self) -> tuple[nn.Module, dict]:
        config = load_with_options(self.entry.config)
        detector = build_detector(config, self.workload, self.device)
        if self.entry.checkpoint:
            check_checkpoint(detector, self.entry.checkpoint)
            load_checkpoint(detector, self.entry.checkpoint, map_location='cpu')
        return detector, make_batch(detector, self.workload, self.device)

    def parts(self) -> dict[str, float]:
        """Run inference and return the seconds of each part."""
        return time_parts(self.network, self.predict, self.device)

    def _set_scores(self) -> None:
        """Give the scores the values of a trained detector."""

    def _set_mode(self, training: bool) -> None:
        if self.network.training != training:
            self.network.train(training)

    def _autocast(self) -> torch.autocast:
        """Cast the operations inside to the entry's precision, as MMEngine does in training."""
        dtype = DTYPES.get(self.entry.settings.precision)
        return torch.autocast(self.device.type, dtype, enabled=dtype is not None)


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
        detector, self.batch = self._build_detector()
        if not self.entry.checkpoint:
            fix_proposals(detector, self.workload, self.device)
        self.optimizer: torch.optim.Optimizer | None = None
        return detector

    def _set_scores(self) -> None:
        set_candidates(self.network, self.batch, self.workload.candidates)
        set_passing(getattr(self.network, 'roi_head', None), self.workload)

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
        detector, batch = self._build_detector()
        self.inputs = batch['inputs']
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
        detector, batch = self._build_detector()
        if not hasattr(detector, 'roi_head'):
            raise ValueError(f'the detector {type(detector).__name__} has no RoI head')
        roi_head, size = detector.roi_head, self.workload
        extractor = list_modules(roi_head.bbox_roi_extractor)[0]
        self.features = tuple(
            torch.randn(
                (size.batch, extractor.out_channels, -(-size.height // s), -(-size.width // s)),
                device=self.device,
            )
            for s in extractor.featmap_strides
        )
        self.boxes = draw_proposals(NUM_PROPOSALS, size, self.device)
        self.samples = batch['data_samples']
        return roi_head

    def _set_scores(self) -> None:
        set_passing(self.network, self.workload)

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
        For each image, ``bboxes`` of shape (number, 4), corners in pixels, ``scores`` and
        ``labels``.
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

    With random weights, proposals differ between detectors in size and even in number. Those of
    Sparse R-CNN, which are weights, are left.
    """
    rpn_head = getattr(detector, 'rpn_head', None)
    settings = getattr(detector, 'test_cfg', None) or {}
    if rpn_head is not None and settings.get('rpn'):
        proposals = draw_proposals(settings['rpn'].max_per_img, workload, device)
        rpn_head.predict = _replace_result(rpn_head.predict, proposals)
        rpn_head.loss_and_predict = _replace_result(rpn_head.loss_and_predict, proposals)


def _replace_result(method: Callable, proposals: Sequence[InstanceData]) -> Callable:
    @wraps(method)
    def with_fixed_proposals(*args: Any, **kwargs: Any) -> Any:
        """Call the method, and return its result with the fixed proposals."""
        result = method(*args, **kwargs)
        # The RoI head removes the boxes from its input.
        fixed = [one_image.clone() for one_image in proposals]
        return (result[0], fixed) if isinstance(result, tuple) else fixed

    return with_fixed_proposals


@torch.no_grad()
def set_candidates(detector: nn.Module, batch: dict, candidates: int) -> None:
    """Spread the class scores of a detector with a RetinaHead as in a trained one; else do nothing.

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


def set_passing(roi_head: nn.Module | None, workload: Workload) -> None:
    """Replace the class scores of a RoI head in inference, as if it were trained.

    Of all proposals of a batch, ``workload.passing`` per image, evenly spread, have a foreground
    class above the score threshold. The logits have a trained detector's spread. Nothing changes in
    training, and in box heads that do not end in a linear layer ``fc_cls``.
    """
    number = workload.passing * workload.batch
    fixed: dict[torch.Size, torch.Tensor] = {}

    def replace(layer: nn.Module, inputs: tuple, logits: torch.Tensor) -> torch.Tensor | None:
        """Return fixed logits for those of the classifier, the same for the same number of RoIs."""
        if layer.training:
            return None
        if logits.shape not in fixed:
            random = torch.Generator().manual_seed(workload.seed)
            drawn = LOGIT_STD * torch.randn(logits.shape, generator=random)
            rank = torch.arange(len(logits) + 1) * min(number, len(logits)) // len(logits)
            passes = rank.diff() > 0
            # The background is as likely as the best class, or far more likely than all.
            drawn[:, -1] = drawn[:, :-1].amax(dim=1) + torch.where(passes, 0, 10 * LOGIT_STD)
            fixed[logits.shape] = drawn.to(logits)
        return fixed[logits.shape]

    for head in list_modules(getattr(roi_head, 'bbox_head', None)):
        if isinstance(getattr(head, 'fc_cls', None), nn.Linear):
            head.fc_cls.register_forward_hook(replace)
