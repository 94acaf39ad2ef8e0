"""The precision that `accelerate` chooses, on simulated devices."""

import warnings

import pytest
import torch
from torch import nn

from mmdet_detnet.deployment import acceleration
from mmdet_detnet.deployment.acceleration import choose_dtype, has_bfloat16

WITHOUT = 'flags\t\t: fpu sse2 avx2 avx512f avx512_bitalg\n'
CPUS_WITH = [
    'flags\t\t: fpu avx512f avx512_bf16 clwb\n',
    'flags\t\t: fpu amx_bf16 amx_tile\n',
    'Features\t: fp asimd sve bf16 i8mm\n',
]


@pytest.fixture
def pretend(monkeypatch, tmp_path):
    """Let the CPU have the flags of a text; without one, those of an unknown CPU."""

    def set_flags(text=None):
        path = tmp_path / 'cpuinfo'
        if text is not None:
            path.write_text(text)
        monkeypatch.setattr(acceleration, 'CPU_INFO', path)

    return set_flags


@pytest.mark.parametrize('text', CPUS_WITH)
def test_auto_is_bfloat16_on_a_cpu_with_its_instructions(pretend, text):
    pretend(text)
    assert choose_dtype('auto', nn.Linear(1, 1)) is torch.bfloat16


@pytest.mark.parametrize('text', [WITHOUT, None])
def test_auto_is_float32_on_other_cpus(pretend, text):
    pretend(text)
    assert choose_dtype('auto', nn.Linear(1, 1)) is None


@pytest.mark.parametrize(
    ('capability', 'supported'), [((7, 5), False), ((8, 0), True), ((9, 0), True)]
)
def test_gpus_have_bfloat16_since_ampere(monkeypatch, capability, supported):
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda device: capability)
    assert has_bfloat16(torch.device('cuda', 0)) is supported


def test_auto_is_float32_on_any_other_device(pretend):
    pretend(CPUS_WITH[0])
    assert choose_dtype('auto', nn.Linear(1, 1, device='meta')) is None


@pytest.mark.parametrize('dtype', ['bf16', torch.bfloat16])
def test_bfloat16_that_the_cpu_emulates_is_taken_with_a_warning(pretend, dtype):
    pretend(WITHOUT)
    with pytest.warns(UserWarning, match="no instructions for bfloat16.*dtype='auto'"):
        assert choose_dtype(dtype, nn.Linear(1, 1)) is torch.bfloat16


@pytest.mark.parametrize('text', [*CPUS_WITH, None])
def test_no_warning_without_reason(pretend, text):
    pretend(text)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert choose_dtype('bf16', nn.Linear(1, 1)) is torch.bfloat16
