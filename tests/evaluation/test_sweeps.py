import json

import cv2
import pytest
import torch
from helpers import TINY_DOUBLE_HEAD, save_detector
from mmdet.apis import inference_detector, init_detector
from mmdet.registry import MODELS
from mmengine.config import Config

from mmdet_detnet import config_path
from mmdet_detnet.evaluation.sweeps import format_table, sweep_conf_exponent, sweep_gate

EXPONENT = 0.4
NUM_OBJECTS = 12
PROPOSALS = 40


@pytest.fixture(scope='module')
def tiny_retinanet(tmp_path_factory, tiny_detector, shapes_root):
    """Config and checkpoint of a small RetinaNet-Conf that is perfect at EXPONENT.

    Its weights are random; the ground truth is what it detects best at that exponent.
    """
    folder = tmp_path_factory.mktemp('retinanet')
    shapes = Config.fromfile(tiny_detector[0])
    cfg = Config.fromfile(config_path('retinanet_conf/retinanet-conf_r50_fpn_1x_coco.py'))
    cfg.model.backbone.update(depth=18, base_channels=8, init_cfg=None)
    cfg.model.neck.update(in_channels=[8, 16, 32, 64], out_channels=8)
    cfg.model.bbox_head.update(
        in_channels=8, feat_channels=8, num_classes=3, conf_exponent=EXPONENT
    )
    for name in ('val_dataloader', 'val_evaluator', 'test_dataloader', 'test_evaluator'):
        cfg[name] = shapes[name]
    cfg.dump(folder / 'config.py')
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    for layer in (model.bbox_head.retina_cls, model.bbox_head.retina_conf):
        torch.nn.init.normal_(layer.weight, std=2)
    save_detector(model, cfg, folder / 'detector.pth')
    truth = best_detections(folder, shapes_root)
    (folder / 'truth.json').write_text(json.dumps(truth))
    cfg.val_dataloader.dataset.ann_file = str(folder / 'truth.json')
    cfg.dump(folder / 'config.py')
    return folder / 'config.py', folder / 'detector.pth'


def best_detections(folder, shapes_root):
    """Turn the detections with the best scores of all images into a COCO dataset."""
    truth = json.loads((shapes_root / 'annotations/val.json').read_text())
    model = init_detector(str(folder / 'config.py'), str(folder / 'detector.pth'), device='cpu')
    found = []
    for image in truth['images']:
        detected = inference_detector(model, str(shapes_root / 'val' / image['file_name']))
        instances = detected.pred_instances
        for score, label, box in zip(
            instances.scores.tolist(), instances.labels, instances.bboxes.tolist(), strict=True
        ):
            found.append((score, image['id'], truth['categories'][label]['id'], box))
    truth['annotations'] = [
        dict(
            id=index,
            image_id=image_id,
            category_id=category_id,
            bbox=[left, top, right - left, bottom - top],
            area=(right - left) * (bottom - top),
            iscrowd=0,
        )
        for index, (_, image_id, category_id, (left, top, right, bottom)) in enumerate(
            sorted(found, reverse=True)[:NUM_OBJECTS], start=1
        )
    ]
    return truth


def test_each_exponent_is_evaluated(tiny_retinanet, tmp_path):
    results = sweep_conf_exponent(
        *tiny_retinanet, tmp_path / 'new', exponents=[0, EXPONENT, 0.7], device='cpu'
    )
    box_ap = {scoring: figures['AP'] for scoring, figures in results.items()}
    assert box_ap['joint', EXPONENT] == 1
    assert 0 < box_ap['joint', 0] < 1
    assert 0 < box_ap['joint', 0.7] < 1
    # Without the confidence, both ways select by the class score.
    assert box_ap['cls', 0] == box_ap['joint', 0]
    assert box_ap['cls', EXPONENT] != box_ap['cls', 0]
    # No image is large enough for such an object.
    assert results['joint', 0]['AP_large'] is None
    rows = json.loads((tmp_path / 'new/sweep.json').read_text())
    assert [((row['select_by'], row['conf_exponent']), row['AP']) for row in rows] == list(
        box_ap.items()
    )
    assert cv2.imread(str(tmp_path / 'new/sweep.png')).shape == (600, 840, 3)
    lines = format_table(results).splitlines()
    assert lines[2].replace('|', ' ').split()[:2] == ['joint', '0']
    assert [line.split('|')[-2].strip() for line in lines[2:]] == ['-'] * len(results)


def test_no_detection_at_all_is_an_ap_of_0(tiny_retinanet, tmp_path):
    results = sweep_conf_exponent(
        *tiny_retinanet,
        tmp_path,
        exponents=[EXPONENT],
        cfg_options={'model.test_cfg.score_thr': 1.0},
        device='cpu',
    )
    assert [figures['AP'] for figures in results.values()] == [0, 0]
    assert cv2.imread(str(tmp_path / 'sweep.png')) is not None


def test_other_heads_are_refused(tiny_detector, tmp_path):
    with pytest.raises(ValueError, match=r'config\.py must have a confidence branch'):
        sweep_conf_exponent(*tiny_detector, tmp_path, device='cpu')


def test_wrong_exponent_is_named(tiny_retinanet, tmp_path):
    with pytest.raises(ValueError, match='conf_exponent must be .* got 1'):
        sweep_conf_exponent(*tiny_retinanet, tmp_path, exponents=[0.5, 1], device='cpu')


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
