"""Detectors small enough to build one for each row of a table."""

import torch
from mmdet.registry import MODELS
from torch import nn

CHANNELS = 32
# Height and width of the batch, and the strides of the maps made from it.
IMAGE_SIZE = (192, 256)
STRIDES = [4, 8, 16, 32, 64]


class Backbone(nn.Module):
    """Average pooling to each stride, repeated to some channels; a DetNet has equal strides."""

    def __init__(self, strides=STRIDES, channels=CHANNELS):
        super().__init__()
        self.strides, self.channels = strides, channels
        self.norm = nn.BatchNorm2d(3)

    def forward(self, image):
        return tuple(
            nn.functional.avg_pool2d(image, stride, ceil_mode=True).repeat(
                1, -(-self.channels // 3), 1, 1
            )[:, : self.channels]
            for stride in self.strides
        )


class Detector(nn.Module):
    """A backbone and heads, by the names that mmdet gives them."""

    def __init__(self, backbone, neck=None, **heads):
        super().__init__()
        self.backbone = backbone
        if neck is not None:
            self.neck = MODELS.build(neck)
        for name, head in heads.items():
            self.add_module(name, MODELS.build(head) if isinstance(head, dict) else head)

    def extract_feat(self, image):
        maps = self.backbone(image)
        return self.neck(maps) if hasattr(self, 'neck') else maps


def make_maps(strides=STRIDES, channels=CHANNELS, size=IMAGE_SIZE):
    return Backbone(strides, channels)(torch.zeros(1, 3, *size))


def rpn_head(strides=STRIDES, base_sizes=None, in_channels=CHANNELS, **options):
    generator = dict(
        type='AnchorGenerator', scales=[8], ratios=[1.0], strides=strides, base_sizes=base_sizes
    )
    return dict(
        type='RPNHead',
        in_channels=in_channels,
        feat_channels=CHANNELS,
        anchor_generator=generator,
        **options,
    )


def roi_head(
    strides=STRIDES[:4], out_channels=CHANNELS, in_channels=CHANNELS, size=7, output_size=7, **head
):
    return dict(
        type='StandardRoIHead',
        bbox_roi_extractor=dict(
            type='SingleRoIExtractor',
            roi_layer=dict(type='RoIAlign', output_size=output_size, sampling_ratio=0),
            out_channels=out_channels,
            featmap_strides=strides,
        ),
        bbox_head=dict(
            type='Shared2FCBBoxHead',
            in_channels=in_channels,
            fc_out_channels=CHANNELS,
            roi_feat_size=size,
            num_classes=2,
            **head,
        ),
    )
