"""The precision that `accelerate` chooses, on simulated devices."""

import warnings
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mmdet_detnet.deployment import acceleration
from mmdet_detnet.deployment.acceleration import choose_dtype, has_bfloat16

# Lines of /proc/cpuinfo, and whether the CPU has instructions for bfloat16; None if unknown.
CPUS = [
    ('flags\t\t: fpu avx512f avx512_bf16 clwb\n', True),
    ('flags\t\t: fpu amx_bf16 amx_tile\n', True),
    ('Features\t: fp asimd sve bf16 i8mm\n', True),
    ('flags\t\t: fpu sse2 avx2 avx512f avx512_bitalg\n', False),
    (None, None),
]


def model_on(device):
    parameter = SimpleNamespace(device=torch.device(device))
    return SimpleNamespace(parameters=lambda: [parameter])


@pytest.mark.parametrize(('text', 'is_fast'), CPUS)
def test_bfloat16_is_chosen_where_the_cpu_has_it_and_warned_of_elsewhere(
    text, is_fast, monkeypatch, tmp_path
):
    monkeypatch.setattr(acceleration, 'CPU_INFO', tmp_path / 'cpuinfo')
    if text is not None:
        (tmp_path / 'cpuinfo').write_text(text)
    assert choose_dtype('auto', nn.Linear(1, 1)) is (torch.bfloat16 if is_fast else None)
    assert choose_dtype('auto', nn.Linear(1, 1, device='meta')) is None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        assert choose_dtype('bf16', nn.Linear(1, 1)) is torch.bfloat16
    texts = [str(warning.message) for warning in caught]
    assert len(texts) == (is_fast is False)
    assert all("no instructions for bfloat16, so dtype='bf16'" in each for each in texts)


@pytest.mark.parametrize(
    ('capability', 'supported'), [((7, 5), False), ((8, 0), True), ((9, 0), True)]
)
def test_gpus_have_bfloat16_since_ampere(monkeypatch, capability, supported):
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda device: capability)
    assert has_bfloat16(torch.device('cuda', 0)) is supported
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        assert choose_dtype('bf16', model_on('cuda')) is torch.bfloat16
    assert ['this GPU has no' in str(each.message) for each in caught] == [True] * (not supported)


@pytest.mark.parametrize(('device', 'train_dtype'), [('cpu', torch.bfloat16), ('cuda', None)])
def test_automatic_precision_in_training_is_low_on_a_cpu_only(device, train_dtype, monkeypatch):
    monkeypatch.setattr(acceleration, 'has_bfloat16', lambda device: True)
    model = model_on(device)
    assert choose_dtype('auto', model, 'train_dtype') is train_dtype
    assert choose_dtype('auto', model) is torch.bfloat16
