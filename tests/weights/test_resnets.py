"""The converters of ResNets against the stems and prefixes of timm and mmpretrain, restated."""

import functools

import pytest
import torch
from mmdet.models import ResNet
from torch import nn

from mmdet_detnet.weights import SOURCES, convert_weights

NUM_CLASSES = 10
DEPTHS = (18, 34, 50, 101)


def blank(*shape):
    """Make a tensor of any size that takes the memory of one number."""
    return torch.zeros(()).expand(shape)


def classifier(name, depth):
    channels = 2048 if depth >= 50 else 512
    return {f'{name}.weight': blank(NUM_CLASSES, channels), f'{name}.bias': blank(NUM_CLASSES)}


@functools.cache
def build_resnet(depth):
    return ResNet(depth).state_dict()


def residual_layers(depth):
    """List what mmdet, torchvision, timm and mmpretrain name alike: layer1 to layer4."""
    return {key: value for key, value in build_resnet(depth).items() if key.startswith('layer')}


def torchvision_state(depth=50):
    return {**build_resnet(depth), **classifier('fc', depth)}


def mmpretrain_state(depth=50):
    state = {key: value for key, value in torchvision_state(depth).items() if 'fc.' not in key}
    backbone = {f'backbone.{key}': value for key, value in state.items()}
    return {**backbone, **classifier('head.fc', depth)}


def fill(module):
    """Give a module weights and statistics that no initialization gives."""
    for value in module.state_dict().values():
        if value.is_floating_point():
            value.copy_(0.5 + torch.rand_like(value))
    return module.eval()


def relu_and_conv(channels_in, channels_out):
    return [nn.ReLU(), nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)]


class TimmStem(nn.Module):
    """The stem of timm's resnet50c: three convolutions, the last norm apart."""

    def __init__(self):
        super().__init__()
        first = nn.Conv2d(3, 32, 3, stride=2, padding=1, bias=False)
        self.conv1 = nn.Sequential(
            *(first, nn.BatchNorm2d(32), *relu_and_conv(32, 32)),
            *(nn.BatchNorm2d(32), *relu_and_conv(32, 64)),
        )
        self.bn1 = nn.BatchNorm2d(64)

    def forward(self, x):
        return self.bn1(self.conv1(x)).relu()


class MMPretrainStem(nn.Module):
    """The stem of mmpretrain's ResNetV1c: three times convolution, norm and ReLU."""

    def __init__(self):
        super().__init__()
        widths = ((3, 32, 2), (32, 32, 1), (32, 64, 1))
        self.stem = nn.ModuleList(
            nn.ModuleDict({'conv': nn.Conv2d(a, b, 3, s, 1, bias=False), 'bn': nn.BatchNorm2d(b)})
            for a, b, s in widths
        )

    def forward(self, x):
        for module in self.stem:
            x = module['bn'](module['conv'](x)).relu()
        return x


def timm_deep_state(stem):
    return {**stem.state_dict(), **residual_layers(50), **classifier('fc', 50)}


def mmpretrain_deep_state(stem):
    backbone = {**stem.state_dict(), **residual_layers(50)}
    return {f'backbone.{key}': value for key, value in backbone.items()}


@pytest.mark.parametrize('depth', DEPTHS)
def test_converted_weights_are_mmdets_resnet(depth):
    conversion = convert_weights(mmpretrain_state(depth))
    ResNet(depth).load_state_dict(conversion.weights, strict=True)
    assert len(conversion.report.dropped) == 2  # the classifier


@pytest.mark.parametrize(
    ('stem_class', 'make_state'),
    [(TimmStem, timm_deep_state), (MMPretrainStem, mmpretrain_deep_state)],
)
def test_converted_deep_stem_gives_the_same_features(stem_class, make_state):
    stem = fill(stem_class())
    net = ResNet(50, deep_stem=True)
    net.load_state_dict(convert_weights(make_state(stem)).weights, strict=True)
    net.eval()
    image = torch.rand(1, 3, 17, 23)
    with torch.no_grad():
        torch.testing.assert_close(net.stem(image), stem(image))


def test_every_layout_is_recognized():
    for content, kind in (
        (timm_deep_state(TimmStem()), 'timm'),
        (mmpretrain_state(), 'mmpretrain'),
        ({'state_dict': mmpretrain_state(), 'meta': {}}, 'mmpretrain'),
        ({'state_dict': mmpretrain_deep_state(MMPretrainStem())}, 'mmpretrain'),
    ):
        conversion = convert_weights(content)
        assert conversion.report.source == SOURCES[kind].title
        assert all(isinstance(value, torch.Tensor) for value in conversion.weights.values())


def test_file_that_needs_no_conversion_is_refused():
    with pytest.raises(ValueError, match="names of torchvision's ResNet .* need no conversion"):
        convert_weights(torchvision_state())


def move_the_shortcuts_behind_a_pool(state):
    for stage in (1, 2, 3, 4):
        shortcut = f'layer{stage}.0.downsample'
        for key in [key for key in state if key.startswith(shortcut)]:
            index = int(key[len(shortcut) + 1])
            state[key.replace(f'{shortcut}.{index}', f'{shortcut}.{index + 1}')] = state.pop(key)


def add_attention(state):
    state['layer1.0.se.fc1.weight'] = blank(16, 256, 1, 1)


def widen(state):
    state['layer1.0.conv2.weight'] = blank(128, 128, 3, 3)


def remove_a_block(state):
    for key in [key for key in state if key.startswith('layer3.5.')]:
        del state[key]


def lose_a_statistic(state):
    del state['layer2.1.bn2.running_var']


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (move_the_shortcuts_behind_a_pool, r'ResNet-D.*layer2.0.downsample.2.weight'),
        (add_attention, 'unknown: layer1.0.se.fc1.weight'),
        (widen, r'layer1.0.conv2.weight \(128, 128, 3, 3\) instead of \(64, 64, 3, 3\)'),
        (remove_a_block, r'stages of \(3, 4, 5, 3\) blocks with 3 convolutions'),
        (lose_a_statistic, 'missing: layer2.1.bn2.running_var'),
    ],
)
def test_other_networks_are_refused(change, message):
    state = timm_deep_state(TimmStem())
    change(state)
    with pytest.raises(ValueError, match=message):
        convert_weights(state)
