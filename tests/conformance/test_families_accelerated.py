"""``accelerate`` on every model family of mmdet: the same results, or the part is not changed.

A slice of the families; ``--all-configs`` takes all of them.
"""

import pytest
from mmdet_families import build_detector, make_batch, run

from mmdet_detnet.deployment import accelerate

# Families with something of their own for acceleration: operators of mmcv, heads that view maps as
# they lie in memory, convolutions that compute with their weights, queries.
SLICE = (
    'centernet/centernet_r18-dcnv2_8xb16-crop512-140e_coco.py',
    'deformable_detr/deformable-detr_r50_16xb2-50e_coco.py',
    'gn+ws/faster-rcnn_r50_fpn_gn-ws-all_1x_coco.py',
    'mask2former/mask2former_r50_8xb2-lsj-50e_coco.py',
    'reppoints/reppoints-moment_r50_fpn-gn_head-gn_1x_coco.py',
    'tood/tood_r50_fpn_1x_coco.py',
)
# What accelerate warns of on some CPUs, whatever the detector.
SLOW_CPU = 'no instructions for bfloat16'
# Of the size of all values of a map together.
TOLERANCES = {None: 1e-4, 'bf16': 0.1}


def assert_close(actual, expected, tolerance):
    assert len(actual) == len(expected)
    for ours, theirs in zip(actual, expected, strict=True):
        assert ours.shape == theirs.shape
        assert (ours.double() - theirs.double()).norm() <= tolerance * theirs.double().norm() + 1e-6


@pytest.mark.usefixtures('one_block_a_stage')
def test_accelerated_equals_plain(family, pytestconfig, recwarn):
    detector = build_detector(family)
    batch = make_batch(detector)
    try:
        maps, scores = run(detector, batch)
        assert all(each.abs().max() < 1e9 for each in maps), 'random weights make maps too large'
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
