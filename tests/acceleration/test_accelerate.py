"""`accelerate` leaves the detections, the weights' names and the training as they are."""

import copy
import warnings

import pytest
import torch
from mmdet.models.roi_heads.bbox_heads import BBoxHead
from torch import nn

from mmdet_detnet.acceleration import accelerate, forwards

FASTER_RCNN = 'custom/faster-rcnn_detnet59-slim_fpn_custom.py'
RETINANET_CONF = 'custom/retinanet-conf_r50-slim_fpn_custom.py'
DOUBLE_HEAD = 'custom/double-head-ext_r50-slim_fpn_custom.py'
MASK_RCNN = 'detnet/mask-rcnn_detnet59_fpn_1x_coco.py'
# What a Faster R-CNN may cost: a graph each for backbone, neck and RPN head.
COMPILED_PARTS = 3


def assert_same_detections(actual, expected, tolerance):
    assert len(actual) == len(expected) > 0
    for ours, stock in zip(actual, expected, strict=True):
        assert len(stock) > 0
        assert ours.labels.equal(stock.labels)
        torch.testing.assert_close(ours.scores, stock.scores, rtol=tolerance, atol=0)
        torch.testing.assert_close(ours.bboxes, stock.bboxes, rtol=tolerance, atol=tolerance)


def count_graphs():
    return torch._dynamo.utils.counters['stats']['unique_graphs']


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


@pytest.fixture(scope='module')
def compiled(build_tiny, make_batch, detect):
    """A detector, the same compiled, and the number of graphs after the first image."""
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()
    plain = build_tiny(FASTER_RCNN)
    fast = accelerate(copy.deepcopy(plain))
    detect(fast, make_batch(plain))
    return plain, fast, count_graphs()


def test_compiled_detector_gives_the_same_detections(compiled, make_batch, detect):
    plain, fast, graphs = compiled
    batch = make_batch(plain)
    # Without vector instructions, inductor's code does not compile, and accelerate goes without it.
    has_vectors = torch.backends.cpu.get_cpu_capability() != 'DEFAULT'
    assert graphs == (COMPILED_PARTS if has_vectors else 0)
    assert_same_detections(detect(fast, batch), detect(plain, batch), 1e-3)


@pytest.mark.parametrize(('height', 'width'), [(96, 64), (128, 160), (64, 176)])
def test_another_image_size_compiles_nothing_anew(compiled, make_batch, detect, height, width):
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


def test_names_and_values_of_the_weights_stay(compiled):
    plain, fast, _ = compiled
    weights = plain.state_dict()
    accelerated = fast.state_dict()
    assert list(accelerated) == list(weights)
    assert all(accelerated[key].equal(weights[key]) for key in weights)


def test_decoding_and_pooling_are_in_float32_under_bfloat16(build_tiny, make_batch, detect):
    detector = accelerate(build_tiny(FASTER_RCNN), compile=False, dtype='bf16')
    dtypes = {}
    for name, module in detector.named_modules():
        record_dtypes(module, name, dtypes)
    (found,) = detect(detector, make_batch(detector))
    assert dtypes['backbone.conv1'] == dtypes['neck.fpn_convs.0.conv'] == torch.bfloat16
    assert dtypes['neck'] == dtypes['rpn_head'] == dtypes['roi_head.bbox_head'] == torch.float32
    assert dtypes['roi_head.bbox_roi_extractor'] == torch.float32
    assert dtypes['roi_head.bbox_head.fc_cls'] == torch.bfloat16
    assert found.bboxes.dtype == found.scores.dtype == torch.float32


@pytest.mark.parametrize('fusion', ['none', 'complementary'])
def test_both_heads_of_double_head_run_in_bfloat16(build_tiny, make_batch, detect, fusion):
    detector = build_tiny(DOUBLE_HEAD)
    head = detector.roi_head.bbox_head
    head.fusion = fusion
    batch = make_batch(detector)
    (expected,) = detect(detector, batch)
    accelerate(detector, compile=False, dtype='bf16')
    dtypes = {}
    for name, module in head.named_modules():
        record_dtypes(module, name, dtypes)
    (actual,) = detect(detector, batch)
    assert dtypes['res_block'] == dtypes['conv_branch.3'] == dtypes['fc_branch.1'] == torch.bfloat16
    assert dtypes['fc_cls'] == dtypes['fc_reg'] == torch.float32
    torch.testing.assert_close(actual.scores[:5], expected.scores[:5], rtol=0.1, atol=0)


def record_dtypes(module, name, dtypes):
    def record(module, inputs, output):
        while isinstance(output, (tuple, list)):
            output = output[0]
        if isinstance(output, torch.Tensor):
            dtypes[name] = output.dtype

    module.register_forward_hook(record)


def test_bfloat16_detections_are_close(build_tiny, make_batch, detect):
    detector = build_tiny(FASTER_RCNN)
    batch = make_batch(detector)
    (expected,) = detect(detector, batch)
    (actual,) = detect(accelerate(detector, compile=False, dtype=torch.bfloat16), batch)
    torch.testing.assert_close(actual.scores[:5], expected.scores[:5], rtol=0.1, atol=0)
    assert not actual.scores[:5].equal(expected.scores[:5])


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


class Wrapper(nn.Module):
    """What DistributedDataParallel and test-time augmentation have in common."""

    def __init__(self, module):
        super().__init__()
        self.module = module


def test_wrapped_detector_is_reached_and_returned_wrapped(build_tiny):
    detector = build_tiny(FASTER_RCNN)
    wrapped = Wrapper(Wrapper(detector))
    assert accelerate(wrapped, compile=False) is wrapped
    assert 'forward' in vars(detector.backbone) and 'forward' in vars(detector.neck)


def test_no_compilation_and_no_low_precision_where_gradients_are_recorded(build_tiny, make_batch):
    """In evaluation mode too, as where a detector is trained with its norms frozen."""
    detector = accelerate(build_tiny(RETINANET_CONF), dtype='bf16').eval()
    maps = detector.extract_feat(make_batch(detector)['inputs'])
    outputs = detector.bbox_head(maps)
    assert maps[0].dtype == outputs[0][0].dtype == torch.float32
    assert outputs[0][0].requires_grad
    parts = detector.backbone, detector.neck, detector.bbox_head
    assert all(part.forward.compiled is None for part in parts)


def test_training_mode_without_gradients_is_left_alone(build_tiny, make_batch):
    detector = accelerate(build_tiny(RETINANET_CONF), dtype='bf16').train()
    with torch.no_grad():
        maps = detector.extract_feat(make_batch(detector)['inputs'])
    assert maps[0].dtype == torch.float32
    assert detector.backbone.forward.compiled is None


@pytest.fixture
def no_compiler(monkeypatch):
    """Hide the C++ compiler, and what it compiled before."""
    from torch._inductor import config, cpp_builder

    forwards._warn_once.cache_clear()
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
    options = dict(channels_last=False, compile=True, dtype=None, low_outputs=False)
    with torch.no_grad(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        for part in parts:
            expected = part(image)
            forwards.replace_forward(part, forwards.PartForward(part.eval(), **options))
            assert part(image).equal(expected)
            assert part.forward.compile is False
    texts = [str(w.message) for w in caught if 'accelerate:' in str(w.message)]
    assert len(texts) == 1 and 'without torch.compile' in texts[0]


def test_part_without_low_precision_runs_in_float32(build_tiny, make_batch, detect):
    detector = build_tiny(FASTER_RCNN)

    class Picky(nn.Module):
        def forward(self, features):
            if features.dtype == torch.bfloat16:
                raise NotImplementedError('not implemented for BFloat16')
            return features

    detector.rpn_head.rpn_conv.register_forward_hook(lambda m, i, output: Picky()(output))
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


def test_weights_that_are_standardized_stay_as_they_are(build_tiny):
    """MMDetection's ``ConvAWS`` views its weights as they lie in memory."""
    detector = build_tiny(FASTER_RCNN, conv_cfg=dict(type='ConvAWS'))
    accelerate(detector, compile=False)
    with torch.no_grad():
        detector.backbone(torch.rand(1, 3, 32, 32))


def test_gradients_in_evaluation_mode_are_plain_float32s(build_tiny, make_batch):
    plain = build_tiny(FASTER_RCNN)
    fast = accelerate(copy.deepcopy(plain), dtype='bf16')
    image = make_batch(plain)['inputs']
    for detector in (plain, fast):
        sum(level.sum() for level in detector.extract_feat(image)).backward()
    assert fast.backbone.forward.compiled is fast.neck.forward.compiled is None
    name = 'layer4.0.conv2.weight'
    gradients = [detector.backbone.get_parameter(name).grad for detector in (plain, fast)]
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-3 * gradients[0].abs().max().item())


def test_second_call_replaces_the_first_and_all_off_restores(build_tiny):
    detector = build_tiny(FASTER_RCNN)
    accelerate(detector, dtype='bf16')
    accelerate(detector, compile=False)
    assert detector.backbone.forward.dtype is None
    accelerate(detector, channels_last=False, compile=False)
    assert not any('forward' in vars(module) for module in detector.modules())
    assert detector.backbone.layer1[0].conv2.weight.is_contiguous()


def test_roi_head_alone_is_accelerated(build_tiny):
    roi_head = accelerate(build_tiny(FASTER_RCNN).roi_head)
    assert isinstance(roi_head.bbox_head, BBoxHead)
    assert 'forward' in vars(roi_head.bbox_head)


def test_unknown_dtype_names_the_allowed_ones(build_tiny):
    with pytest.raises(ValueError, match=r"dtype must be None or one of \['auto', 'bf16', "):
        accelerate(build_tiny(FASTER_RCNN), dtype='int8')


def test_fp16_on_a_cpu_is_refused(build_tiny):
    with pytest.raises(ValueError, match='needs a GPU'):
        accelerate(build_tiny(FASTER_RCNN), dtype='fp16')


def test_model_without_parts_is_refused():
    with pytest.raises(ValueError, match='must be a detector.*got <class .*Linear'):
        accelerate(nn.Linear(2, 2))
