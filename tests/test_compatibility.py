"""The entries in the host libraries: other projects' configs, and checkpoints."""

import torch
from mmengine.config import Config
from mmengine.logging import MessageHub

import mmdet_detnet


def test_message_hub_loads_with_weights_only(tmp_path):
    hub = MessageHub('test')
    for step in range(5):
        hub.update_scalar('train/loss', 1.0 / (step + 1))
    torch.save({'message_hub': hub.state_dict()}, tmp_path / 'epoch_1.pth')
    content = torch.load(tmp_path / 'epoch_1.pth', weights_only=True)
    history = content['message_hub']['log_scalars']['train/loss']
    assert list(history.data[0]) == [1.0, 0.5, 1 / 3, 0.25, 0.2]


def test_modules_need_no_custom_imports(tmp_path):
    config = tmp_path / 'other_project.py'
    config.write_text("model = dict(type='mmdet_detnet.DetNet', depth=59, base_channels=8)\n")
    from mmengine.registry import MODELS

    net = MODELS.build(Config.fromfile(config).model)
    assert type(net).__name__ == 'DetNet'


def test_version_is_public():
    assert mmdet_detnet.__version__.count('.') == 2
