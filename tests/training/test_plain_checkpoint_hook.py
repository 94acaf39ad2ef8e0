"""A real Runner of mmengine whose checkpoints torch loads without trusting anything."""

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import _weights_only_unpickler
from torch.utils.data import DataLoader

from mmdet_detnet.training import PlainCheckpointHook

STEPS = 3


class Line(BaseModel):
    def __init__(self):
        super().__init__()
        self.line = torch.nn.Linear(1, 1)

    def forward(self, inputs, mode='tensor'):
        return dict(loss=self.line(inputs).square().mean())


class NumpyScoreHook(Hook):
    """Put NumPy's numbers where mmengine saves them, as evaluators of users do."""

    def after_train_epoch(self, runner):
        runner.message_hub.update_info('score', np.float32(0.5))


@pytest.fixture
def train(tmp_path):
    def run(epochs, **settings):
        runner = Runner(
            Line(),
            str(tmp_path),
            train_dataloader=DataLoader([dict(inputs=torch.ones(1))] * STEPS),
            train_cfg=dict(by_epoch=True, max_epochs=epochs),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9)),
            param_scheduler=dict(type='MultiStepLR', milestones=[1], by_epoch=True),
            default_hooks=dict(plain_checkpoint=PlainCheckpointHook()),
            custom_hooks=[dict(type='EMAHook'), NumpyScoreHook()],
            experiment_name=f'{tmp_path.name}_{epochs}',
            log_level='ERROR',
            **settings,
        )
        runner.train()
        return runner

    return run


def test_training_resumes_from_a_file_without_objects(train, tmp_path, monkeypatch):
    train(epochs=2)
    monkeypatch.setattr(_weights_only_unpickler, '_marked_safe_globals_set', set(), raising=False)
    content = torch.load(tmp_path / 'epoch_2.pth', weights_only=True)
    assert content['optimizer']['state'][0]['momentum_buffer'].shape == (1, 1)
    assert 'ema_state_dict' in content
    assert content['message_hub']['runtime_info']['score'] == 0.5

    runner = train(epochs=3, resume=True)
    history = runner.message_hub.get_scalar('train/loss')
    assert type(history) is HistoryBuffer
    assert len(history.data[0]) == 3 * STEPS
    assert runner.iter == 3 * STEPS
    np.testing.assert_array_equal(
        history.data[0][: 2 * STEPS],
        content['message_hub']['log_scalars']['train/loss']['log_history'].numpy(),
    )
