import json

import cv2
import pytest
import torch
from helpers import save_detector
from mmdet.apis import inference_detector, init_detector
from mmdet.registry import MODELS
from mmengine.config import Config

from mmdet_detnet import config_path
from mmdet_detnet.evaluation.exponent_sweep import Scoring, format_table, sweep_conf_exponent

EXPONENT = 0.4
NUM_OBJECTS = 12


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
    cfg.val_evaluator.ann_file = str(folder / 'truth.json')
    cfg.dump(folder / 'config.py')
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    for layer in (model.bbox_head.retina_cls, model.bbox_head.retina_conf):
        torch.nn.init.normal_(layer.weight, std=2)
    save_detector(model, cfg, folder / 'detector.pth')
    truth = best_detections(folder, shapes_root)
    (folder / 'truth.json').write_text(json.dumps(truth))
    return folder / 'config.py', folder / 'detector.pth'


def best_detections(folder, shapes_root):
    """Turn the detections with the best scores of all images into a COCO data set."""
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
    box_ap = {scoring: metrics['coco/bbox_mAP'] for scoring, metrics in results.items()}
    assert box_ap['joint', EXPONENT] == 1
    assert 0 < box_ap['joint', 0] < 1
    assert 0 < box_ap['joint', 0.7] < 1
    # Without the confidence, both ways select by the class score.
    assert box_ap['cls', 0] == box_ap['joint', 0]
    assert box_ap['cls', EXPONENT] != box_ap['cls', 0]
    # No image is large enough for such an object.
    assert 'coco/bbox_mAP_l' not in results['joint', 0]
    rows = json.loads((tmp_path / 'new/sweep.json').read_text())
    assert [
        ((row['select_by'], row['conf_exponent']), row['coco/bbox_mAP']) for row in rows
    ] == list(box_ap.items())
    assert cv2.imread(str(tmp_path / 'new/sweep.png')).shape == (600, 840, 3)


def test_no_detection_at_all_is_shown_as_such(tiny_retinanet, tmp_path):
    results = sweep_conf_exponent(
        *tiny_retinanet,
        tmp_path,
        exponents=[EXPONENT],
        cfg_options={'model.test_cfg.score_thr': 1.0},
        device='cpu',
    )
    assert results == {('joint', EXPONENT): {}, ('cls', EXPONENT): {}}
    assert cv2.imread(str(tmp_path / 'sweep.png')) is not None


def test_table_has_a_line_for_each_exponent():
    results = {
        Scoring('joint', 0.0): {'coco/bbox_mAP': 0.25, 'coco/bbox_mAP_50': 0.5},
        Scoring('cls', 0.5): {},
    }
    lines = format_table(results).splitlines()
    assert [line.replace('|', ' ').split() for line in (lines[0], *lines[2:])] == [
        ['select_by', 'exponent', 'bbox_mAP', 'bbox_mAP_50'],
        ['joint', '0', '0.250', '0.500'],
        ['cls', '0.5', '-', '-'],
    ]


def test_other_heads_are_refused(tiny_detector, tmp_path):
    with pytest.raises(ValueError, match=r'config\.py must have a confidence branch'):
        sweep_conf_exponent(*tiny_detector, tmp_path, device='cpu')


def test_wrong_exponent_is_named(tiny_retinanet, tmp_path):
    with pytest.raises(ValueError, match='conf_exponent must be .* got 1'):
        sweep_conf_exponent(*tiny_retinanet, tmp_path, exponents=[0.5, 1], device='cpu')
