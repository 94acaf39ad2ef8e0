"""Two processes, one of them without ground truth, learn what one process learns from both images.

DistributedDataParallel averages the processes' gradients, and in every process mmdet divides a loss
by what that process has: an anchor head by its positive anchors, of which an image without any
counts as one, and a RoI head by its RoIs. The average is the gradient of the joint batch only where
both processes divide by the same number. So here each image is given

* one positive anchor or none: one box, whose best anchor alone is positive;
* all anchors as samples, since the samplers of the configs choose at random;
* equally many RoIs, and none of the ground truth: the proposals are given, since of two that an
  RPN scores nearly alike rounding may choose either.

Then, with D for the divisor of a process and S for the sum of its losses, the two agree:
(S0 / D + S1 / D) / 2 = (S0 + S1) / (D + D). All of it is computed in float64, so that no rounding
decides on which side of zero an activation lies, on any CPU.
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
from torch.nn.modules.batchnorm import _BatchNorm

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
IMAGE_SHAPE = (3, 64, 64)
BOX, LABEL = [[11.3, 7.1, 42.6, 50.9]], [1]
NUM_RANKS = 2
NUM_PROPOSALS = 16
TIMEOUT = 120  # seconds


def build_detector(name, changes):
    """Build a detector that averages as the docstring of this file has it, with frozen statistics.

    Its weights are the layers' random ones: `init_weights` would silence whole branches by zeros.
    """
    torch.manual_seed(0)
    config = Config.fromfile(config_path(name))
    config.merge_from_dict(changes)
    train_cfg = config.model.train_cfg
    for stage in [train_cfg[key] for key in ('rpn', 'rcnn') if key in train_cfg] or [train_cfg]:
        stage.assigner.update(
            pos_iou_thr=0.99,
            neg_iou_thr=0.99,
            min_pos_iou=0,
            match_low_quality=True,
            gt_max_assign_all=False,
        )
        stage.sampler = dict(type='PseudoSampler')
    detector = revert_sync_batchnorm(MODELS.build(config.model)).train().double()
    if hasattr(detector, 'rpn_head'):
        detector.rpn_head.predict_by_feat = give_proposals
    for module in detector.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
    return detector


def give_proposals(*outputs, batch_img_metas, cfg):
    """Give each image boxes of its own, of all sizes, in place of what an RPN predicts."""
    height, width = IMAGE_SHAPE[1:]
    proposals = []
    for meta in batch_img_metas:
        generator = torch.Generator().manual_seed(meta['img_id'])
        corners = torch.rand(NUM_PROPOSALS, 2, 2, generator=generator).sort(dim=1).values
        boxes = (corners * torch.tensor([width, height])).flatten(1)
        proposals.append(InstanceData(bboxes=boxes, scores=torch.ones(NUM_PROPOSALS)))
    return proposals


def make_batch(detector, images, with_box):
    """Make the batch of some images: image 0 has a box if wanted, image 1 never."""
    data = {'inputs': [], 'data_samples': []}
    for index in images:
        generator = torch.Generator().manual_seed(index)
        data['inputs'].append(torch.randint(256, IMAGE_SHAPE, generator=generator).byte())
        num_boxes = int(with_box and index == 0)
        boxes, labels = torch.tensor(BOX)[:num_boxes], torch.tensor(LABEL)[:num_boxes]
        sample = DetDataSample(metainfo=dict(img_id=index, img_shape=IMAGE_SHAPE[1:]))
        sample.gt_instances = InstanceData(bboxes=boxes, labels=labels)
        data['data_samples'].append(sample)
    batch = detector.data_preprocessor(data, training=True)
    return {**batch, 'inputs': batch['inputs'].double()}


def backward(model, detector, images, with_box):
    """Leave the gradients of a batch in the parameters, and return its losses."""
    detector.zero_grad()
    losses = model(**make_batch(detector, images, with_box), mode='loss')
    total, log = detector.parse_losses(losses)
    total.backward()
    return {key: value.item() for key, value in log.items()}


def learn(model, detector, images):
    """Take a step without any ground truth, then one with it; losses of both, and gradients.

    A parameter that the first step did not use lets DistributedDataParallel stop in the second.
    """
    losses = [backward(model, detector, images, with_box) for with_box in (False, True)]
    return losses, {key: weight.grad for key, weight in detector.named_parameters()}


def run_rank(rank, name, changes, folder):
    """Learn from the image of one rank, and write losses and gradients to a file."""
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
    torch.save(learn(model, detector, [rank]), folder / f'{rank}.pth')
    distributed.destroy_process_group()


def run_ranks(name, changes, folder):
    """Run all ranks, and return what each of them wrote; a rank that hangs is an error."""
    fork_server()
    ranks = multiprocessing.start_processes(
        run_rank, (name, changes, folder), NUM_RANKS, join=False, start_method='forkserver'
    )
    deadline = time.monotonic() + TIMEOUT
    while not ranks.join(timeout=1):
        if time.monotonic() > deadline:
            for process in ranks.processes:
                process.kill()
            pytest.fail(f'the ranks did not finish in {TIMEOUT} s')
    load = partial(torch.load, weights_only=True)
    return [load(folder / f'{rank}.pth') for rank in range(NUM_RANKS)]


@pytest.mark.parametrize(('name', 'changes'), DETECTORS)
def test_two_ranks_learn_as_one_process(name, changes, tmp_path):
    (with_box, gradients), (without_box, other_gradients) = run_ranks(name, changes, tmp_path)
    detector = build_detector(name, changes)
    _, expected = learn(detector, detector, [0, 1])

    for losses in with_box + without_box:
        assert torch.tensor(list(losses.values())).isfinite().all(), losses
        assert losses.keys() == with_box[0].keys()
    assert with_box[1]['loss_bbox'] > 0
    assert without_box[1]['loss_bbox'] == 0
    for key, gradient in expected.items():
        assert gradient.abs().max() > 0, key
        assert torch.equal(gradients[key], other_gradients[key]), key
        # To every divisor mmdet adds the epsilon of float32, 1.2e-7.
        tolerance = 1e-6 * gradient.abs().max().item()
        torch.testing.assert_close(gradients[key], gradient, rtol=0, atol=tolerance)
