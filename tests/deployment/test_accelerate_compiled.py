"""`accelerate` with compilation: the same detections and weights, and as few graphs as possible."""

import copy
import shutil
import warnings

import pytest
import torch
from accelerated_detectors import assert_same_detections
from exportable_detectors import build, make_config
from helpers import needs_torch
from torch import nn

from mmdet_detnet.deployment import accelerate, replaced_forward
from mmdet_detnet.deployment.replaced_forward import OLDEST_TORCH

pytestmark = needs_torch(OLDEST_TORCH, 'accelerate does not compile')


def count_graphs():
    return torch._dynamo.utils.counters['stats']['unique_graphs']


@pytest.fixture(scope='module')
def compiled(make_batch, detect):
    """A small detector, the same compiled, and the number of graphs after the first image."""
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()
    plain = build(make_config('Faster R-CNN'))
    fast = accelerate(copy.deepcopy(plain))
    detect(fast, make_batch(plain))
    return plain, fast, count_graphs()


def test_compiled_detector_gives_the_same_detections(compiled, make_batch, detect):
    plain, fast, graphs = compiled
    batch = make_batch(plain)
    compiling = [part.forward.compile for part in (fast.backbone, fast.neck, fast.rpn_head)]
    # Without a compiler, or vector instructions, inductor's code may not compile: accelerate then
    # goes without it.
    has_vectors = torch.backends.cpu.get_cpu_capability() != 'DEFAULT'
    assert all(compiling) or not (shutil.which('g++') and has_vectors)
    assert graphs == sum(compiling)
    assert list(fast.state_dict()) == list(plain.state_dict())
    assert_same_detections(detect(fast, batch), detect(plain, batch), 1e-3)


@pytest.mark.parametrize(('height', 'width'), [(96, 64), (128, 160)])
def test_another_image_size_does_not_compile_again(compiled, make_batch, detect, height, width):
    plain, fast, graphs = compiled
    batch = make_batch(plain, height, width)
    assert_same_detections(detect(fast, batch), detect(plain, batch), 1e-3)
    assert count_graphs() == graphs


def test_compiled_code_uses_the_present_weights(compiled, make_batch, detect):
    plain, fast, graphs = compiled
    batch = make_batch(plain)
    before = detect(fast, batch)
    changed = {
        key: value * 1.1 if value.is_floating_point() else value
        for key, value in plain.state_dict().items()
    }
    plain, fast = copy.deepcopy(plain), copy.deepcopy(fast)
    for detector in (plain, fast):
        detector.load_state_dict(changed)
    assert_same_detections(detect(fast, batch), detect(plain, batch), 1e-3)
    # A write behind autograd's back, as that of mmengine's EMAHook.
    for detector in (plain, fast):
        detector.backbone.layer1[0].conv1.weight.data.mul_(0.5)
    assert_same_detections(detect(fast, batch), detect(plain, batch), 1e-3)
    assert count_graphs() == graphs
    # The detector that was copied still has its own weights.
    assert_same_detections(detect(compiled[1], batch), before, 0)


@pytest.fixture
def no_compiler(monkeypatch):
    """Hide the C++ compiler, and what it compiled before."""
    from torch._inductor import config, cpp_builder

    replaced_forward._warn_once.cache_clear()
    monkeypatch.setattr(config.cpp, 'cxx', ('no-such-compiler',))
    monkeypatch.setattr(config, 'force_disable_caches', True)
    cpp_builder.cpp_compiler_search.cache_clear()
    torch.compiler.reset()
    yield
    cpp_builder.cpp_compiler_search.cache_clear()
    torch.compiler.reset()


def test_without_a_compiler_it_runs_uncompiled_with_one_warning(no_compiler):
    parts = [nn.Conv2d(3, channels, 1) for channels in (2, 4)]
    image = torch.rand(1, 3, 64, 64)
    options = dict(channels_last=False, compile=True, dtype=None, train_dtype=None)
    with torch.no_grad(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        for part in parts:
            expected = part(image)
            part.forward = replaced_forward.PartForward(part.eval(), low_outputs=False, **options)
            assert part(image).equal(expected)
            assert part.forward.compile is False
    texts = [str(w.message) for w in caught if 'accelerate:' in str(w.message)]
    assert len(texts) == 1 and 'without torch.compile' in texts[0]
