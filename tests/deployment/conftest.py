"""Small detectors to accelerate, and one ONNX file of each kind: writing one takes seconds."""

import pytest
import torch
from exportable_detectors import BEST_SCORE_THR, build, make_config
from helpers import few_blocks
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config

from mmdet_detnet import config_path
from mmdet_detnet.deployment import OnnxDetector, export_onnx
from mmdet_detnet.deployment.onnx_export import OLDEST_TORCH


@pytest.fixture(scope='session')
def build_tiny():
    """Build the detector of a config with random weights, with one block a stage."""

    def build(config, **backbone):
        model = Config.fromfile(config_path(config)).model
        if model.backbone.type == 'mmdet_detnet.DetNet':
            model.backbone.update(base_channels=4, norm_cfg=dict(type='BN'), init_cfg=None)
            model.neck.in_channels = [16, 32, 64, 64, 64]
        model.backbone.update(backbone)
        if 'rpn' in model.test_cfg:
            model.test_cfg.rpn.max_per_img = 20
        with few_blocks():
            detector = MODELS.build(model)
        randomize(detector)
        return detector.eval()

    return build


def randomize(detector):
    """Fill weights and statistics so that features are of order 1 and scores differ."""
    torch.manual_seed(0)
    for module in detector.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
        elif isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
            torch.nn.init.xavier_normal_(module.weight)


@pytest.fixture(scope='session')
def make_batch():
    """Make preprocessed images with boxes, of a given size."""

    def make(detector, height=64, width=96, images=1):
        torch.manual_seed(0)
        packed = demo_mm_inputs(
            images, (3, height, width), num_classes=3, with_mask=detector.with_mask
        )
        return detector.data_preprocessor(packed, training=True)

    return make


@pytest.fixture(scope='session')
def detect():
    """Run inference; the detections of the images."""

    @torch.no_grad()
    def run(detector, batch):
        return [s.pred_instances for s in detector(**batch, mode='predict')]

    return run


@pytest.fixture(scope='session')
def can_export():
    """Skip where export_onnx refuses torch, which test_onnx_detector.py checks."""
    if torch.__version__ < OLDEST_TORCH:
        pytest.skip(f'export_onnx needs torch {OLDEST_TORCH}')


@pytest.fixture(scope='session')
def two_stage(can_export, tmp_path_factory):
    """A Double-Head-Ext, and its ONNX file, which takes pixels."""
    file = tmp_path_factory.mktemp('two_stage') / 'detector.onnx'
    detector = build(make_config('Double-Head-Ext'))
    export_onnx(detector, file, best_score_thr=BEST_SCORE_THR)
    return detector, OnnxDetector(file, num_threads=1)


@pytest.fixture(scope='session')
def dense(can_export, tmp_path_factory):
    """A RetinaNet-Conf that selects by class on IPG-Net, and its ONNX file of normalized images."""
    file = tmp_path_factory.mktemp('dense') / 'detector.onnx'
    detector = build(make_config('RetinaNet-Conf on IPG-Net'))
    export_onnx(detector, file, takes_pixels=False)
    return detector, OnnxDetector(file, num_threads=1)
