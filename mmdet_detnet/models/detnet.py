"""DetNet, a backbone that keeps stride 16 in its deep stages.

Paper: DetNet: A Backbone network for Object Detection, https://arxiv.org/abs/1804.06215. The
authors released no code. Block layout and widths follow the paper's Fig. 2. Details that it leaves
open (batch norm, order of operations) follow ResNet's bottleneck, as in every public port.
"""

from collections.abc import Sequence
from typing import Any

from mmcv.cnn import build_conv_layer, build_norm_layer
from mmdet.models.backbones.resnet import Bottleneck, ResNet
from mmdet.utils import OptConfigType, OptMultiConfig
from torch import nn

from mmdet_detnet.arguments import check_choice, reject
from mmdet_detnet.registry import MODELS

from .resnet import ResNetExtension, check_stage_options, check_stages

NUM_STAGES = 5
# DetNet shares layer1 ... layer3 with ResNet; layer4 and layer5 are the paper's stages 5 and 6.
NUM_SHARED_STAGES = 3
NEW_STAGE_DILATION = 2
# Stage settings that configs of a ResNet may pass on; DetNet has its own.
RESNET_STAGES = {'num_stages': 4, 'strides': (1, 2, 2, 2), 'dilations': (1, 1, 1, 1)}
# Layers that start with a projection shortcut (block B); others start with an identity one (A).
PROJECTED_LAYERS = {'both': ('layer4', 'layer5'), 'stage5': ('layer4',), 'none': ()}


@MODELS.register_module()
class DetNet(ResNetExtension, ResNet):
    """DetNet-59 and DetNet-110.

    Stages 1 to 4 of the paper are those of ResNet-50 (or ResNet-101). Stages 5 and 6 replace
    ResNet's stride-32 stage: three bottlenecks each, of stage 4's width, with dilation 2
    instead of a stride, so that C4, C5 and C6 have the same height and width for any input. The
    first block of each has a 1x1 convolution on its shortcut ("B" in Fig. 2), the other two an
    identity shortcut ("A").

    As in mmdet, ``out_indices``, ``frozen_stages`` and the names ``layer1`` ... ``layer5`` count
    residual stages only: they mean the paper's stages 2 ... 6.

    Args:
        depth: 59 (stages of ResNet-50) or 110 (of ResNet-101). The paper has no results for 110.
        base_channels: Width of the first stage's bottlenecks. The paper's is 64, which gives
            outputs of 256, 512, 1024, 1024 and 1024 channels; other widths scale all of them.
        out_indices: Indices of the returned stages, in increasing order, from 0 (C2) to 4 (C6). 4
            is required: all stages run, and a stage after the last output would never learn.
        style: 'pytorch' puts the stride of a bottleneck in its 3x3 convolution, 'caffe' in its
            first 1x1 convolution. The paper's 4.8 GFLOPs fit 'caffe'; the public weights
            (guoruoqian/DetNet_pytorch) need 'pytorch'.
        frozen_stages: Number of residual stages that are frozen, together with the stem. 0 freezes
            only the stem, as in the paper; -1 freezes nothing.
        dcn: Config of the deformable convolution that replaces 3x3 ones, or None.
        stage_with_dcn: For each of the five stages, whether ``dcn`` applies to it.
        plugins: Plugin layers of the blocks, as in mmdet's ResNet; the ``stages`` of a plugin are
            five flags.
        projection: Which new stages start with a projection shortcut: 'both' (DetNet-59), 'stage5'
            (the paper's DetNet-59-NoProj, where stage 6 continues stage 5) or 'none'.
        init_cfg: Initialization; Kaiming if None. ``dict(type='Pretrained', checkpoint=...)`` also
            loads a checkpoint: all of a DetNet, or stages 1 to 4 from a ResNet-50/101 of
            torchvision, mmdet or mmpretrain. See :func:`.load_pretrained_backbone`.
        **kwargs: The other arguments of mmdet's ResNet (``in_channels``, ``stem_channels``,
            ``deep_stem``, ``avg_down``, ``conv_cfg``, ``norm_cfg``, ``norm_eval``, ``with_cp``,
            ``zero_init_residual``). ``norm_eval``, True by default as in ResNet, needs a checkpoint
            that covers stages 5 and 6, or their statistics stay at their initial values. A ResNet's
            ``num_stages``, ``strides`` and ``dilations``, which a base config may pass on, are
            ignored if they have its default values.

    Raises:
        ValueError: If an argument has a value that is not allowed.

    Examples:
        >>> net = DetNet(depth=59)
        >>> [tuple(c.shape) for c in net(torch.rand(1, 3, 224, 224))]
        [(1, 256, 56, 56), (1, 512, 28, 28), (1, 1024, 14, 14), (1, 1024, 14, 14),
         (1, 1024, 14, 14)]
    """

    arch_settings = {59: (Bottleneck, (3, 4, 6, 3, 3)), 110: (Bottleneck, (3, 4, 23, 3, 3))}
    replaced_layers = ('layer4', 'layer5')

    def __init__(
        self,
        depth: int,
        base_channels: int = 64,
        out_indices: Sequence[int] = (0, 1, 2, 3, 4),
        style: str = 'pytorch',
        frozen_stages: int = -1,
        dcn: OptConfigType = None,
        stage_with_dcn: Sequence[bool] = (False,) * NUM_STAGES,
        plugins: list[dict] | None = None,
        projection: str = 'both',
        init_cfg: OptMultiConfig = None,
        **kwargs: Any,
    ) -> None:
        for name, default in RESNET_STAGES.items():
            value = kwargs.pop(name, default)
            if (tuple(value) if isinstance(value, list) else value) != default:
                hint = '_delete_=True drops what a base config passes on'
                reject(self, name, value, f'left out, or {default} and ignored ({hint})')
        check_choice(self, 'depth', depth, self.arch_settings)
        check_choice(self, 'projection', projection, PROJECTED_LAYERS)
        check_stages(self, NUM_STAGES, out_indices, frozen_stages)
        check_stage_options(self, NUM_STAGES, stage_with_dcn, dcn, plugins)
        super().__init__(
            depth=depth,
            base_channels=base_channels,
            num_stages=NUM_SHARED_STAGES,
            strides=(1, 2, 2),
            dilations=(1, 1, 1),
            out_indices=(0,),
            style=style,
            dcn=dcn,
            stage_with_dcn=tuple(stage_with_dcn)[:NUM_SHARED_STAGES],
            plugins=plugins,
            init_cfg=init_cfg,
            **kwargs,
        )
        # The parent supports at most four stages: it built three, the others are set here.
        self.num_stages = NUM_STAGES
        self.stage_blocks = self.arch_settings[depth][1]
        self.out_indices = tuple(out_indices)
        self.stage_with_dcn = tuple(stage_with_dcn)
        self.frozen_stages = frozen_stages
        self.projection = projection
        for stage_index in range(NUM_SHARED_STAGES, NUM_STAGES):
            self._add_dilated_stage(stage_index)
        self._freeze_stages()

    def make_stage_plugins(self, plugins: list[dict], stage_idx: int) -> list[dict]:
        """List the plugins of a stage; mmdet's allows no more flags than it builds stages."""
        return [
            {key: value for key, value in plugin.items() if key != 'stages'}
            for plugin in plugins
            if plugin.get('stages') is None or plugin['stages'][stage_idx]
        ]

    def _add_dilated_stage(self, stage_index: int) -> None:
        """Append stage 5 or 6: stride 1, dilation 2, as wide as the stage before it."""
        stage = self.append_stage(
            planes=self.inplanes // self.block.expansion,
            num_blocks=self.stage_blocks[stage_index],
            dilation=NEW_STAGE_DILATION,
            dcn=self.dcn if self.stage_with_dcn[stage_index] else None,
            plugins=self.make_stage_plugins(self.plugins, stage_index) if self.plugins else None,
        )
        if self.res_layers[-1] in PROJECTED_LAYERS[self.projection]:
            # A block "B": mmdet's ResLayer projects only where stride or width changes.
            stage[0].downsample = nn.Sequential(
                build_conv_layer(
                    self.conv_cfg, self.inplanes, self.inplanes, kernel_size=1, bias=False
                ),
                build_norm_layer(self.norm_cfg, self.inplanes)[1],
            )
