"""mmdet's DetInferencer with the name of one of our models."""

import pytest
import torch
from mmdet.apis import DetInferencer

NAME = 'retinanet-conf_r50_fpn_1x_coco'


def test_missing_weights_are_explained():
    with pytest.raises(FileNotFoundError, match='not published yet .give weights=FILE'):
        DetInferencer(NAME, scope='mmdet_detnet', device='cpu')


def test_own_weights_work(tmp_path):
    torch.save({'state_dict': {}, 'meta': {}}, tmp_path / 'own.pth')
    weights = str(tmp_path / 'own.pth')
    inferencer = DetInferencer(NAME, weights, scope='mmdet_detnet', device='cpu')
    assert type(inferencer.model.bbox_head).__name__ == 'ConfidenceRetinaHead'
