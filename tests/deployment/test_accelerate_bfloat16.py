"""`accelerate` with bfloat16: where it is used, and where a part goes without."""

from functools import partial

import pytest
import torch
from accelerated_detectors import DOUBLE_HEAD, FASTER_RCNN, RETINANET_CONF

from mmdet_detnet.deployment import accelerate


def record_dtypes(model):
    """Note the type of what each module gives out; of several tensors, of the first."""
    dtypes = {}

    def record(name, module, inputs, output):
        while isinstance(output, (tuple, list)):
            output = output[0]
        if isinstance(output, torch.Tensor):
            dtypes[name] = output.dtype

    for name, module in model.named_modules():
        module.register_forward_hook(partial(record, name))
    return dtypes


def test_decoding_and_pooling_are_in_float32_under_bfloat16(build_tiny, make_batch, detect):
    detector = build_tiny(FASTER_RCNN)
    batch = make_batch(detector)
    (expected,) = detect(detector, batch)
    accelerate(detector, compile=False, dtype=torch.bfloat16)
    dtypes = record_dtypes(detector)
    (found,) = detect(detector, batch)
    assert dtypes['backbone.conv1'] == dtypes['neck.fpn_convs.0.conv'] == torch.bfloat16
    assert dtypes['neck'] == dtypes['rpn_head'] == dtypes['roi_head.bbox_head'] == torch.float32
    assert dtypes['roi_head.bbox_roi_extractor'] == torch.float32
    assert dtypes['roi_head.bbox_head.fc_cls'] == torch.bfloat16
    assert found.bboxes.dtype == found.scores.dtype == torch.float32
    torch.testing.assert_close(found.scores[:5], expected.scores[:5], rtol=0.1, atol=0)


@pytest.mark.parametrize('fusion', ['none', 'complementary'])
def test_both_heads_of_double_head_run_in_bfloat16(build_tiny, make_batch, detect, fusion):
    detector = build_tiny(DOUBLE_HEAD)
    head = detector.roi_head.bbox_head
    head.fusion = fusion
    batch = make_batch(detector)
    (expected,) = detect(detector, batch)
    accelerate(detector, compile=False, dtype='bf16')
    dtypes = record_dtypes(head)
    (actual,) = detect(detector, batch)
    assert dtypes['res_block'] == dtypes['conv_branch.3'] == dtypes['fc_branch.1'] == torch.bfloat16
    assert dtypes['fc_cls'] == dtypes['fc_reg'] == torch.float32
    torch.testing.assert_close(actual.scores[:5], expected.scores[:5], rtol=0.1, atol=0)


def test_part_without_low_precision_runs_in_float32(build_tiny, make_batch, detect):
    detector = build_tiny(FASTER_RCNN)

    def refuse(module, inputs, output):
        if output.dtype == torch.bfloat16:
            raise NotImplementedError('not implemented for BFloat16')

    detector.rpn_head.rpn_conv.register_forward_hook(refuse)
    accelerate(detector, compile=False, dtype='bf16')
    with pytest.warns(UserWarning, match='without torch.bfloat16, which failed: NotImpl'):
        detect(detector, make_batch(detector))
    assert detector.rpn_head.forward.dtype is None
    assert detector.backbone.forward.dtype == torch.bfloat16


def test_an_error_of_the_detector_itself_changes_nothing(build_tiny):
    detector = accelerate(build_tiny(FASTER_RCNN), compile=False, dtype='bf16')
    with torch.no_grad(), pytest.raises(RuntimeError, match='channels'):
        detector.backbone(torch.rand(1, 4, 32, 32))
    assert detector.backbone.forward.dtype == torch.bfloat16


@pytest.mark.parametrize('config', [FASTER_RCNN, DOUBLE_HEAD, RETINANET_CONF])
def test_training_in_bfloat16_has_float32_losses_and_gradients(build_tiny, make_batch, config):
    detector = build_tiny(config).train()
    dtypes = record_dtypes(detector)
    accelerate(detector, compile=False, train_dtype='bf16')
    losses = detector(**make_batch(detector), mode='loss')
    loss, _ = detector.parse_losses(losses)
    loss.backward()
    assert dtypes['backbone.conv1'] == dtypes['neck.fpn_convs.0.conv'] == torch.bfloat16
    assert dtypes.get('rpn_head', torch.float32) == torch.float32
    assert {value.dtype for value in losses.values() if torch.is_tensor(value)} == {torch.float32}
    gradients = [each.grad for each in detector.parameters() if each.requires_grad]
    assert {gradient.dtype for gradient in gradients} == {torch.float32}
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_float16_in_training_is_refused(build_tiny):
    with pytest.raises(ValueError, match=r"train_dtype must be None or one of \['auto', 'bf16'\]"):
        accelerate(build_tiny(FASTER_RCNN), train_dtype='fp16')
