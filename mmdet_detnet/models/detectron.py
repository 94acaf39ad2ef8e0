"""Anchors and RoI pooling of Detectron and maskrcnn-benchmark.

That code takes corners as first and last pixels, so that widths are x2 - x1 + 1.
"""

import torch
from mmcv.ops import RoIAlign
from mmdet.models.task_modules import AnchorGenerator
from mmdet.utils import ConfigType
from torch import Tensor, nn

from mmdet_detnet.registry import MODELS, TASK_UTILS

from .double_head.roi_pooling import PreciseRoIExtractor


@TASK_UTILS.register_module()
class DetectronAnchorGenerator(AnchorGenerator):
    """Anchors whose shapes are rounded to whole pixels before they are scaled.

    At stride 4, the anchor of scale 8 and ratio 0.5 is 48 x 24, not 45.3 x 22.6. Anchors are
    centered in the square of one stride. Their corners are edges, as everywhere in MMDetection. The
    arguments are those of mmdet's ``AnchorGenerator``.
    """

    def gen_single_level_base_anchors(
        self,
        base_size: float,
        scales: Tensor,
        ratios: Tensor,
        center: tuple[float, float] | None = None,
    ) -> Tensor:
        """Make the anchors of one position: corners in pixels, (ratios * scales, 4).

        ``center`` is (x, y) in pixels; None for that of the square of side ``base_size``.
        """
        widths = (base_size**2 / ratios).sqrt().round()
        heights = (widths * ratios).round()
        sizes = torch.stack([widths, heights], dim=1)[:, None] * scales[:, None]  # (R, S, 2)
        half = sizes.flatten(0, 1) / 2
        middle = half.new_tensor(center or (base_size / 2, base_size / 2))
        return torch.cat([middle - half, middle + half], dim=1)


@MODELS.register_module()
class DetectronRoIExtractor(PreciseRoIExtractor):
    """An extractor that pools RoIs up to their last pixel.

    Detectron's RoIAlign takes the pixels' indices as coordinates. FPN levels and enlarged RoIs are
    MMDetection's. Arguments as in mmdet's ``SingleRoIExtractor``; ``roi_layer`` must be a
    ``RoIAlign``, with ``aligned=False`` to follow that code.

    Raises:
        ValueError: If ``roi_layer`` is of another type.
    """

    def build_roi_layers(self, layer_cfg: ConfigType, featmap_strides: list[int]) -> nn.ModuleList:
        """Build one RoI layer per level."""
        if layer_cfg['type'] not in ('RoIAlign', RoIAlign):
            raise ValueError(f"roi_layer.type must be 'RoIAlign', got {layer_cfg['type']!r}.")
        return super().build_roi_layers({**layer_cfg, 'type': LastPixelRoIAlign}, featmap_strides)


class LastPixelRoIAlign(RoIAlign):
    """mmcv's ``RoIAlign`` up to the last pixel of a RoI, one before its edge."""

    def forward(self, input: Tensor, rois: Tensor) -> Tensor:
        """Pool RoIs of shape (num_rois, 5) from a map of shape (N, C, H, W)."""
        return super().forward(input, torch.cat([rois[:, :3], rois[:, 3:] - 1], dim=1))
