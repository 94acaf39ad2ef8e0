"""The converters of ResNets against the stems and prefixes of timm and mmpretrain, restated."""

import functools

import pytest
import torch
from changed_states import change
from mmdet.models import ResNet

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


# The layers of the deep stem: mmdet's is one Sequential, timm has the last norm apart, and
# mmpretrain has three modules of convolution and norm.
STEMS = {
    'stem.0': ('conv1.0', 'stem.0.conv'),
    'stem.1': ('conv1.1', 'stem.0.bn'),
    'stem.3': ('conv1.3', 'stem.1.conv'),
    'stem.4': ('conv1.4', 'stem.1.bn'),
    'stem.6': ('conv1.6', 'stem.2.conv'),
    'stem.7': ('bn1', 'stem.2.bn'),
}


@functools.cache
def deep_stem(kind):
    """Make the stem of mmdet's deep ResNet under the names of timm (0) or mmpretrain (1)."""
    state = {}
    for key, value in ResNet(50, deep_stem=True).stem.state_dict().items():
        index, tensor = key.split('.')
        state[f'{STEMS[f"stem.{index}"][kind]}.{tensor}'] = value
    return state


def timm_deep_state():
    return {**deep_stem(0), **residual_layers(50), **classifier('fc', 50)}


def mmpretrain_deep_state():
    backbone = {**deep_stem(1), **residual_layers(50)}
    return {f'backbone.{key}': value for key, value in backbone.items()}


@pytest.mark.parametrize('depth', DEPTHS)
def test_converted_weights_are_mmdets_resnet(depth):
    conversion = convert_weights(mmpretrain_state(depth))
    ResNet(depth).load_state_dict(conversion.weights, strict=True)
    assert len(conversion.report.dropped) == 2  # the classifier


@pytest.mark.parametrize(('kind', 'state'), enumerate([timm_deep_state, mmpretrain_deep_state]))
def test_deep_stem_has_mmdets_names(kind, state):
    weights = convert_weights(state()).weights
    ResNet(50, deep_stem=True).load_state_dict(weights, strict=True)
    for own, names in STEMS.items():
        assert weights[f'{own}.weight'] is deep_stem(kind)[f'{names[kind]}.weight']


def test_every_layout_is_recognized():
    for content, kind in (
        (timm_deep_state(), 'timm'),
        (mmpretrain_state(), 'mmpretrain'),
        ({'state_dict': mmpretrain_state(), 'meta': {}}, 'mmpretrain'),
        ({'state_dict': mmpretrain_deep_state()}, 'mmpretrain'),
    ):
        conversion = convert_weights(content)
        assert conversion.report.source == SOURCES[kind].title
        assert all(isinstance(value, torch.Tensor) for value in conversion.weights.values())


def test_file_that_needs_no_conversion_is_refused():
    with pytest.raises(ValueError, match="names of torchvision's ResNet .* need no conversion"):
        convert_weights(torchvision_state())


def test_shortcuts_behind_a_pool_are_refused():
    state = timm_deep_state()
    for key in [key for key in state if '.0.downsample.' in key][::-1]:
        layer, index, tensor = key.rsplit('.', 2)
        state[f'{layer}.{int(index) + 1}.{tensor}'] = state.pop(key)
    with pytest.raises(ValueError, match=r'ResNet-D.*layer2.0.downsample.2.weight'):
        convert_weights(state)


@pytest.mark.parametrize(
    ('name', 'shape', 'message'),
    [
        ('layer1.0.se.fc1.weight', (16, 256, 1, 1), 'unknown: layer1.0.se.fc1.weight'),
        ('layer1.0.conv2.weight', (8, 8, 3, 3), r'\(8, 8, 3, 3\) instead of \(64, 64, 3, 3\)'),
        ('layer3.5.', None, r'stages of \(3, 4, 5, 3\) blocks with 3 convolutions'),
        ('layer2.1.bn2.running_var', None, 'missing: layer2.1.bn2.running_var'),
    ],
)
def test_other_networks_are_refused(name, shape, message):
    with pytest.raises(ValueError, match=message):
        convert_weights(change(timm_deep_state(), name, shape))
