"""`accelerate` does not change detections, names of weights or training."""

import copy

import pytest
import torch
from accelerated_detectors import (
    DOUBLE_HEAD,
    FASTER_RCNN,
    MASK_RCNN,
    RETINANET_CONF,
    assert_same_detections,
)
from mmcv.ops import RoIAlign
from mmdet.models.roi_heads.bbox_heads import BBoxHead
from torch import nn
from torch.torch_version import TorchVersion

from mmdet_detnet.deployment import accelerate
from mmdet_detnet.deployment.replaced_forward import ContiguousForward, RoIAlignForward
from mmdet_detnet.models.detectron import LastPixelRoIAlign


@pytest.mark.parametrize('config', [FASTER_RCNN, RETINANET_CONF, DOUBLE_HEAD, MASK_RCNN])
def test_channels_last_gives_the_same_detections(build_tiny, make_batch, detect, config):
    detector = build_tiny(config)
    batch = make_batch(detector, images=2)
    expected = detect(detector, batch)
    actual = detect(accelerate(detector, compile=False), batch)
    assert_same_detections(actual, expected, 1e-3)
    assert detector.backbone.layer1[0].conv2.weight.is_contiguous(memory_format=torch.channels_last)


def test_operators_of_mmcv_in_the_backbone_give_the_same_detections(build_tiny, make_batch, detect):
    dcn = dict(type='DCNv2', deform_groups=1, fallback_on_stride=False)
    detector = build_tiny(FASTER_RCNN, dcn=dcn, stage_with_dcn=(False, True, True, True, True))
    nn.init.normal_(detector.backbone.layer3[0].conv2.conv_offset.weight, std=0.1)
    batch = make_batch(detector)
    expected = detect(detector, batch)
    contiguous = []
    detector.backbone.layer3[0].conv2.conv_offset.register_forward_pre_hook(
        lambda module, inputs: contiguous.append(inputs[0].is_contiguous())
    )
    assert_same_detections(detect(accelerate(detector, compile=False), batch), expected, 1e-4)
    assert contiguous == [True]  # only compiled operators go wrong in another layout
    (found,) = detect(accelerate(detector, compile=False, dtype='bf16'), batch)
    assert len(found) > 0
    assert found.scores.isfinite().all()


def test_layers_derived_from_operators_get_contiguous_maps_too(build_tiny):
    detector = build_tiny(FASTER_RCNN)
    layers = detector.roi_head.bbox_roi_extractor.roi_layers
    layers[0] = LastPixelRoIAlign(7, 0.25)
    accelerate(detector, compile=False)
    assert type(layers[0].forward) is ContiguousForward


def test_roi_align_of_channels_last_maps_has_mmcvs_values_and_gradients():
    plain, fast = RoIAlign(7, 0.25), RoIAlign(7, 0.25)
    fast.forward = RoIAlignForward(fast)
    maps = torch.randn(2, 8, 25, 40).to(memory_format=torch.channels_last).requires_grad_()
    # Inside, wide, over each border, outside, without area.
    rois = [[0, 10, 20, 60, 70], [1, 0, 5, 159, 20], [1, -30, -30, 25, 25]]
    rois += [[0, 120, 80, 200, 150], [0, 300, 300, 340, 340], [1, 40, 40, 40, 40]]
    rois = torch.tensor(rois, dtype=torch.float32)
    outputs = plain(maps.contiguous(), rois), fast(maps, rois)
    torch.testing.assert_close(*outputs, rtol=0, atol=1e-5)
    gradient = torch.randn_like(outputs[0])
    gradients = [torch.autograd.grad(each, maps, gradient)[0] for each in outputs]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-4)
    assert fast(maps, rois[:0]).shape == (0, 8, 7, 7)


# In float64 another order of summation hardly matters; mmcv's NMS of proposals takes float32 only.
@pytest.mark.parametrize(
    ('config', 'dtype', 'tolerance'),
    [(FASTER_RCNN, torch.float32, 1e-3), (RETINANET_CONF, torch.float64, 1e-9)],
)
def test_losses_and_gradients_stay(build_tiny, make_batch, config, dtype, tolerance):
    plain = build_tiny(config).train().to(dtype)
    fast = accelerate(copy.deepcopy(plain), dtype='bf16')
    batch = make_batch(plain)
    batch['inputs'] = batch['inputs'].to(dtype)
    for detector in (plain, fast):
        torch.manual_seed(0)
        loss, _ = detector.parse_losses(detector(**batch, mode='loss'))
        loss.backward()
    gradients = {name: parameter.grad for name, parameter in fast.named_parameters()}
    assert all(gradients[name] is not None for name in gradients)
    for name, parameter in plain.named_parameters():
        scale = parameter.grad.abs().max().item()
        torch.testing.assert_close(
            gradients[name], parameter.grad, rtol=0, atol=tolerance * scale, msg=name
        )


def test_second_call_replaces_the_first_and_all_off_restores(build_tiny):
    detector = build_tiny(FASTER_RCNN)
    accelerate(detector, dtype='bf16')
    accelerate(detector, compile=False)
    assert detector.backbone.forward.dtype is None
    accelerate(detector, channels_last=False, compile=False)
    assert not any('forward' in vars(module) for module in detector.modules())
    assert detector.backbone.layer1[0].conv2.weight.is_contiguous()


def test_compiled_detectors_and_parts_are_refused(build_tiny):
    detector = build_tiny(FASTER_RCNN)
    with pytest.raises(ValueError, match='without torch.compile .*got .*OptimizedModule'):
        accelerate(torch.compile(detector))
    detector.backbone = torch.compile(detector.backbone)
    with pytest.raises(ValueError, match='without torch.compile .*got .*OptimizedModule'):
        accelerate(detector)


def test_older_torch_compiles_nothing(build_tiny, monkeypatch):
    monkeypatch.setattr(torch, '__version__', TorchVersion('2.5.1'))
    with pytest.warns(UserWarning, match=r'accelerate: compile needs torch 2\.6, this is 2\.5\.1'):
        detector = accelerate(build_tiny(FASTER_RCNN))
    assert not detector.backbone.forward.compile


def test_wrapped_detector_and_roi_head_alone_are_accelerated(build_tiny):
    detector = build_tiny(FASTER_RCNN)
    # What DistributedDataParallel and test-time augmentation have in common.
    wrapped = nn.Module()
    wrapped.module = detector
    assert accelerate(wrapped, compile=False) is wrapped
    assert 'forward' in vars(detector.backbone) and 'forward' in vars(detector.neck)
    roi_head = accelerate(build_tiny(FASTER_RCNN).roi_head)
    assert isinstance(roi_head.bbox_head, BBoxHead)
    assert 'forward' in vars(roi_head.bbox_head)


@pytest.mark.parametrize('is_training', [False, True])
def test_gradients_or_training_mode_run_plain(build_tiny, make_batch, is_training):
    detector = accelerate(build_tiny(RETINANET_CONF), dtype='bf16').train(is_training)
    with torch.set_grad_enabled(not is_training):
        maps = detector.extract_feat(make_batch(detector)['inputs'])
    assert maps[0].dtype == torch.float32
    assert detector.backbone.forward.compiled is None


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (dict(dtype='int8'), r"dtype must be None or one of \['auto', 'bf16', "),
        (dict(dtype='fp16'), "dtype='fp16' needs a GPU"),
        (dict(), 'must be a detector.*got <class .*Linear'),
    ],
)
def test_wrong_argument_is_named(options, words):
    with pytest.raises(ValueError, match=words):
        accelerate(nn.Linear(2, 2), **options)
