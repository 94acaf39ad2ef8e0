"""The box head: the fc-head and the conv-head, each on its own task or (Ext) on both.

MMDetection has the plain Double-Head. Ext, the better of the two in the paper, trains each head on
both tasks and fuses their class scores (equations 2 to 4).
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from mmcv.cnn import build_conv_layer, build_norm_layer
from mmdet.models.layers import multiclass_nms
from mmdet.models.roi_heads.bbox_heads import BBoxHead
from mmdet.models.roi_heads.bbox_heads import DoubleConvFCBBoxHead as PlainDoubleConvFCBBoxHead
from mmdet.models.roi_heads.bbox_heads.double_bbox_head import BasicResBlock
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.utils import ConfigType, InstanceList, OptConfigType
from mmengine.config import ConfigDict
from mmengine.model import BaseModule, ModuleList, constant_init
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmdet_detnet.arguments import check_choice, check_positive_integer, is_number, reject
from mmdet_detnet.precision import widen
from mmdet_detnet.registry import MODELS

from .roi_pooling import zero_of

try:
    from torch.compiler import is_compiling
except ImportError:  # before torch 2.3
    from torch._dynamo import is_compiling

# Fusions of two classifiers' probabilities. The first is equation 4: 0.6 and 0.5 become 0.8. Its
# scores are at least as high as either; over all classes, they do not sum to 1.
SCORE_FUSIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    'complementary': lambda fc, conv: fc + conv * (1 - fc),
    'max': torch.maximum,
    'average': lambda fc, conv: (fc + conv) / 2,
}
# The authors' evaluation modes are 2 ('none'), 3 ('complementary'), 1 ('fc') and 0 ('conv').
FUSIONS = ('none', *SCORE_FUSIONS, 'fc', 'conv')
# Arguments of BBoxHead, other than losses, that its predictors depend on.
PREDICTOR_OPTIONS = (
    'num_classes',
    'bbox_coder',
    'predict_box_type',
    'reg_class_agnostic',
    'reg_decoded_bbox',
    'cls_predictor_cfg',
    'reg_predictor_cfg',
)
# RoIs convolved at once on a CPU, so that they fit the caches; the fastest of 25 to 1000.
CPU_CHUNK_SIZE = 50
# The non-local block's embeddings are in groups, and have a fraction of the input's channels.
GROUPS, REDUCTION = 4, 2


@MODELS.register_module()
class DoubleConvFCBBoxHead(PlainDoubleConvFCBBoxHead):
    """MMDetection's ``DoubleConvFCBBoxHead``, with non-local blocks and Double-Head-Ext.

    All names of MMDetection's state dict remain, so its checkpoints load. Without the new arguments
    and with the same losses, outputs and losses equal those of MMDetection's head, whose default
    losses have weight 1. In addition, ``conv_cfg`` and ``norm_cfg`` apply to the first block too,
    there may be no RoIs, outputs are at least float32, and ``cls_predictor_cfg``,
    ``reg_predictor_cfg``, losses with custom class channels and other box coders work.

    Double-Head-Ext trains each head on both tasks. In the paper's terms the losses are weighted by

    | head      | classification             | regression             |
    |-----------|----------------------------|------------------------|
    | fc-head   | w_fc * lambda_fc           | w_fc * (1 - lambda_fc) |
    | conv-head | w_conv * (1 - lambda_conv) | w_conv * lambda_conv   |

    where w_fc is the ``loss_weight`` of ``loss_cls`` and w_conv that of ``loss_bbox``. The paper
    uses 2.0 and 2.5, and for Ext lambda_fc = 0.7 and lambda_conv = 0.8, which gives 1.4, 0.6, 0.5
    and 2.0. The losses of the unfocused tasks (with 1 - lambda) are logged as
    ``unfocused_loss_cls`` (conv-head) and ``unfocused_loss_bbox`` (fc-head).

    Args:
        num_convs: Number of bottlenecks of the conv-head after the block that raises the
            channels, at least 1. The paper's 5 residual blocks are ``num_convs=4``.
        num_fcs: Number of layers of the fc-head, at least 1.
        num_nonlocal: Number of non-local blocks, one before each of the first bottlenecks, so at
            most ``num_convs``. The authors' models have 2, with ``num_convs=2``.
        lambda_fc: Weight of classification in the fc-head's loss, in (0, 1]; with 1, the fc-head
            does not regress boxes.
        lambda_conv: Weight of regression in the conv-head's loss, in (0, 1]; with 1, the conv-head
            does not classify.
        fusion: What detections are made of. Box of the conv-head and class of the fc-head ('none')
            or of both heads: 'complementary' (the paper's s_fc + s_conv (1 - s_fc)), 'max' or
            'average' of the probabilities. Or box and class of one head, 'fc' or 'conv'. A head
            must be trained on what is taken from it: ``lambda_conv`` below 1 for classes of the
            conv-head, ``lambda_fc`` below 1 for boxes of the fc-head. Can be set at test time, for
            example with ``--cfg-options model.roi_head.bbox_head.fusion=conv``.
        loss_cls: Config of the classification loss.
        loss_bbox: Config of the regression loss.
        conv_cfg: Config of all convolutions; plain ones if None.
        norm_cfg: Config of all normalization layers; plain batch norm sees the RoIs of one GPU.
        **kwargs: The other arguments of MMDetection's ``DoubleConvFCBBoxHead`` and ``BBoxHead``.

    Raises:
        ValueError: If an argument is outside what is listed here, or ``with_cls``, ``with_reg``
            or ``with_avg_pool`` is False.
    """

    def __init__(
        self,
        num_convs: int,
        num_fcs: int,
        num_nonlocal: int = 0,
        lambda_fc: float = 1.0,
        lambda_conv: float = 1.0,
        fusion: str = 'none',
        loss_cls: ConfigType = dict(type='CrossEntropyLoss', loss_weight=2.0),  # noqa: B006
        loss_bbox: ConfigType = dict(  # noqa: B006
            type='SmoothL1Loss', beta=1.0, loss_weight=2.5
        ),
        conv_cfg: OptConfigType = None,
        norm_cfg: ConfigType = dict(type='BN'),  # noqa: B006
        **kwargs: Any,
    ) -> None:
        _check_arguments(self, num_convs, num_fcs, num_nonlocal, kwargs)
        for name, value in (('lambda_fc', lambda_fc), ('lambda_conv', lambda_conv)):
            if not is_number(value) or not 0 < value <= 1:
                reject(self, name, value, 'above 0 and at most 1')
        w_fc, w_conv = loss_cls.get('loss_weight', 1.0), loss_bbox.get('loss_weight', 1.0)
        focused = dict(
            loss_cls=_reweighted(loss_cls, w_fc * lambda_fc),
            loss_bbox=_reweighted(loss_bbox, w_conv * lambda_conv),
        )
        layers = dict(conv_cfg=conv_cfg, norm_cfg=norm_cfg)
        super().__init__(num_convs, num_fcs, **focused, **layers, **kwargs)
        channels = self.conv_out_channels
        # The parent's first block always has plain convolutions and batch norm.
        self.res_block = BasicResBlock(self.in_channels, channels, **layers)
        # In a separate list, so that the bottlenecks keep the names in MMDetection's weights.
        self.nonlocal_blocks = ModuleList(
            GroupedNonLocal(channels, **layers) for _ in range(num_nonlocal)
        )

        # The parent's predictors are plain linear layers; BBoxHead's follow the arguments.
        options = {key: kwargs[key] for key in PREDICTOR_OPTIONS if key in kwargs}
        options.update(roi_feat_size=1)
        fc = dict(options, in_channels=self.fc_out_channels)
        conv = dict(options, in_channels=channels)
        self.fc_cls = BBoxHead(with_reg=False, **fc, **focused).fc_cls
        self.fc_reg = BBoxHead(with_cls=False, **conv, **focused).fc_reg
        # Predictors of the unfocused tasks, with their losses.
        self.unfocused_cls = self.unfocused_reg = None
        if lambda_conv < 1:
            loss = _reweighted(loss_cls, w_conv * (1 - lambda_conv))
            self.unfocused_cls = BBoxHead(with_reg=False, loss_cls=loss, **conv)
        if lambda_fc < 1:
            loss = _reweighted(loss_bbox, w_fc * (1 - lambda_fc))
            self.unfocused_reg = BBoxHead(with_cls=False, loss_bbox=loss, **fc)
        self.fusion = fusion

    @property
    def fusion(self) -> str:
        """What detections are made of, see the argument; can be set at any time."""
        return self._fusion

    @fusion.setter
    def fusion(self, value: str) -> None:
        check_choice(self, 'fusion', value, FUSIONS)
        fuses = value in SCORE_FUSIONS
        if (fuses or value == 'conv') and self.unfocused_cls is None:
            allowed = "'none' or 'fc' unless the conv-head classifies (lambda_conv < 1)"
            reject(self, 'fusion', value, allowed)
        if value == 'fc' and self.unfocused_reg is None:
            allowed = "another than 'fc' unless the fc-head regresses (lambda_fc < 1)"
            reject(self, 'fusion', value, allowed)
        if fuses and self.custom_cls_channels:
            reject(self, 'fusion', value, f"'none' with {type(self.loss_cls).__name__}")
        if fuses and getattr(self.loss_cls, 'use_sigmoid', False):
            reject(self, 'fusion', value, "'none' with a loss_cls that has use_sigmoid=True")
        self._fusion = value

    @property
    def fuses_scores(self) -> bool:
        """Whether detections have the class scores of both heads."""
        return self.fusion in SCORE_FUSIONS

    @property
    def conv_parts(self) -> tuple[nn.Module, ...]:
        """The layers of the conv-head up to its predictors."""
        return self.res_block, self.conv_branch, self.nonlocal_blocks

    def forward(self, x_cls: Tensor, x_reg: Tensor) -> tuple[Tensor | None, ...]:
        """Run both heads.

        Args:
            x_cls: RoI features for the fc-head, of shape (num_rois, in_channels, h, w).
            x_reg: RoI features for the conv-head, of the same shape.

        Returns:
            Class logits of the fc-head, (num_rois, num_classes + 1), and deltas of the conv-head,
            (num_rois, num_classes * 4), or 4 if ``reg_class_agnostic``. With unfocused tasks, also
            the class logits of the conv-head and the deltas of the fc-head; either is None if its
            head has only one task.
        """
        cls_score, fc_bbox_pred = self.forward_fc(x_cls)
        conv_cls_score, bbox_pred = self.forward_conv(x_reg)
        if self.unfocused_cls is None and self.unfocused_reg is None:
            return cls_score, bbox_pred
        return cls_score, bbox_pred, conv_cls_score, fc_bbox_pred

    def forward_fc(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Run the fc-head on RoI features; returns class logits, and deltas or None."""
        x = x.flatten(1)  # (num_rois, in_channels * h * w)
        for fc in self.fc_branch:
            x = self.relu(fc(x))  # (num_rois, fc_out_channels)
        unfocused = self.unfocused_reg
        deltas = None if unfocused is None else widen(unfocused.fc_reg(x))
        return widen(self.fc_cls(x)), deltas

    def forward_conv(self, x: Tensor) -> tuple[Tensor | None, Tensor]:
        """Run the conv-head on RoI features; returns class logits or None, and deltas."""
        x = self.conv_features(x)
        unfocused = self.unfocused_cls
        logits = None if unfocused is None else widen(unfocused.fc_cls(x))
        return logits, widen(self.fc_reg(x))

    def conv_features(self, x: Tensor) -> Tensor:
        """Run the conv-head up to its predictors; returns (num_rois, conv_out_channels)."""
        if x.shape[0] == 0:
            # No features, but all parameters in the graph with a gradient of zero.
            parameters = [parameter for part in self.conv_parts for parameter in part.parameters()]
            return x.new_zeros(0, self.conv_out_channels) + zero_of(x, *parameters)
        in_chunks = x.device.type == 'cpu' and not self.training and not is_compiling()
        chunks = x.split(CPU_CHUNK_SIZE) if in_chunks else [x]
        return torch.cat([self._convolve(chunk) for chunk in chunks])

    def _convolve(self, x: Tensor) -> Tensor:
        x = self.res_block(x)  # (num_rois, conv_out_channels, h, w)
        for index, bottleneck in enumerate(self.conv_branch):
            if index < len(self.nonlocal_blocks):
                x = self.nonlocal_blocks[index](x)
            x = bottleneck(x)
        return self.avg_pool(x).flatten(1)  # (num_rois, conv_out_channels)

    def loss_and_target(
        self,
        cls_score: Tensor,
        bbox_pred: Tensor,
        rois: Tensor,
        sampling_results: list[SamplingResult],
        rcnn_train_cfg: ConfigDict,
        conv_cls_score: Tensor | None = None,
        fc_bbox_pred: Tensor | None = None,
    ) -> dict:
        """Compute the losses of all that :meth:`forward` returns, with the same targets.

        Returns:
            The losses as ``loss_bbox``, with the same names in every batch, and ``bbox_targets``.
        """
        targets = self.get_targets(sampling_results, rcnn_train_cfg)
        outputs = [cls_score, bbox_pred, conv_cls_score, fc_bbox_pred]
        labels, *others = targets
        if len(rois) == 0:
            # Without RoIs, BBoxHead omits the classification loss: add one of weight zero.
            outputs = [None if output is None else _add_row(output) for output in outputs]
            rois, *others = map(_add_row, (rois, *others))
            labels = _add_row(labels, self.num_classes)
        inputs = rois, labels, *others
        losses = self.loss(*outputs[:2], *inputs)
        unfocused: dict[str, Tensor] = {}
        if self.unfocused_cls is not None and conv_cls_score is not None:
            unfocused |= self.unfocused_cls.loss(outputs[2], None, *inputs)
        if self.unfocused_reg is not None and fc_bbox_pred is not None:
            unfocused |= self.unfocused_reg.loss(None, outputs[3], *inputs)
        losses |= {f'unfocused_{name}': value for name, value in unfocused.items()}
        return dict(loss_bbox=losses, bbox_targets=targets)

    def class_probabilities(self, cls_score: Tensor) -> Tensor:
        """Convert class logits to probabilities in float32, (num_rois, num_classes + 1)."""
        if self.custom_cls_channels:
            return self.loss_cls.get_activation(cls_score.float())
        return F.softmax(cls_score.float(), dim=-1)

    def find_above(self, cls_score: Tensor, score_thr: float) -> Tensor:
        """List the indices of the RoIs with a class, other than background, above a threshold."""
        best = self.class_probabilities(cls_score)[:, :-1].amax(dim=1)  # (num_rois,)
        return (best > score_thr).nonzero().squeeze(1)

    def fuse(self, cls_score: Tensor, conv_cls_score: Tensor | None) -> Tensor:
        """Select or fuse class logits according to :attr:`fusion`, unless it is 'fc'.

        Returns class logits, or scores if :attr:`fuses_scores`.
        """
        if self.fuses_scores:
            probabilities = map(self.class_probabilities, (cls_score, conv_cls_score))
            return SCORE_FUSIONS[self.fusion](*probabilities)
        return conv_cls_score if self.fusion == 'conv' else cls_score

    def _predict_by_feat_single(
        self,
        roi: Tensor,
        cls_score: Tensor,
        bbox_pred: Tensor,
        img_meta: dict,
        rescale: bool = False,
        rcnn_test_cfg: ConfigDict | None = None,
    ) -> InstanceData:
        if not self.fuses_scores or len(roi) == 0:
            return super()._predict_by_feat_single(
                roi, cls_score, bbox_pred, img_meta, rescale, rcnn_test_cfg
            )
        # The parent would treat the fused scores as logits, so it only decodes the boxes.
        results = super()._predict_by_feat_single(roi, cls_score, bbox_pred, img_meta, rescale)
        if rcnn_test_cfg is None:
            results.scores = cls_score
            return results
        detections, labels = multiclass_nms(
            results.bboxes,
            cls_score,
            rcnn_test_cfg.score_thr,
            rcnn_test_cfg.nms,
            rcnn_test_cfg.max_per_img,
            box_dim=self.bbox_coder.encode_size,
        )
        return InstanceData(bboxes=detections[:, :-1], scores=detections[:, -1], labels=labels)

    def refine_bboxes(
        self,
        sampling_results: list[SamplingResult],
        bbox_results: dict,
        batch_img_metas: list[dict],
    ) -> InstanceList:
        """Refine the RoIs of a cascade stage for the next stage, as MMDetection does.

        Without RoIs, the boxes are empty, whereas MMDetection would skip the following stages and
        their losses.
        """
        refined = super().refine_bboxes(sampling_results, bbox_results, batch_img_metas)
        if refined is None:
            boxes = bbox_results['rois'].new_zeros(0, self.bbox_coder.encode_size)
            refined = [InstanceData(bboxes=boxes) for _ in batch_img_metas]
        return refined


class GroupedNonLocal(BaseModule):
    """Add to each position of a map a weighted sum over all positions, separately for each group.

    The result is ``relu(x + norm(W y))``, where in each group of channels ``y`` at position i is
    ``sum_j (theta_i . phi_j) g_j / N`` over all N positions j, without a softmax. W starts at zero,
    so the block is initially the identity on non-negative features.

    Layout and initialization follow ``NONLocalBlock2D_Group`` in the authors' code. mmcv's
    ``NonLocal2d`` has no groups, no final ReLU, and no bias in the convolution before the last
    normalization.

    Raises:
        ValueError: If the embeddings cannot be split into groups of equal size.
    """

    def __init__(
        self,
        in_channels: int,  # number of channels of the features; the embeddings have half of them
        conv_cfg: OptConfigType = None,
        # Of the normalization after W.
        norm_cfg: ConfigType = dict(type='BN'),  # noqa: B006
    ) -> None:
        super().__init__()
        if in_channels % (REDUCTION * GROUPS):
            reject(self, 'in_channels', in_channels, f'a multiple of {REDUCTION * GROUPS}')
        channels = in_channels // REDUCTION
        self.theta = build_conv_layer(conv_cfg, in_channels, channels, kernel_size=1)
        self.phi = build_conv_layer(conv_cfg, in_channels, channels, kernel_size=1)
        self.g = build_conv_layer(conv_cfg, in_channels, channels, kernel_size=1)
        self.out_conv = build_conv_layer(conv_cfg, channels, in_channels, kernel_size=1)
        self.out_norm = build_norm_layer(norm_cfg, in_channels)[1]
        constant_init(self.out_conv, 0)

    def forward(self, x: Tensor) -> Tensor:
        """Attend over the positions of each map, of shape (N, in_channels, h, w)."""
        theta, phi, g = (  # (N, groups, channels, h * w) each
            embed(x).unflatten(1, (GROUPS, -1)).flatten(3)
            for embed in (self.theta, self.phi, self.g)
        )
        affinity = theta.transpose(-1, -2) @ phi / phi.shape[-1]  # (N, groups, h * w, h * w)
        y = (g @ affinity.transpose(-1, -2)).reshape(x.shape[0], -1, *x.shape[2:])
        return torch.relu(x + self.out_norm(self.out_conv(y)))


def _check_arguments(
    owner: nn.Module, num_convs: int, num_fcs: int, num_nonlocal: int, options: dict
) -> None:
    check_positive_integer(owner, 'num_convs', num_convs)
    check_positive_integer(owner, 'num_fcs', num_fcs)
    if not 0 <= num_nonlocal <= num_convs:
        reject(owner, 'num_nonlocal', num_nonlocal, f'in 0 to num_convs = {num_convs}')
    for name in ('with_cls', 'with_reg', 'with_avg_pool'):
        if not options.get(name, True):
            reject(owner, name, options[name], 'True')


def _reweighted(loss: ConfigType, weight: float) -> ConfigType:
    return loss if weight == loss.get('loss_weight', 1.0) else {**loss, 'loss_weight': weight}


def _add_row(tensor: Tensor, value: float = 0) -> Tensor:
    return F.pad(tensor, (0, 0) * (tensor.dim() - 1) + (0, 1), value=value)
