"""``accelerate`` on every model family of mmdet: the same results, or the part is not changed.

A slice of the families; ``--all-configs`` takes all of them.
"""

import pytest
from mmdet.models.backbones import ResNet, ResNeXt
from mmdet_families import SLICE, all_families, build_detector, make_batch, run

from mmdet_detnet.deployment import accelerate

# What accelerate warns of on some CPUs, whatever the detector.
SLOW_CPU = 'no instructions for bfloat16'
# Of the size of all values of a map together.
TOLERANCES = {None: 1e-4, 'bf16': 0.1}


def pytest_generate_tests(metafunc):
    names = all_families() if metafunc.config.getoption('all_configs') else SLICE
    metafunc.parametrize('name', names)


@pytest.fixture(autouse=True)
def one_block_a_stage(monkeypatch):
    for net in (ResNet, ResNeXt):
        settings = {depth: (block, (1, 1, 1, 1)) for depth, (block, _) in net.arch_settings.items()}
        monkeypatch.setattr(net, 'arch_settings', settings)


def assert_close(actual, expected, tolerance):
    assert len(actual) == len(expected)
    for ours, theirs in zip(actual, expected, strict=True):
        assert ours.shape == theirs.shape
        assert (ours.double() - theirs.double()).norm() <= tolerance * theirs.double().norm() + 1e-6


def test_accelerated_equals_plain(name, pytestconfig, recwarn):
    detector = build_detector(name)
    batch = make_batch(detector)
    try:
        maps, scores = run(detector, batch)
        assert all(each.isfinite().all() for each in maps), 'random weights overflow'
    except Exception as error:
        if not pytestconfig.getoption('all_configs'):
            raise
        pytest.skip(f'mmdet: {error}')
    for dtype, tolerance in TOLERANCES.items():
        accelerate(detector, compile=False, dtype=dtype)
        fast_maps, fast_scores = run(detector, batch)
        assert_close(fast_maps, maps, tolerance)
        if dtype is None:
            assert_close(fast_scores, scores, tolerance)
    warnings = [str(w.message) for w in recwarn if 'accelerate:' in str(w.message)]
    assert [warning for warning in warnings if SLOW_CPU not in warning] == []
