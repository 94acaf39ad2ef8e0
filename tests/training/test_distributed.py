"""Two processes, one of them without ground truth, train as one: every parameter has its part.

Otherwise DistributedDataParallel would stop in the second step, or wait for the other process.
"""

import time
from datetime import timedelta
from functools import partial

import pytest
import torch
from helpers import fork_server
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.model import MMDistributedDataParallel, revert_sync_batchnorm
from mmengine.structures import InstanceData
from torch import distributed, multiprocessing

from mmdet_detnet import config_path

pytestmark = pytest.mark.xdist_group('fork server')

# Its conv-head trains on positive RoIs alone, of which the second process has none.
POSITIVES_ALONE = {
    'model.roi_head.bbox_head.norm_cfg': dict(type='GN', num_groups=32),
    'model.roi_head.bbox_head.lambda_conv': 1,
    'model.roi_head.bbox_head.fusion': 'none',
}
# Every head of this package, and the guidance of IPG-Net: a config, and what is changed in it.
DETECTORS = [
    ('custom/retinanet-conf_r50-slim_fpn_custom.py', {}),
    ('custom/double-head-ext_r50-slim_fpn_custom.py', {}),
    ('custom/double-head-ext_r50-slim_fpn_custom.py', POSITIVES_ALONE),
    ('custom/faster-rcnn_ipgnet50-slim_fpn_custom.py', {}),
]
SIZE = (64, 64)
NUM_RANKS = 2
TIMEOUT = 120  # seconds


def build_detector(name, changes):
    """Build a detector with the layers' random weights; `init_weights` would silence branches."""
    torch.manual_seed(0)
    config = Config.fromfile(config_path(name))
    config.merge_from_dict(changes)
    return revert_sync_batchnorm(MODELS.build(config.model)).train()


def make_batch(detector, rank, with_box):
    """Make a batch of one image, which has a box if it is wanted and that of the first rank."""
    number = int(with_box and rank == 0)
    boxes = torch.tensor([[11.3, 7.1, 42.6, 50.9]])[:number]
    sample = DetDataSample(metainfo=dict(img_shape=SIZE))
    sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.tensor([1])[:number])
    generator = torch.Generator().manual_seed(rank)
    image = torch.randint(256, (3, *SIZE), generator=generator).byte()
    data = {'inputs': [image], 'data_samples': [sample]}
    return detector.data_preprocessor(data, training=True)


def run_rank(rank, name, changes, folder):
    """Take two steps, the first without any ground truth; write losses and gradients to a file."""
    torch.set_num_threads(1)
    register_all_modules(init_default_scope=True)
    distributed.init_process_group(
        'gloo',
        store=distributed.FileStore(str(folder / 'store'), NUM_RANKS),
        rank=rank,
        world_size=NUM_RANKS,
        timeout=timedelta(seconds=TIMEOUT),
    )
    detector = build_detector(name, changes)
    model = MMDistributedDataParallel(detector, find_unused_parameters=False)
    for with_box in (False, True):
        detector.zero_grad()
        losses = model(**make_batch(detector, rank, with_box), mode='loss')
        total, log = detector.parse_losses(losses)
        total.backward()
    gradients = {key: weight.grad for key, weight in detector.named_parameters()}
    log = {key: value.item() for key, value in log.items()}
    torch.save((log, gradients), folder / f'{rank}.pth')
    distributed.destroy_process_group()


@pytest.mark.parametrize(('name', 'changes'), DETECTORS)
def test_rank_without_ground_truth_takes_part(name, changes, tmp_path):
    fork_server()
    ranks = multiprocessing.start_processes(
        run_rank, (name, changes, tmp_path), NUM_RANKS, join=False, start_method='forkserver'
    )
    deadline = time.monotonic() + TIMEOUT
    while not ranks.join(timeout=1):
        if time.monotonic() > deadline:
            for process in ranks.processes:
                process.kill()
            pytest.fail(f'the ranks did not finish in {TIMEOUT} s')
    load = partial(torch.load, weights_only=True)
    (losses, gradients), (other_losses, other_gradients) = (
        load(tmp_path / f'{rank}.pth') for rank in range(NUM_RANKS)
    )
    assert losses.keys() == other_losses.keys()
    assert losses['loss_bbox'] > 0 == other_losses['loss_bbox']
    for key, gradient in gradients.items():
        assert gradient.isfinite().all(), key
        assert torch.equal(gradient, other_gradients[key]), key
