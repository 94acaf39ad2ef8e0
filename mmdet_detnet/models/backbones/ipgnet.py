"""IPG-Net, a ResNet that sees smaller copies of its input image in its deep stages.

Paper: IPG-Net: Image Pyramid Guidance Network for Small Object Detection,
https://arxiv.org/abs/1912.00632. The paper links no code. Details that it leaves open follow the
first author's public experiment log (ziming-liu/ObjectDet) or ResNet, as noted at the arguments.
"""

from collections.abc import Sequence
from typing import Any

from mmdet.models.backbones import ResNet, ResNeXt
from mmdet.utils import OptMultiConfig

from mmdet_detnet.models.arguments import (
    check_choice,
    check_flags,
    check_outputs,
    check_stage_flags,
    reject,
)
from mmdet_detnet.registry import MODELS

from .detnet import DetNet
from .guided_backbone import ImagePyramidGuided

NUM_RESNET_STAGES = 4
MAX_STAGES = 7
BLOCKS_OF_EXTRA_STAGE = 2
# Strides and dilations of stages 5, 6 and 7, in the authors' code.
EXTRA_STRIDES, EXTRA_DILATIONS = (2, 2, 1), (1, 1, 2)
KEPT_STRIDES, KEPT_DILATIONS = (1, 1, 1), (2, 2, 2)


@MODELS.register_module()
class IPGNet(ImagePyramidGuided, ResNet):
    """IPG-Net-50 and IPG-Net-101: ResNet with image-pyramid guidance, and up to three more stages.

    For each fused stage, the input is shrunk to a quarter of the stage's stride, turned into
    features of the stage's shape by a stem and one bottleneck, and fused with the stage's output.
    The sizes agree for every height and width of the image.

    Stages are counted from 1 in ``fused_stages``, as in the paper, and from 0 in ``out_indices``,
    as in mmdet: the paper's stage 3 has index 2, stride 16 and 1024 channels.

    The trunk keeps ResNet's layer names, so ResNet checkpoints fit; ``guidance.layer3`` guides
    ``layer3``. ``norm_cfg`` and ``norm_eval`` also apply to the guidance. With ``norm_eval`` and
    ResNet weights, its batch norm has the statistics 0 and 1 and is a learned scale and shift; with
    ``requires_grad=False`` in ``norm_cfg`` it is the identity.

    Args:
        depth: 50 or 101.
        num_stages: 4 to 7. Stages from the fifth on have two bottlenecks of stage 4's width (2048
            channels outside, 512 inside) and no guidance.
        keep_stride: Whether stages from the fifth on stay at stride 32, with dilation 2; with seven
            stages, this is the paper's "7(keep)". Otherwise their strides are 64, 128 and 128.
        out_indices: Indices of the returned stages, in increasing order, from 0 to
            ``num_stages - 1``. With more than four stages, the last one is required.
        frozen_stages: Number of trunk stages that are frozen, together with the stem; -1 freezes
            nothing. The guidance is never frozen, except a shared stem; to freeze it, use
            ``custom_keys={'backbone.guidance': dict(lr_mult=0, decay_mult=0)}`` in
            ``paramwise_cfg``.
        base_channels: Width of the first stage's bottlenecks; the others scale with it.
        style: 'pytorch' puts the stride of a bottleneck in its 3x3 convolution, 'caffe' in its
            first 1x1 convolution.
        stage_with_dcn: For each of the first four stages, whether ``dcn`` applies to it.
        plugins: Plugin layers of the blocks, as in mmdet's ResNet; the ``stages`` of a plugin are
            four flags.
        init_cfg: Initialization; Kaiming if None. ``dict(type='Pretrained', checkpoint=...)`` also
            loads a checkpoint: all of an IPG-Net, or the trunk from a ResNet of torchvision, mmdet
            or mmpretrain.
        **kwargs: The arguments of :class:`.ImagePyramidGuided`, which describe the guidance, and
            the other arguments of mmdet's ResNet (``stem_channels``, ``deep_stem``, ``avg_down``,
            ``conv_cfg``, ``norm_cfg``, ``norm_eval``, ``dcn``, ``with_cp``, ...).

    Raises:
        ValueError: If an argument has a value that is not allowed.

    Examples:
        >>> net = IPGNet(depth=50)
        >>> [tuple(c.shape) for c in net(torch.rand(1, 3, 200, 333))]
        [(1, 256, 50, 84), (1, 512, 25, 42), (1, 1024, 13, 21), (1, 2048, 7, 11)]
    """

    depths = (50, 101)

    def __init__(
        self,
        depth: int,
        num_stages: int = NUM_RESNET_STAGES,
        keep_stride: bool = False,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = -1,
        base_channels: int = 64,
        style: str = 'pytorch',
        stage_with_dcn: Sequence[bool] = (False,) * NUM_RESNET_STAGES,
        plugins: list[dict] | None = None,
        init_cfg: OptMultiConfig = None,
        **kwargs: Any,
    ) -> None:
        check_choice(self, 'depth', depth, self.depths)
        check_choice(self, 'num_stages', num_stages, range(NUM_RESNET_STAGES, MAX_STAGES + 1))
        check_choice(self, 'frozen_stages', frozen_stages, range(-1, num_stages + 1))
        check_outputs(self, out_indices, num_stages)
        check_stage_flags(self, stage_with_dcn, plugins, NUM_RESNET_STAGES, kwargs.get('dcn'))
        check_flags(self, keep_stride=keep_stride)
        self._check_extra_stages(num_stages, keep_stride, out_indices)
        super().__init__(
            depth=depth,
            out_indices=(0,),
            base_channels=base_channels,
            style=style,
            stage_with_dcn=tuple(stage_with_dcn),
            plugins=plugins,
            init_cfg=init_cfg,
            **kwargs,
        )
        # The parent supports at most four stages: it built these, the others are set here.
        self.num_stages = num_stages
        self.out_indices = tuple(out_indices)
        self.frozen_stages = frozen_stages
        self._append_extra_stages(num_stages - NUM_RESNET_STAGES, keep_stride)
        self._freeze_stages()

    def _check_extra_stages(
        self, num_stages: int, keep_stride: bool, out_indices: Sequence[int]
    ) -> None:
        has_extra_stages = num_stages > NUM_RESNET_STAGES
        if keep_stride and not has_extra_stages:
            reject(self, 'keep_stride', keep_stride, f'False with {num_stages=}')
        if has_extra_stages and out_indices[-1] != num_stages - 1:
            reject(self, 'out_indices', out_indices, f'up to {num_stages - 1} with {num_stages=}')

    def _append_extra_stages(self, number: int, keep_stride: bool) -> None:
        strides, dilations = (
            (KEPT_STRIDES, KEPT_DILATIONS) if keep_stride else (EXTRA_STRIDES, EXTRA_DILATIONS)
        )
        for stride, dilation in list(zip(strides, dilations, strict=True))[:number]:
            self.append_stage(
                planes=self.inplanes // self.block.expansion,
                num_blocks=BLOCKS_OF_EXTRA_STAGE,
                stride=stride,
                dilation=dilation,
            )
            self.added_parts.append(self.res_layers[-1])


@MODELS.register_module()
class IPGResNeXt(IPGNet, ResNeXt):
    """IPG-Net with mmdet's ResNeXt as its trunk; the guidance keeps plain bottlenecks.

    Args:
        groups: Number of groups of the trunk's 3x3 convolutions.
        base_width: Width of a group in the first stage's bottlenecks.
        **kwargs: Arguments of :class:`IPGNet`.

    Raises:
        ValueError: If an argument has a value that is not allowed.
    """

    def __init__(self, groups: int = 1, base_width: int = 4, **kwargs: Any) -> None:
        super().__init__(groups=groups, base_width=base_width, **kwargs)


@MODELS.register_module()
class IPGDetNet(ImagePyramidGuided, DetNet):
    """DetNet with image-pyramid guidance (in neither paper).

    Stages are counted as in IPG-Net, so ``fused_stages=(2, 3, 4)`` means ``layer2`` ... ``layer4``,
    DetNet's C3, C4 and C5. C5 has stride 16, so it gets the same level of the pyramid as C4.

    Args:
        **kwargs: Arguments of :class:`ImagePyramidGuided` and of :class:`DetNet`, as keywords.

    Raises:
        ValueError: If an argument has a value that is not allowed.
    """
