"""What tests of several folders share."""

import contextlib
import multiprocessing
import os
from multiprocessing import forkserver
from pathlib import Path

import pytest
import torch
from mmdet.models.backbones import DetectoRS_ResNet, Res2Net, ResNeSt, ResNet, ResNeXt
from mmdet.registry import DATASETS
from mmengine.runner import save_checkpoint
from mmengine.structures import InstanceData
from torch import nn

from mmdet_detnet.benchmark import Entry, Row, Settings
from mmdet_detnet.models import DetNet

# The smallest box head of Double-Head that can be built.
TINY_DOUBLE_HEAD = dict(
    type='mmdet_detnet.DoubleConvFCBBoxHead',
    num_convs=1,
    num_fcs=1,
    in_channels=8,
    conv_out_channels=8,
    fc_out_channels=8,
    num_classes=3,
)
NARROWER = 8
WIDTHS = (
    'base_channels groups in_channels out_channels feat_channels conv_out_channels fc_out_channels'
).split()
IMPORTED_ONCE = [
    'mmdet_detnet',  # the first, since it provides mmcv's operators where mmcv has none
    *[f'mmdet.{part}' for part in 'datasets engine evaluation models visualization'.split()],
    'mmdet_detnet.models',
    'mmdet_detnet.training',
    'torch._dynamo',  # torch imports it for the first optimizer, which takes a second
    'setuptools',  # mmengine, to describe the environment
    'helpers',
    'quick_configs',
    'frozen_imports',  # the last
]


def fork_server():
    """Context of processes forked from one that has imported mmdet once and computed nothing.

    They start in no time. The tests' own process cannot be forked after it has computed gradients.
    They see no GPU, which a forked process cannot use.
    """
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(IMPORTED_ONCE)
    with pytest.MonkeyPatch.context() as patch:
        # Python, to 3.13.0 at least, does not tell the server where the tests' modules are.
        patch.setenv('PYTHONPATH', str(Path(__file__).parent), prepend=os.pathsep)
        patch.setenv('CUDA_VISIBLE_DEVICES', '')
        forkserver.ensure_running()
    return context


def make_narrow(settings):
    """Divide every width in the config of a model: what fits what stays, and tests are quick."""
    for key, value in settings.items():
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(inner, dict):
                make_narrow(inner)
        if key in WIDTHS:
            several = isinstance(value, list)
            settings[key] = [v // NARROWER for v in value] if several else value // NARROWER


@contextlib.contextmanager
def few_blocks(number=1):
    """Shorten DetNets and mmdet's ResNets to so many blocks a stage."""
    with pytest.MonkeyPatch.context() as patch:
        for net in (DetectoRS_ResNet, DetNet, Res2Net, ResNeSt, ResNet, ResNeXt):
            settings = net.arch_settings.items()
            short = {depth: (block, (number,) * len(blocks)) for depth, (block, blocks) in settings}
            patch.setattr(net, 'arch_settings', short)
        yield


def randomize(model):
    """Draw weights and statistics with which features are of order 1, and scores differ."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
        elif isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_normal_(module.weight)


def needs_torch(version, reason):
    """Skip a test, or by `pytestmark` a file's tests, on an older torch."""
    older = torch.__version__ < version
    return pytest.mark.skipif(older, reason=f'before torch {version}, {reason}')


def save_detector(model, cfg, file):
    """Save a detector's weights as mmengine's Runner does, with the classes of its dataset."""
    metainfo = DATASETS.build(cfg.val_dataloader.dataset).metainfo
    content = {'state_dict': model.state_dict(), 'meta': {'dataset_meta': metainfo}}
    save_checkpoint(content, str(file))


def make_detections(*rows):
    """Make detections of rows (x1, y1, x2, y2, score, label)."""
    values = torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)
    return InstanceData(bboxes=values[:, :4], scores=values[:, 4], labels=values[:, 5].long())


def count_parameters(module):
    """Count the parameters of a network."""
    return sum(parameter.numel() for parameter in module.parameters())


def count_macs(net, height, width):
    """Count the multiply-adds of a network's convolutions for one image; it is on meta."""
    macs = 0

    def add(conv, inputs, output):
        nonlocal macs
        macs += output.numel() * conv.weight[0].numel()

    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(add)
    net(torch.empty(1, 3, height, width, device='meta'))
    return macs


def make_row(config, seconds=(), settings=Settings(), kind='detector', **values):  # noqa: B008
    """Make a row of a comparison by hand."""
    return Row(Entry(config, kind, settings), predict_seconds=list(seconds), **values)
