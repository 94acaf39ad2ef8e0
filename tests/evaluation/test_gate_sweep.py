import pytest
import torch
from helpers import TINY_DOUBLE_HEAD, save_detector
from mmdet.registry import MODELS
from mmengine.config import Config

from mmdet_detnet.evaluation.gate_sweep import sweep_gate

PROPOSALS = 40


@pytest.fixture(scope='module')
def tiny_ext(tmp_path_factory, tiny_detector):
    """Config and checkpoint of a small Ext with random weights."""
    folder = tmp_path_factory.mktemp('ext')
    cfg = Config.fromfile(tiny_detector[0])
    cfg.model.test_cfg.rpn.update(
        nms_pre=PROPOSALS, max_per_img=PROPOSALS, nms=dict(iou_threshold=1)
    )
    head = dict(
        TINY_DOUBLE_HEAD,
        in_channels=cfg.model.neck.out_channels,
        lambda_fc=0.7,
        lambda_conv=0.8,
        fusion='complementary',
    )
    cfg.model.roi_head.update(type='mmdet_detnet.DoubleHeadRoIHead', reg_roi_scale_factor=1.3)
    cfg.model.roi_head.bbox_head = head
    cfg.dump(folder / 'config.py')
    torch.manual_seed(0)
    save_detector(MODELS.build(cfg.model), cfg, folder / 'detector.pth')
    return folder / 'config.py', folder / 'detector.pth'


def test_table_has_the_rois_convolved_at_each_threshold(tiny_ext):
    lines = sweep_gate(*tiny_ext, thresholds=[0.0, 1.0], device='cpu').splitlines()
    cells = [[cell.strip() for cell in line.strip('|').split('|')] for line in lines]
    assert cells[0] == ['scores', 'RoIs convolved', 'box AP', 'time']
    # Every score is above 0 and none above 1; the fc-head's scores alone leave all to score_thr.
    assert [row[:2] for row in cells[2:5]] == [
        ['complementary', str(PROPOSALS)],
        ['gate 0', str(PROPOSALS)],
        ['gate 1', '0'],
    ]
    assert cells[5][0] == 'none'
    assert cells[2][3] == '1.00'


def test_detector_without_fused_scores_is_refused(tiny_detector):
    with pytest.raises(ValueError, match='must have a DoubleHeadRoIHead that fuses scores'):
        sweep_gate(*tiny_detector, device='cpu')


def test_wrong_threshold_is_named(tiny_ext):
    with pytest.raises(ValueError, match=r'thresholds must be in 0 to 1, got \[2\]'):
        sweep_gate(*tiny_ext, thresholds=[2], device='cpu')
