"""The converter against the published file's layout and a plain restatement of its network."""

import pytest
import torch
from changed_states import change, draw_weights
from torch import nn
from torch.nn import functional as F  # noqa: N812

from mmdet_detnet.models import DetNet
from mmdet_detnet.weights import convert_file, convert_weights

# layer: (number of blocks, channels in, width, channels out, stride, dilation, its shortcut)
LAYERS = {
    'layer1': (3, 64, 64, 256, 1, 1, 'downsample'),
    'layer2': (4, 256, 128, 512, 2, 1, 'downsample'),
    'layer3': (6, 512, 256, 1024, 2, 1, 'downsample'),
    'layer4': (3, 1024, 256, 1024, 1, 2, 'extra_conv'),
    'layer5': (3, 1024, 256, 1024, 1, 2, 'extra_conv'),
}


class Block(nn.Module):
    def __init__(self, channels_in, width, channels_out, stride, dilation, shortcut=None):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, channels_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels_out)
        if shortcut:
            projection = nn.Conv2d(channels_in, channels_out, 1, stride, bias=False)
            self.add_module(shortcut, nn.Sequential(projection, nn.BatchNorm2d(channels_out)))

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        for shortcut in ('downsample', 'extra_conv'):
            x = getattr(self, shortcut, nn.Identity())(x)
        return F.relu(out + x)


class PublishedNetwork(nn.Module):
    """The network whose state dict is detnet59.pth."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        for layer, (blocks, channels_in, width, channels, stride, dilation, name) in LAYERS.items():
            first = Block(channels_in, width, channels, stride, dilation, name)
            others = [Block(channels, width, channels, 1, dilation) for _ in range(blocks - 1)]
            self.add_module(layer, nn.Sequential(first, *others))
        self.fc = nn.Linear(1024, 1000)

    def forward(self, x):
        outputs = [F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, stride=2, padding=1)]
        for layer in LAYERS:
            outputs.append(getattr(self, layer)(outputs[-1]))
        return outputs[1:]


@pytest.fixture(scope='module')
def network():
    return PublishedNetwork().eval()


@pytest.fixture(scope='module')
def published_state(network):
    """Draw the weights, of a time when no batches were counted."""
    return draw_weights(network, counts_batches=False)


def test_converted_weights_give_the_same_features(tmp_path, network, published_state):
    torch.save(published_state, tmp_path / 'detnet59.pth')  # bare, as it was published
    target = tmp_path / 'converted.pth'
    convert_file(tmp_path / 'detnet59.pth', target)
    net = DetNet(depth=59, init_cfg=dict(type='Pretrained', checkpoint=str(target)))
    net.init_weights()
    image = torch.rand(1, 3, 65, 97)
    with torch.no_grad():
        actual = net.eval()(image)
        expected = network(image)
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
