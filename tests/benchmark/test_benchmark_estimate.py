"""How long a comparison will take, and configs with settings of their own."""

import pytest
from helpers import make_row

from mmdet_detnet.benchmark import Rounds, Workload
from mmdet_detnet.benchmark.estimate import estimate_seconds

SLIM = 'demo/faster-rcnn_detnet59-slim_fpn_shapes.py'


@pytest.mark.parametrize(
    ('rounds', 'seconds'),
    [
        # Two images of 10 GMACs at 5 GMAC/s: 4 s. One for the scores, 1 + 3, and 3 for the split.
        (Rounds(3, 1, training=False, memory=False), 8 * 4),
        # No split; 1 + 1 more for the memory, 2.5 times (1 + 3 + 1), and 10 s for the process.
        (Rounds(3, 1, split=False), (6 + 12.5) * 4 + 10),
    ],
)
def test_estimate_counts_every_run(rounds, seconds):
    row = make_row('a.py', workload=Workload(batch=2), gmacs={'backbone': 4.0, 'RoI head': 6.0})
    assert estimate_seconds([row], rounds, gmacs_per_second=5) == seconds
