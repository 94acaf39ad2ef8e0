"""Random weights under the Double-Head authors' names, and a restatement of their head."""

import torch
from mmdet.models import ResNet
from torch.nn import functional as F  # noqa: N812

NUM_CLASSES, GROUPS, POSITIONS = 3, 4, 49
PLACE = 'module.roi_heads.box.'
EXTRACTOR, PREDICTOR = f'{PLACE}feature_extractor', f'{PLACE}predictor'


def convolution(name, channels_out, channels_in, size=1, bias=False):
    weight = torch.randn(channels_out, channels_in, size, size)
    state = {f'{name}.weight': weight / (channels_in * size * size) ** 0.5}
    return {**state, f'{name}.bias': 0.1 * torch.randn(channels_out)} if bias else state


def batch_norm(name, channels):
    return {
        f'{name}.weight': 1 + 0.1 * torch.rand(channels),
        f'{name}.bias': 0.1 * torch.randn(channels),
        f'{name}.running_mean': 0.1 * torch.randn(channels),
        f'{name}.running_var': 1 + 0.1 * torch.rand(channels),
        f'{name}.num_batches_tracked': torch.tensor(7),
    }


def linear(name, channels_out, channels_in):
    weight = torch.randn(channels_out, channels_in) / channels_in**0.5
    return {f'{name}.weight': weight, f'{name}.bias': torch.randn(channels_out)}


def stacked_block(name):
    bottleneck = f'{name}.ffconv.bottleneck'
    return {
        **convolution(f'{name}.g', 512, 1024, bias=True),
        **convolution(f'{name}.theta', 512, 1024, bias=True),
        **convolution(f'{name}.phi', 512, 1024, bias=True),
        **convolution(f'{name}.W.0', 1024, 512, bias=True),
        **batch_norm(f'{name}.W.bn', 1024),
        **convolution(f'{bottleneck}.0', 256, 1024),
        **batch_norm(f'{bottleneck}.1', 256),
        **convolution(f'{bottleneck}.3', 256, 256, 3),
        **batch_norm(f'{bottleneck}.4', 256),
        **convolution(f'{bottleneck}.6', 1024, 256),
        **batch_norm(f'{bottleneck}.7', 1024),
    }


def resnet(name):
    """Give a ResNet-50: but for the stem, mmdet's names are the authors', whose norms are fixed."""
    return {
        f'{name}.{"stem." * key.startswith(("conv1.", "bn1."))}{key}': value
        for key, value in ResNet(50).state_dict().items()
        if not key.endswith('num_batches_tracked')
    }


def feature_pyramid(name):
    state = {}
    for level, channels in enumerate((256, 512, 1024, 2048), start=1):
        state |= convolution(f'{name}.fpn_inner{level}', 256, channels, bias=True)
        state |= convolution(f'{name}.fpn_layer{level}', 256, 256, 3, bias=True)
    return state


def proposal_network(name):
    anchors = (f'{name}.anchor_generator.cell_anchors.{level}' for level in range(5))
    return {
        **dict.fromkeys(anchors, torch.zeros(3, 4)),
        **convolution(f'{name}.head.conv', 256, 256, 3, bias=True),
        **convolution(f'{name}.head.cls_logits', 3, 256, bias=True),
        **convolution(f'{name}.head.bbox_pred', 12, 256, bias=True),
    }


def make_published():
    """Make a model of two non-local blocks: background is its first class, in all four layers."""
    torch.manual_seed(0)
    lifting = f'{EXTRACTOR}.nonlocal_conv'
    return {
        **resnet('module.backbone.body'),
        **feature_pyramid('module.backbone.fpn'),
        **proposal_network('module.rpn'),
        **convolution(f'{lifting}.top.0', 1024, 256),
        **batch_norm(f'{lifting}.top.1', 1024),
        **convolution(f'{lifting}.bottom.0', 256, 256, 3),
        **batch_norm(f'{lifting}.bottom.1', 256),
        **convolution(f'{lifting}.bottom.3', 1024, 256),
        **batch_norm(f'{lifting}.bottom.4', 1024),
        **stacked_block(f'{EXTRACTOR}.shared_nonlocal.0'),
        **stacked_block(f'{EXTRACTOR}.shared_nonlocal.1'),
        **linear(f'{EXTRACTOR}.fc6', 1024, 256 * POSITIONS),
        **linear(f'{EXTRACTOR}.fc7', 1024, 1024),
        **linear(f'{PREDICTOR}.cls_score', NUM_CLASSES + 1, 1024),
        **linear(f'{PREDICTOR}.bbox_pred', 4 * (NUM_CLASSES + 1), 1024),
        **linear(f'{PREDICTOR}.cls_score_fc', NUM_CLASSES + 1, 1024),
        **linear(f'{PREDICTOR}.bbox_pred_fc', 4 * (NUM_CLASSES + 1), 1024),
    }


class PublishedHead:
    """The authors' head in evaluation, as functions on its state dict."""

    def __init__(self, state):
        self.state = state

    def conv(self, x, name, stride=1):
        weight = self.state[f'{name}.weight']
        bias = self.state.get(f'{name}.bias')
        return F.conv2d(x, weight, bias, stride, padding=weight.shape[-1] // 2)

    def norm(self, x, name):
        tensors = ('running_mean', 'running_var', 'weight', 'bias')
        return F.batch_norm(x, *(self.state[f'{name}.{tensor}'] for tensor in tensors))

    def linear(self, x, name):
        return F.linear(x, self.state[f'{name}.weight'], self.state[f'{name}.bias'])

    def lift(self, x):
        name = f'{EXTRACTOR}.nonlocal_conv'
        out = F.relu(self.norm(self.conv(x, f'{name}.bottom.0'), f'{name}.bottom.1'))
        out = self.norm(self.conv(out, f'{name}.bottom.3'), f'{name}.bottom.4')
        return F.relu(out + self.norm(self.conv(x, f'{name}.top.0'), f'{name}.top.1'))

    def attend(self, x, name):
        g, theta, phi = (
            self.conv(x, f'{name}.{embedding}').flatten(2).chunk(GROUPS, dim=1)
            for embedding in ('g', 'theta', 'phi')
        )
        y = [
            torch.einsum('ncq,npq->ncp', g_, torch.einsum('ncp,ncq->npq', t, p) / POSITIONS)
            for g_, t, p in zip(g, theta, phi, strict=True)
        ]
        y = torch.cat(y, dim=1).reshape(len(x), -1, *x.shape[2:])
        return F.relu(x + self.norm(self.conv(y, f'{name}.W.0'), f'{name}.W.bn'))

    def bottleneck(self, x, name):
        out = F.relu(self.norm(self.conv(x, f'{name}.0'), f'{name}.1'))
        out = F.relu(self.norm(self.conv(out, f'{name}.3'), f'{name}.4'))
        return F.relu(x + self.norm(self.conv(out, f'{name}.6'), f'{name}.7'))

    def predict(self, x_fc, x_conv):
        """Return classes of the fc-head, boxes of the conv-head, then the other way round."""
        fc = F.relu(self.linear(x_fc.flatten(1), f'{EXTRACTOR}.fc6'))
        fc = F.relu(self.linear(fc, f'{EXTRACTOR}.fc7'))
        conv = self.lift(x_conv)
        for index in (0, 1):
            block = f'{EXTRACTOR}.shared_nonlocal.{index}'
            conv = self.bottleneck(self.attend(conv, block), f'{block}.ffconv.bottleneck')
        conv = conv.mean((2, 3))
        layers = ((fc, 'cls_score_fc'), (conv, 'bbox_pred'), (conv, 'cls_score'))
        return [
            self.linear(x, f'{PREDICTOR}.{name}') for x, name in (*layers, (fc, 'bbox_pred_fc'))
        ]
