"""ConfidenceRetinaHead in a whole detector."""

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config, ConfigDict

from mmdet_detnet import config_path


@pytest.fixture
def detector_config():
    """A detector on a slim ResNet-18, with what the 1x config says about testing."""
    config = Config.fromfile(config_path('retinanet_conf/retinanet-conf_r50_fpn_1x_coco.py'))
    config.model.backbone.update(depth=18, base_channels=8, init_cfg=None)
    config.model.neck.update(in_channels=[8, 16, 32, 64], out_channels=8)
    config.model.bbox_head.update(in_channels=8, feat_channels=8, num_classes=3)
    config.model.test_cfg.score_thr = 0.0
    return config


def test_exponent_from_the_command_line(detector_config):
    assert MODELS.build(detector_config.model).bbox_head.conf_exponent == 0.4
    # What `--cfg-options model.bbox_head.conf_exponent=0.5` does.
    detector_config.merge_from_dict({'model.bbox_head.conf_exponent': 0.5})
    assert MODELS.build(detector_config.model).bbox_head.conf_exponent == 0.5


def test_tensor_mode_returns_three_lists(detector_config):
    detector = MODELS.build(detector_config.model)
    outputs = detector(torch.zeros(1, 3, 64, 64), mode='tensor')
    assert [len(levels) for levels in outputs] == [5, 5, 5]


def test_test_time_augmentation(detector_config):
    tta_model = ConfigDict(**detector_config.tta_model, module=detector_config.model)
    tta_detector = MODELS.build(tta_model).eval()
    meta = dict(img_shape=(64, 64), ori_shape=(64, 64), scale_factor=(1.0, 1.0), img_id=0)
    image = torch.randint(256, (3, 64, 64), dtype=torch.uint8)
    views = [(image, dict(meta, flip=False, flip_direction=None))]
    views += [(image.flip(-1), dict(meta, flip=True, flip_direction='horizontal'))]
    batch = dict(
        inputs=[[view] for view, _ in views],
        data_samples=[[DetDataSample(metainfo=info)] for _, info in views],
    )
    (merged,) = tta_detector.test_step(batch)
    plain = [
        tta_detector.module.test_step(
            dict(inputs=[view], data_samples=[DetDataSample(metainfo=info)])
        )[0]
        for view, info in views
    ]
    best = max(sample.pred_instances.scores.max() for sample in plain)
    assert merged.pred_instances.scores[0] == best
