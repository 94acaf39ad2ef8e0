"""One ONNX file of each kind for all tests: writing one takes seconds."""

import pytest
import torch
from exportable_detectors import build, make_config

from mmdet_detnet.deployment.export import OnnxDetector, export_onnx
from mmdet_detnet.deployment.export.exporting import OLDEST_TORCH


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
    export_onnx(detector, file)
    return detector, OnnxDetector(file, num_threads=1)


@pytest.fixture(scope='session')
def dense(can_export, tmp_path_factory):
    """A RetinaNet-Conf that selects by class on IPG-Net, and its ONNX file of normalized images."""
    file = tmp_path_factory.mktemp('dense') / 'detector.onnx'
    detector = build(make_config('RetinaNet-Conf on IPG-Net'))
    export_onnx(detector, file, takes_pixels=False)
    return detector, OnnxDetector(file, num_threads=1)
