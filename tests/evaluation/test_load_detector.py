"""The tools load a detector only with all of its weights."""

import pytest
import torch

from mmdet_detnet.evaluation.loading import load_detector

MISSING = 'roi_head.bbox_head.fc_cls.bias'


def test_checkpoint_of_another_detector_is_refused(tiny_detector, tmp_path):
    config, checkpoint = tiny_detector
    content = torch.load(checkpoint, weights_only=True)
    del content['state_dict'][MISSING]
    torch.save(content, tmp_path / 'other.pth')
    files = config, tmp_path / 'other.pth'
    with pytest.raises(ValueError, match=rf'other\.pth lacks weights of the config: {MISSING}'):
        load_detector(*files, device='cpu')
    load_detector(*files, device='cpu', allow_mismatch=True)


@pytest.mark.parametrize('missing', [0, 1])
def test_missing_file_is_named(missing, tiny_detector):
    files = [*tiny_detector]
    files[missing] = 'absent'
    with pytest.raises(FileNotFoundError, match=r'No such file: absent\.'):
        load_detector(*files)


def test_options_override_the_config(tiny_detector):
    options = {'model.test_cfg.rcnn.max_per_img': 3}
    detector = load_detector(*tiny_detector, cfg_options=options, device='cpu')
    assert detector.roi_head.test_cfg.max_per_img == 3


def test_option_without_effect_is_refused(tiny_detector):
    with pytest.raises(ValueError, match='mdoel'):
        load_detector(*tiny_detector, cfg_options={'mdoel.x': 1})
