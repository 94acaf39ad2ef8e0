"""The converter against the published file's layout and a plain restatement of its network."""

import pytest
import torch
from changed_states import change
from torch.nn import functional as F  # noqa: N812

from mmdet_detnet.models import DetNet
from mmdet_detnet.weights import convert_file, convert_weights

# layer: (number of blocks, channels in, width, channels out)
LAYERS = {
    'layer1': (3, 64, 64, 256),
    'layer2': (4, 256, 128, 512),
    'layer3': (6, 512, 256, 1024),
    'layer4': (3, 1024, 256, 1024),
    'layer5': (3, 1024, 256, 1024),
}


def published_shapes():
    """List every key of detnet59.pth with its shape."""
    shapes = {'conv1.weight': (64, 3, 7, 7), **batch_norm_shapes('bn1', 64)}
    for layer, (blocks, channels_in, width, channels_out) in LAYERS.items():
        for index in range(blocks):
            block = f'{layer}.{index}'
            first_in = channels_in if index == 0 else channels_out
            shapes[f'{block}.conv1.weight'] = (width, first_in, 1, 1)
            shapes[f'{block}.conv2.weight'] = (width, width, 3, 3)
            shapes[f'{block}.conv3.weight'] = (channels_out, width, 1, 1)
            for number, channels in enumerate((width, width, channels_out), 1):
                shapes.update(batch_norm_shapes(f'{block}.bn{number}', channels))
        shortcut = 'downsample' if layer in ('layer1', 'layer2', 'layer3') else 'extra_conv'
        shapes[f'{layer}.0.{shortcut}.0.weight'] = (channels_out, channels_in, 1, 1)
        shapes.update(batch_norm_shapes(f'{layer}.0.{shortcut}.1', channels_out))
    return {**shapes, 'fc.weight': (1000, 1024), 'fc.bias': (1000,)}


def batch_norm_shapes(name, channels):
    tensors = ('weight', 'bias', 'running_mean', 'running_var')
    return {f'{name}.{tensor}': (channels,) for tensor in tensors}


@pytest.fixture(scope='module')
def published_state():
    """Fill the layout with numbers that keep 63 layers in range."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for key, shape in published_shapes().items():
        noise = torch.randn(shape, generator=generator)
        if len(shape) == 4:
            state[key] = noise * (2 / (shape[1] * shape[2] * shape[3])) ** 0.5
        elif key.endswith(('running_var', 'weight')):
            state[key] = 1 + 0.1 * noise.abs()
        else:
            state[key] = 0.1 * noise
    return state


class PublishedNetwork:
    """The network of the published file, as functions on its state dict."""

    def __init__(self, state):
        self.state = state

    def norm(self, x, name):
        tensors = ('running_mean', 'running_var', 'weight', 'bias')
        return F.batch_norm(x, *(self.state[f'{name}.{tensor}'] for tensor in tensors))

    def conv(self, x, name, **geometry):
        return F.conv2d(x, self.state[f'{name}.weight'], **geometry)

    def block(self, x, name, stride, dilation):
        out = F.relu(self.norm(self.conv(x, f'{name}.conv1'), f'{name}.bn1'))
        out = self.conv(out, f'{name}.conv2', stride=stride, padding=dilation, dilation=dilation)
        out = F.relu(self.norm(out, f'{name}.bn2'))
        out = self.norm(self.conv(out, f'{name}.conv3'), f'{name}.bn3')
        for shortcut in ('downsample', 'extra_conv'):
            if f'{name}.{shortcut}.0.weight' in self.state:
                x = self.conv(x, f'{name}.{shortcut}.0', stride=stride)
                x = self.norm(x, f'{name}.{shortcut}.1')
        return F.relu(out + x)

    def features(self, x):
        x = self.conv(x, 'conv1', stride=2, padding=3)
        x = F.max_pool2d(F.relu(self.norm(x, 'bn1')), 3, stride=2, padding=1)
        outputs = []
        for layer, (blocks, *_) in LAYERS.items():
            for index in range(blocks):
                stride = 2 if index == 0 and layer in ('layer2', 'layer3') else 1
                dilation = 2 if layer in ('layer4', 'layer5') else 1
                x = self.block(x, f'{layer}.{index}', stride, dilation)
            outputs.append(x)
        return outputs


def test_converted_weights_give_the_same_features(tmp_path, published_state):
    torch.save(published_state, tmp_path / 'detnet59.pth')  # bare, as it was published
    target = tmp_path / 'converted.pth'
    convert_file(tmp_path / 'detnet59.pth', target)
    net = DetNet(depth=59, init_cfg=dict(type='Pretrained', checkpoint=str(target)))
    net.init_weights()
    image = torch.rand(1, 3, 65, 97)
    with torch.no_grad():
        actual = net.eval()(image)
        expected = PublishedNetwork(published_state).features(image)
    for ours, theirs in zip(actual, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_report_counts_every_tensor(published_state):
    report = str(convert_weights(published_state).report)
    # 315 = 317 - fc; the blocks of layer4 hold 3 * 15 tensors and the shortcut 5.
    assert 'layer4 (50), layer5 (50)' in report
    assert 'in the file but not used: fc (2)' in report
    assert 'MISSING' not in report


def test_existing_target_is_not_overwritten(tmp_path):
    (tmp_path / 'detnet59.pth').touch()
    with pytest.raises(FileExistsError, match='not overwritten'):
        convert_file(tmp_path / 'detnet59.pth', tmp_path / 'detnet59.pth')


@pytest.mark.parametrize(
    ('key', 'shape', 'message'),
    [
        ('layer5.2.bn3.weight', None, 'missing: layer5.2.bn3.weight'),
        ('layer6.0.conv1.weight', (1,), 'unknown: layer6.0.conv1.weight'),
        ('layer4.0.conv1.weight', (9, 8), r'layer4.0.conv1.weight \(9, 8\) instead of'),
    ],
)
def test_any_other_layout_is_refused(tmp_path, published_state, key, shape, message):
    torch.save(change(published_state, key, shape), tmp_path / 'other.pth')
    with pytest.raises(ValueError, match=message):
        convert_file(tmp_path / 'other.pth', tmp_path / 'converted.pth')
    assert not (tmp_path / 'converted.pth').exists()


def detector_names(state):
    """Name the tensors as the repository's detectors do, with a neck and a head next to them."""
    stem = {'conv1': 'RCNN_layer0.0', 'bn1': 'RCNN_layer0.1'}
    names = {}
    for key, value in state.items():
        layer, rest = key.split('.', 1)
        if layer != 'fc':
            names[f'{stem.get(layer, f"RCNN_{layer}.0")}.{rest}'] = value
    return {**names, 'RCNN_toplayer.weight': torch.zeros(1), 'RCNN_cls_score.bias': torch.zeros(2)}


def test_backbone_of_a_detector_is_converted(published_state):
    content = {'session': 1, 'epoch': 12, 'model': detector_names(published_state)}
    conversion = convert_weights(content)
    expected = convert_weights(published_state).weights
    assert conversion.weights.keys() == expected.keys()
    assert all(conversion.weights[key].equal(expected[key]) for key in expected)
    assert 'RCNN_toplayer (1), RCNN_cls_score (1)' in str(conversion.report)
