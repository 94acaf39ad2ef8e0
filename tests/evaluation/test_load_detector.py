"""The tools load a detector only with all of its weights."""

from contextlib import nullcontext

import pytest
import torch

from mmdet_detnet.evaluation.loading import load_detector
from mmdet_detnet.evaluation.misalignment import match_data_set
from mmdet_detnet.evaluation.sweeps import sweep_conf_exponent, sweep_gate

MISSING = 'roi_head.bbox_head.fc_cls.bias'
# What uses a detector, and how the sweeps refuse this one once it is loaded.
USES = {
    'misalignment': (match_data_set, ''),
    'sweep_conf_exponent': (
        lambda *files, **options: sweep_conf_exponent(*files, 'sweep', **options),
        'must have a confidence branch',
    ),
    'sweep_gate': (sweep_gate, 'must have a DoubleHeadRoIHead'),
}


@pytest.fixture(scope='module')
def incomplete(tiny_detector, tmp_path_factory):
    """Config of a detector, and a checkpoint that lacks one of its weights."""
    config, checkpoint = tiny_detector
    content = torch.load(checkpoint, weights_only=True)
    del content['state_dict'][MISSING]
    file = tmp_path_factory.mktemp('incomplete') / 'other.pth'
    torch.save(content, file)
    return config, file


@pytest.mark.parametrize('use', USES)
def test_checkpoint_of_another_detector_is_refused(use, incomplete, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run, refusal = USES[use]
    with pytest.raises(ValueError, match=rf'other\.pth lacks weights of the config: {MISSING}'):
        run(*incomplete, device='cpu')
    with pytest.raises(ValueError, match=refusal) if refusal else nullcontext():
        run(*incomplete, device='cpu', allow_mismatch=True)


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
