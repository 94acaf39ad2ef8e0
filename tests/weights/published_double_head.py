"""The Double-Head authors' network, restated: its modules have their names."""

from collections import OrderedDict

import torch
from changed_states import change, draw_weights
from mmdet.models import ResNet
from torch import nn
from torch.nn import functional as F  # noqa: N812

NUM_CLASSES, GROUPS, POSITIONS = 3, 4, 49
PLACE = 'module.roi_heads.box.'
EXTRACTOR, PREDICTOR = f'{PLACE}feature_extractor', f'{PLACE}predictor'


def convolution(channels_in, channels_out, size=1, bias=False):
    return nn.Conv2d(channels_in, channels_out, size, padding=size // 2, bias=bias)


def normalized(*sizes, channels):
    """Convolutions with batch norm, and ReLUs between them."""
    layers = []
    for size, channels_in, channels_out in zip(sizes, channels, channels[1:], strict=False):
        convolved = convolution(channels_in, channels_out, size)
        layers += [convolved, nn.BatchNorm2d(channels_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Lifting(nn.Module):
    def __init__(self):
        super().__init__()
        self.top = normalized(1, channels=(256, 1024))
        self.bottom = normalized(3, 1, channels=(256, 256, 1024))

    def forward(self, x):
        return F.relu(self.bottom(x) + self.top(x))


class StackedBlock(nn.Module):
    """A non-local block, and a bottleneck."""

    def __init__(self):
        super().__init__()
        self.g, self.theta, self.phi = (convolution(1024, 512, bias=True) for _ in range(3))
        layers = {'0': convolution(512, 1024, bias=True), 'bn': nn.BatchNorm2d(1024)}
        self.W = nn.Sequential(OrderedDict(layers))
        bottleneck = normalized(1, 3, 1, channels=(1024, 256, 256, 1024))
        self.ffconv = nn.ModuleDict({'bottleneck': bottleneck})

    def forward(self, x):
        g, theta, phi = (
            embedding(x).flatten(2).chunk(GROUPS, dim=1)
            for embedding in (self.g, self.theta, self.phi)
        )
        y = [
            torch.einsum('ncq,npq->ncp', g_, torch.einsum('ncp,ncq->npq', t, p) / POSITIONS)
            for g_, t, p in zip(g, theta, phi, strict=True)
        ]
        y = torch.cat(y, dim=1).reshape(len(x), -1, *x.shape[2:])
        x = F.relu(x + self.W(y))
        return F.relu(x + self.ffconv.bottleneck(x))


class PublishedHead(nn.Module):
    """The box head with two non-local blocks; background is the first class of all four layers."""

    def __init__(self):
        super().__init__()
        layers = {
            'nonlocal_conv': Lifting(),
            'shared_nonlocal': nn.Sequential(StackedBlock(), StackedBlock()),
            'fc6': nn.Linear(256 * POSITIONS, 1024),
            'fc7': nn.Linear(1024, 1024),
        }
        self.feature_extractor = nn.ModuleDict(layers)
        outputs = dict(cls_score=1, bbox_pred=4, cls_score_fc=1, bbox_pred_fc=4)
        self.predictor = nn.ModuleDict(
            {name: nn.Linear(1024, size * (NUM_CLASSES + 1)) for name, size in outputs.items()}
        )

    def forward(self, x_fc, x_conv):
        """Return classes of the fc-head, boxes of the conv-head, then the other way round."""
        layers, predictor = self.feature_extractor, self.predictor
        fc = F.relu(layers.fc7(F.relu(layers.fc6(x_fc.flatten(1)))))
        conv = layers.shared_nonlocal(layers.nonlocal_conv(x_conv)).mean((2, 3))
        scores = predictor.cls_score_fc(fc), predictor.bbox_pred(conv)
        return [*scores, predictor.cls_score(conv), predictor.bbox_pred_fc(fc)]


def make_published(head):
    """Make the state dict of a detector with this head; its ResNet-50 has fixed norms."""
    resnet = change(ResNet(50).state_dict(), 'num_batches_tracked')
    pyramid = nn.ModuleDict()
    for level, channels in enumerate((256, 512, 1024, 2048), start=1):
        pyramid[f'fpn_inner{level}'] = convolution(channels, 256, bias=True)
        pyramid[f'fpn_layer{level}'] = convolution(256, 256, 3, bias=True)
    rpn = nn.ModuleDict(
        {
            'conv': convolution(256, 256, 3, bias=True),
            'cls_logits': convolution(256, 3, bias=True),
            'bbox_pred': convolution(256, 12, bias=True),
        }
    )
    anchors = (f'module.rpn.anchor_generator.cell_anchors.{level}' for level in range(5))
    return {
        **{
            f'module.backbone.body.{"stem." * key.startswith(("conv1.", "bn1."))}{key}': value
            for key, value in resnet.items()
        },
        **pyramid.state_dict(prefix='module.backbone.fpn.'),
        **dict.fromkeys(anchors, torch.zeros(3, 4)),
        **rpn.state_dict(prefix='module.rpn.head.'),
        **{f'{PLACE}{key}': value for key, value in draw_weights(head).items()},
    }
