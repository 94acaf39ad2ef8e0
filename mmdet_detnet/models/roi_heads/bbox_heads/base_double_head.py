"""The fc-head and the conv-head of Double-Head R-CNN, each on its own task.

Paper: Rethinking Classification and Localization for Object Detection,
https://arxiv.org/abs/1904.06493. The authors' code is a fork of maskrcnn-benchmark,
https://github.com/wuyuebupt/doubleheadsrcnn (commit a744b41).
"""

from typing import Any

import torch
from mmdet.models.roi_heads.bbox_heads import BBoxHead
from mmdet.models.roi_heads.bbox_heads import DoubleConvFCBBoxHead as PlainDoubleConvFCBBoxHead
from mmdet.models.roi_heads.bbox_heads.double_bbox_head import BasicResBlock
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.utils import ConfigType, InstanceList, OptConfigType
from mmengine.model import ModuleList
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmdet_detnet.models.arguments import check_positive_integer, reject
from mmdet_detnet.models.layers import GroupedNonLocal

try:
    from torch.compiler import is_compiling
except ImportError:  # before torch 2.3
    from torch._dynamo import is_compiling

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


class BaseDoubleHead(PlainDoubleConvFCBBoxHead):
    """MMDetection's ``DoubleConvFCBBoxHead`` with all arguments working, and non-local blocks.

    Args:
        num_convs: Number of bottlenecks of the conv-head after its first block, at least 1.
        num_fcs: Number of layers of the fc-head, at least 1.
        num_nonlocal: Number of non-local blocks, one before each of the first bottlenecks.
        conv_cfg: Config of all convolutions; plain ones if None.
        norm_cfg: Config of all normalization layers.
        **kwargs: The other arguments of MMDetection's ``DoubleConvFCBBoxHead`` and ``BBoxHead``.

    Raises:
        ValueError: If a number is out of range or a part of the head is disabled.
    """

    def __init__(
        self,
        num_convs: int,
        num_fcs: int,
        num_nonlocal: int = 0,
        conv_cfg: OptConfigType = None,
        norm_cfg: ConfigType = dict(type='BN'),  # noqa: B006
        **kwargs: Any,
    ) -> None:
        _check_counts(self, num_convs, num_fcs, num_nonlocal)
        _check_nothing_left_out(self, kwargs)
        super().__init__(num_convs, num_fcs, conv_cfg=conv_cfg, norm_cfg=norm_cfg, **kwargs)
        # The parent's first block always has plain convolutions and batch norm.
        self.res_block = BasicResBlock(
            self.in_channels, self.conv_out_channels, conv_cfg=conv_cfg, norm_cfg=norm_cfg
        )
        # In a separate list, so that the bottlenecks keep the names in MMDetection's weights.
        self.nonlocal_blocks = ModuleList(
            GroupedNonLocal(self.conv_out_channels, conv_cfg=conv_cfg, norm_cfg=norm_cfg)
            for _ in range(num_nonlocal)
        )
        # The parent's predictors are plain linear layers; BBoxHead's follow the arguments.
        self.predictor_options = {key: kwargs[key] for key in PREDICTOR_OPTIONS if key in kwargs}
        losses = {key: kwargs[key] for key in ('loss_cls', 'loss_bbox') if key in kwargs}
        predictors = self.make_predictors(self.fc_out_channels, with_reg=False, **losses)
        self.fc_cls = predictors.fc_cls
        predictors = self.make_predictors(self.conv_out_channels, with_cls=False, **losses)
        self.fc_reg = predictors.fc_reg

    def make_predictors(self, in_channels: int, **kwargs: Any) -> BBoxHead:
        """Make linear predictors with their losses, with this head's options.

        Args:
            in_channels: Number of features of each RoI.
            **kwargs: ``with_cls``, ``with_reg``, ``loss_cls`` and ``loss_bbox`` of ``BBoxHead``.

        Returns:
            A head with only the predictors ``fc_cls`` and ``fc_reg``, or one of them.
        """
        return BBoxHead(
            in_channels=in_channels, roi_feat_size=1, **self.predictor_options, **kwargs
        )

    @property
    def conv_parts(self) -> tuple[nn.Module, ...]:
        """The layers of the conv-head up to its predictors."""
        return self.res_block, self.conv_branch, self.nonlocal_blocks

    def fc_features(self, x: Tensor) -> Tensor:
        """Run the fc-head up to its predictors.

        Args:
            x: RoI features, of shape (num_rois, in_channels, h, w).

        Returns:
            Features of shape (num_rois, fc_out_channels).
        """
        x = x.flatten(1)  # (num_rois, in_channels * h * w)
        for fc in self.fc_branch:
            x = self.relu(fc(x))
        return x

    def conv_features(self, x: Tensor) -> Tensor:
        """Run the conv-head up to its predictors.

        Args:
            x: RoI features, of shape (num_rois, in_channels, h, w).

        Returns:
            Features of shape (num_rois, conv_out_channels).
        """
        if x.shape[0] == 0:
            return self._connected_empty(x)
        in_chunks = x.device.type == 'cpu' and not self.training and not is_compiling()
        chunks = x.split(CPU_CHUNK_SIZE) if in_chunks else [x]
        return torch.cat([self._convolve(chunk) for chunk in chunks])

    def _convolve(self, x: Tensor) -> Tensor:
        x = self.res_block(x)  # (num_rois, conv_out_channels, h, w)
        for index, bottleneck in enumerate(self.conv_branch):
            if index < len(self.nonlocal_blocks):
                x = self.nonlocal_blocks[index](x)
            x = bottleneck(x)
        return self.avg_pool(x).flatten(1)

    def refine_bboxes(
        self,
        sampling_results: list[SamplingResult],
        bbox_results: dict,
        batch_img_metas: list[dict],
    ) -> InstanceList:
        """Refine the RoIs of a cascade stage for the next stage.

        Args:
            sampling_results: Sampled RoIs and their ground truth for each image.
            bbox_results: Output of the RoI head's ``bbox_loss``.
            batch_img_metas: Meta information of each image.

        Returns:
            The ``bboxes`` of each image, corners in pixels. Without RoIs they are empty, whereas
            MMDetection would skip the following stages and their losses.
        """
        refined = super().refine_bboxes(sampling_results, bbox_results, batch_img_metas)
        if refined is None:
            boxes = bbox_results['rois'].new_zeros(0, self.bbox_coder.encode_size)
            refined = [InstanceData(bboxes=boxes) for _ in batch_img_metas]
        return refined

    def _connected_empty(self, x: Tensor) -> Tensor:
        """Return no features, but connect all parameters with a gradient of zero."""
        parameters = [parameter for part in self.conv_parts for parameter in part.parameters()]
        zero = x.sum() + sum(parameter.flatten()[:0].sum() for parameter in parameters)
        return x.new_zeros(0, self.conv_out_channels) + zero


def _check_counts(owner: nn.Module, num_convs: int, num_fcs: int, num_nonlocal: int) -> None:
    check_positive_integer(owner, 'num_convs', num_convs)
    check_positive_integer(owner, 'num_fcs', num_fcs)
    if not 0 <= num_nonlocal <= num_convs:
        reject(owner, 'num_nonlocal', num_nonlocal, f'in 0 to num_convs = {num_convs}')


def _check_nothing_left_out(owner: nn.Module, options: dict) -> None:
    for name in ('with_cls', 'with_reg', 'with_avg_pool'):
        if not options.get(name, True):
            reject(owner, name, options[name], 'True')
