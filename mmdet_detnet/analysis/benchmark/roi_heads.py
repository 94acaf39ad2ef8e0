"""A RoI head alone, given feature maps and proposals."""

import torch
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmdet.testing import demo_mm_inputs
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from torch import nn

from .detectors import load_config
from .proposals import NUM_PROPOSALS, make_proposals
from .subjects import Subject


class RoIHeadSubject(Subject):
    """The RoI head of a detector: from feature maps and 1000 proposals to boxes."""

    actions = ('predict', 'parts')

    def build(self) -> nn.Module:
        """Make the RoI head, random feature maps and random proposals.

        Returns:
            The RoI head.
        """
        config = load_config(self.entry.config)
        init_default_scope(config.get('default_scope', 'mmdet'))
        torch.manual_seed(self.workload.seed)
        roi_head = make_roi_head(config.model).to(self.device).eval()
        self.features = self._make_features(roi_head)
        self.boxes = make_proposals(NUM_PROPOSALS, self.workload, self.device)
        self.samples = self._make_samples()
        return roi_head

    @property
    def roi_head(self) -> nn.Module:
        """The network itself."""
        return self.network

    @torch.no_grad()
    def predict(self) -> None:
        """Pool, classify, regress, decode, and suppress overlaps."""
        self.network.predict(self.features, self.boxes, self.samples, rescale=True)

    def _make_features(self, roi_head: nn.Module) -> tuple[torch.Tensor, ...]:
        extractor = roi_head.bbox_roi_extractor
        size = self.workload
        return tuple(
            torch.randn(
                size.batch,
                extractor.out_channels,
                -(-size.height // stride),
                -(-size.width // stride),
                device=self.device,
            )
            for stride in extractor.featmap_strides
        )

    def _make_samples(self) -> SampleList:
        shape = (3, self.workload.height, self.workload.width)
        images = demo_mm_inputs(self.workload.batch, shape, device=str(self.device))
        return images['data_samples']


def make_roi_head(model: ConfigDict) -> nn.Module:
    """Build the RoI head of a two-stage detector's config.

    Args:
        model: The detector's config.

    Returns:
        The head with random weights.

    Raises:
        ValueError: If the detector has none.
    """
    if 'roi_head' not in model:
        raise ValueError(f'the detector {model.type} has no RoI head')
    return MODELS.build(
        {**model.roi_head, 'train_cfg': model.train_cfg.rcnn, 'test_cfg': model.test_cfg.rcnn}
    )
