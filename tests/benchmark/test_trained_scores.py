"""The split of inference, and the scores that give post-processing and RoI heads their work."""

import itertools

import pytest
import torch
from mmdet.models.dense_heads import EmbeddingRPNHead

from mmdet_detnet.benchmark.comparisons import Entry, Workload
from mmdet_detnet.benchmark.parts import (
    BACKBONE,
    DECODE,
    DENSE_HEAD,
    PARTS,
    REST,
    ROI_HEAD,
    PartClock,
    time_parts,
)
from mmdet_detnet.benchmark.timed_networks import (
    NETWORKS,
    TimedRoIHead,
    build_detector,
    fix_proposals,
    load_with_options,
    make_batch,
    set_candidates,
    set_passing,
)

CPU = torch.device('cpu')
SLIM = 'demo/faster-rcnn_detnet59-slim_fpn_shapes.py'
RETINANET = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'
TWO_IMAGES = Workload(height=64, width=96, batch=2, passing=37)


def test_clock_runs_for_one_part_at_a_time(monkeypatch):
    times = iter([0, 1, 3, 6, 10, 15])
    monkeypatch.setattr(PartClock, '_time', lambda self: next(times))
    clock = PartClock(CPU)
    with clock.part(DENSE_HEAD), clock.part(DECODE):
        pass
    clock.stop()
    # Rest from 0 to 1 and 10 to 15, the head from 1 to 3 and 6 to 10, decoding from 3 to 6.
    assert clock.seconds == {BACKBONE: 0, DENSE_HEAD: 6, ROI_HEAD: 0, DECODE: 3, REST: 6}


@torch.no_grad()
def predict(detector, batch):
    detector(**batch, mode='predict')


def build(config, workload):
    detector = build_detector(load_with_options(config), workload, CPU)
    return detector, make_batch(detector, workload, CPU)


def test_parts_sum_to_the_total_and_leave_the_detector_as_it_was(monkeypatch):
    detector, batch = build(SLIM, TWO_IMAGES)
    detector.roi_head.predict = own = detector.roi_head.predict
    ticks = itertools.count()
    monkeypatch.setattr(PartClock, '_time', lambda self: next(ticks))
    seconds = time_parts(detector, lambda: predict(detector, batch), CPU)
    # One tick a reading, the first of which starts the clock.
    assert sum(seconds.values()) == next(ticks) - 1
    assert all(seconds[part] > 0 for part in PARTS)
    assert detector.roi_head.predict is own
    assert 'predict' not in vars(detector.rpn_head)


def test_learned_proposals_are_left():
    detector, batch = build(SLIM, TWO_IMAGES)
    detector.rpn_head, detector.test_cfg.rpn = EmbeddingRPNHead(num_proposals=10), None
    fix_proposals(detector, TWO_IMAGES, CPU)
    seconds = time_parts(detector, lambda: detector.extract_feat(batch['inputs']), CPU)
    assert seconds[BACKBONE] > 0
    assert 'predict' not in vars(detector.rpn_head)


def test_images_are_not_resized_as_in_training():
    config = load_with_options(SLIM)
    resize = dict(type='BatchSyncRandomResize', random_size_range=(480, 800))
    config.model.data_preprocessor.batch_augments = [resize]
    detector = build_detector(config, TWO_IMAGES, CPU)
    assert make_batch(detector, TWO_IMAGES, CPU)['inputs'].shape == (2, 3, 64, 96)


def test_every_detector_gets_the_same_proposals_inside_the_image():
    seen = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        detector, batch = build(SLIM, Workload(64, 96, batch=2, seed=seed))
        fix_proposals(detector, TWO_IMAGES, CPU)
        maps = detector.extract_feat(batch['inputs'])
        samples = batch['data_samples']
        seen.append(detector.rpn_head.predict(maps, samples, rescale=False))
        losses, proposals = detector.rpn_head.loss_and_predict(maps, samples, detector.test_cfg.rpn)
        seen.append(proposals)
        assert losses
    boxes = [torch.stack([image.bboxes for image in images]) for images in seen]
    assert boxes[0].shape == (2, 100, 4)
    assert all(torch.equal(boxes[0], others) for others in boxes[1:])
    assert not torch.equal(boxes[0][0], boxes[0][1])
    assert boxes[0].min() >= 0
    assert boxes[0][..., 0::2].max() <= 96
    assert boxes[0][..., 1::2].max() <= 64


def find_passing(roi_head, action):
    """Tell from what the classifier gives out in a real run which proposals pass."""
    scores = []
    handle = roi_head.bbox_head.fc_cls.register_forward_hook(
        lambda module, inputs, logits: scores.append(logits.softmax(dim=1)[:, :-1])
    )
    action()
    handle.remove()
    return torch.cat(scores).amax(dim=1) > roi_head.test_cfg.score_thr


@pytest.mark.parametrize(('passing', 'expected'), [(0, 0), (37, 37), (100, 100), (500, 100)])
def test_exactly_the_wanted_number_passes_in_each_image(passing, expected):
    workload = Workload(height=64, width=96, batch=2, passing=passing)
    detector, batch = build(SLIM, workload)
    fix_proposals(detector, workload, CPU)
    set_passing(detector.roi_head, workload)
    passes = find_passing(detector.roi_head, lambda: predict(detector, batch))
    assert passes.reshape(2, 100).sum(dim=1).tolist() == [expected, expected]
    # Training has its own scores, with gradients.
    detector.train()
    losses = detector(**batch, mode='loss')
    losses['loss_cls'].backward()
    assert detector.roi_head.bbox_head.fc_cls.weight.grad.abs().sum() > 0


def test_wanted_number_of_scores_exceeds_the_threshold():
    workload = Workload(height=64, width=96, candidates=50)
    detector, batch = build(RETINANET, workload)
    set_candidates(detector, batch, workload.candidates)
    with torch.no_grad():
        levels = detector(**batch, mode='tensor')[0]
    scores = torch.cat([level.flatten() for level in levels]).sigmoid()
    # The last of them lies on the threshold, on either side of it.
    assert (scores > 0.05).sum().item() in (49, 50)
    seconds = time_parts(detector, lambda: predict(detector, batch), CPU)
    assert seconds[ROI_HEAD] == 0
    assert min(seconds[BACKBONE], seconds[DENSE_HEAD], seconds[DECODE]) > 0


def test_roi_head_alone_gets_1000_proposals_of_which_the_wanted_number_passes():
    workload = Workload(height=64, width=96, passing=50)
    timed = TimedRoIHead(Entry(SLIM, kind='roi_head'), workload, CPU)
    passes = find_passing(timed.network, timed.predict)
    assert (len(passes), passes.sum()) == (1000, 50)
    parts = timed.parts()
    assert parts[BACKBONE] == parts[DENSE_HEAD] == 0
    assert min(parts[ROI_HEAD], parts[DECODE]) > 0


def test_checkpoint_of_the_detector_gives_its_parts_their_weights(tiny_detector):
    config, checkpoint = map(str, tiny_detector)
    weights = torch.load(checkpoint, weights_only=True)['state_dict']
    for kind, prefix in (('roi_head', 'roi_head.'), ('backbone', ''), ('detector', '')):
        entry = Entry(config, kind, checkpoint=checkpoint)
        timed = NETWORKS[kind](entry, Workload(height=64, width=96), CPU)
        state = timed.network.state_dict()
        assert all(value.equal(weights[f'{prefix}{key}']) for key, value in state.items())
    with pytest.raises(ValueError, match='has other shapes than the config'):
        TimedRoIHead(Entry(SLIM, kind='roi_head', checkpoint=checkpoint), TWO_IMAGES, CPU)


def test_detector_without_a_roi_head_cannot_be_compared_by_it():
    with pytest.raises(ValueError, match='RetinaNet has no RoI head'):
        TimedRoIHead(Entry(RETINANET, kind='roi_head'), Workload(), CPU)
