"""RoIAlign on the CPU, as weighted sums of pixels."""

import torch
from torch import Tensor

from mmdet_detnet.operators.roi_align import RoIAlignAverage
from mmdet_detnet.operators.roi_samples import RoIGrid

from .forwards import ContiguousForward


class RoIAlignForward(ContiguousForward):
    """A faster forward of mmcv's RoIAlign on the CPU.

    mmcv's compiled kernel reads one channel after the other on one thread;
    :mod:`mmdet_detnet.operators.roi_align` sums rows of channels. Sums and gradients are the same,
    in another order.
    """

    def __call__(self, feature_map: Tensor, rois: Tensor) -> Tensor:
        """Pool RoIs.

        Args:
            feature_map: ``(N, C, H, W)``.
            rois: Index of the image and corners in pixels of the image, ``(num_rois, 5)``.

        Returns:
            ``(num_rois, C, h, w)``, computed in float32 or float64 and rounded to the map's type.
        """
        layer = self.module
        if feature_map.device.type != 'cpu' or layer.pool_mode != 'avg':
            return super().__call__(feature_map, rois)
        grid = RoIGrid(layer.output_size, layer.spatial_scale, layer.sampling_ratio, layer.aligned)
        dtype = torch.promote_types(feature_map.dtype, torch.float32)
        return RoIAlignAverage.apply(feature_map.to(dtype), rois, grid).to(feature_map.dtype)
