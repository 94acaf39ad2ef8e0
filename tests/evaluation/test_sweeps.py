import sys

import pytest
import torch
from analysis_tools import sweep_conf_exponent as script
from helpers import save_detector
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.runner import Runner

from mmdet_detnet import config_path
from mmdet_detnet.evaluation import sweeps
from mmdet_detnet.evaluation.loading import load_detector, read_ground_truth, run_detector
from mmdet_detnet.evaluation.metrics import number_objects
from mmdet_detnet.evaluation.sweeps import sweep_conf_exponent

EXPONENT = 0.4
NUM_OBJECTS = 12


@pytest.fixture(scope='module')
def tiny_retinanet(tmp_path_factory, tiny_detector):
    """Config and checkpoint of a small RetinaNet-Conf with random weights."""
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
    return folder / 'config.py', folder / 'detector.pth'


@pytest.fixture
def perfect_at_exponent(tiny_retinanet, monkeypatch):
    """The same, with what it detects best at EXPONENT as ground truth."""
    model = load_detector(*tiny_retinanet, device='cpu')
    loader = Runner.build_dataloader(model.cfg.val_dataloader)
    best = sorted(run_detector(model, loader), key=lambda each: -each['score'])[:NUM_OBJECTS]
    truth = read_ground_truth(loader.dataset)._replace(annotations=number_objects(best))
    monkeypatch.setattr(sweeps, 'read_ground_truth', lambda dataset: truth)
    return tiny_retinanet


def test_each_exponent_is_evaluated(perfect_at_exponent):
    rows = sweep_conf_exponent(*perfect_at_exponent, exponents=[0, EXPONENT, 0.7], device='cpu')
    box_ap = {(row['select_by'], row['exponent']): row['AP'] for row in rows}
    assert box_ap['joint', EXPONENT] == 1
    assert 0 < box_ap['joint', 0] < 1
    assert 0 < box_ap['joint', 0.7] < 1
    # Without the confidence, both ways select by the class score.
    assert box_ap['cls', 0] == box_ap['joint', 0]
    assert box_ap['cls', EXPONENT] != box_ap['cls', 0]
    # No image is large enough for such an object.
    assert rows[0]['AP_large'] is None


def test_script_prints_a_table(tiny_retinanet, monkeypatch, capsys):
    arguments = [*map(str, tiny_retinanet), '--device', 'cpu', '--exponents', '0.4']
    # Without a detection, AP is 0.
    arguments += ['--cfg-options', 'model.test_cfg.score_thr=1.0']
    monkeypatch.setattr(sys, 'argv', ['sweep_conf_exponent.py', *arguments])
    script.main()
    *_, joint, by_class = capsys.readouterr().out.splitlines()
    cells = [cell.strip() for cell in joint.strip('|').split('|')]
    assert [*cells[:3], cells[-1]] == ['joint', '0.4', '0.000', '-']
    assert 'cls' in by_class


def test_other_heads_are_refused(tiny_detector):
    with pytest.raises(ValueError, match=r'config\.py must have a confidence branch'):
        sweep_conf_exponent(*tiny_detector, device='cpu')


def test_wrong_exponent_is_named(tiny_retinanet):
    with pytest.raises(ValueError, match='conf_exponent must be .* got 1'):
        sweep_conf_exponent(*tiny_retinanet, exponents=[0.5, 1], device='cpu')
