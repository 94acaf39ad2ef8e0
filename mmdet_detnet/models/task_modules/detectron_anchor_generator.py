"""Anchors of Detectron and maskrcnn-benchmark."""

import torch
from mmdet.models.task_modules import AnchorGenerator
from torch import Tensor

from mmdet_detnet.registry import TASK_UTILS


@TASK_UTILS.register_module()
class DetectronAnchorGenerator(AnchorGenerator):
    """Anchors whose shapes are rounded to whole pixels before they are scaled.

    At stride 4, the anchor of scale 8 and ratio 0.5 is 48 x 24, not 45.3 x 22.6. Anchors are
    centered in the square of one stride. That code gives corners as first and last pixels; here
    they are edges, as everywhere in MMDetection. The arguments are those of mmdet's
    ``AnchorGenerator``.
    """

    def gen_single_level_base_anchors(
        self,
        base_size: float,
        scales: Tensor,
        ratios: Tensor,
        center: tuple[float, float] | None = None,
    ) -> Tensor:
        """Make the anchors of one position.

        Args:
            base_size: Side of the square anchor of scale 1, in pixels.
            scales: Factors of the size, of shape (S,).
            ratios: Heights over widths, of shape (R,).
            center: Center (x, y) of the anchors, in pixels; None for that of the square of side
                ``base_size``.

        Returns:
            Corners (x1, y1, x2, y2) in pixels, of shape (R * S, 4).
        """
        widths = (base_size**2 / ratios).sqrt().round()
        heights = (widths * ratios).round()
        sizes = torch.stack([widths, heights], dim=1)[:, None] * scales[:, None]  # (R, S, 2)
        half = sizes.flatten(0, 1) / 2
        middle = half.new_tensor(center or (base_size / 2, base_size / 2))
        return torch.cat([middle - half, middle + half], dim=1)
