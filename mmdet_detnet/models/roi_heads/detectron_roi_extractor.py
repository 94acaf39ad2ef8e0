"""RoI extractor of Detectron and maskrcnn-benchmark."""

import torch
from mmcv.ops import RoIAlign
from mmdet.utils import ConfigType
from torch import Tensor, nn

from mmdet_detnet.registry import MODELS

from .precise_roi_extractor import PreciseRoIExtractor


class LastPixelRoIAlign(RoIAlign):
    """mmcv's ``RoIAlign`` up to the last pixel of a RoI, one before its edge."""

    def forward(self, input: Tensor, rois: Tensor) -> Tensor:
        """Pool RoIs.

        Args:
            input: Feature map, of shape (N, C, H, W).
            rois: Index of the image and corners in pixels, of shape (num_rois, 5).

        Returns:
            RoI features, of shape (num_rois, C, h, w).
        """
        return super().forward(input, torch.cat([rois[:, :3], rois[:, 3:] - 1], dim=1))


@MODELS.register_module()
class DetectronRoIExtractor(PreciseRoIExtractor):
    """An extractor that pools RoIs up to their last pixel, as code with widths of x2 - x1 + 1 does.

    There, RoIAlign takes the pixels' indices as coordinates. FPN levels and enlarged RoIs are
    MMDetection's. Arguments as in mmdet's ``SingleRoIExtractor``; ``roi_layer`` must be a
    ``RoIAlign``, with ``aligned=False`` to follow that code.
    """

    def build_roi_layers(self, layer_cfg: ConfigType, featmap_strides: list[int]) -> nn.ModuleList:
        """Build one RoI layer per level.

        Args:
            layer_cfg: Config of the RoI layer.
            featmap_strides: Strides of the levels, in pixels.

        Returns:
            The layers.

        Raises:
            ValueError: If ``layer_cfg`` is of another type than ``RoIAlign``.
        """
        if layer_cfg['type'] != 'RoIAlign':
            raise ValueError(f"roi_layer.type must be 'RoIAlign', got {layer_cfg['type']!r}.")
        return super().build_roi_layers({**layer_cfg, 'type': LastPixelRoIAlign}, featmap_strides)
