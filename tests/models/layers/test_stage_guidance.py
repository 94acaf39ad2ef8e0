"""Pyramid, transformation and fusions of IPG-Net against plain torch and the paper's equations."""

import pytest
import torch
from helpers import count_parameters
from torch.nn import functional as F

from mmdet_detnet.models.layers import (
    AddFusion,
    ConcatFusion,
    ImagePyramidTransformation,
    ProductFusion,
    StageGuidance,
    SumFusion,
    shrink_image,
)

CHANNELS = 8
BATCH_NORM_EPS = LAYER_NORM_EPS = 1e-5


def randomized(module):
    """Put numbers into all weights and statistics that no mistake in their use would survive."""
    module = module.double().eval()
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) + 0.5 if 'var' in name else torch.randn_like(value))
    return module


def feature_maps():
    return [torch.randn(2, CHANNELS, 5, 7, dtype=torch.double) for _ in range(2)]


def normalize(x, norm):
    """Restate batch norm with fixed statistics."""
    shape = (-1, 1, 1)
    standard = (x - norm.running_mean.view(shape)) / (
        norm.running_var.view(shape) + BATCH_NORM_EPS
    ).sqrt()
    return standard * norm.weight.view(shape) + norm.bias.view(shape)


def linear(x, transform):
    """Restate one W: a convolution that keeps the size, then batch norm."""
    weight = transform.conv.weight
    return normalize(F.conv2d(x, weight, padding=weight.shape[-1] // 2), transform.bn)


def test_bilinear_levels_come_directly_from_the_image():
    image = torch.rand(1, 3, 8, 12, dtype=torch.double)
    half = F.avg_pool2d(image, 2)
    # A quarter: the mean of the four pixels in the middle of each 4x4 block, not of all 16.
    quarter = F.avg_pool2d(F.pad(image, (-1, -1, -1, -1)), 2, stride=4)
    torch.testing.assert_close(shrink_image(image, 2), half)
    torch.testing.assert_close(shrink_image(image, 4), quarter)


def test_nearest_levels_take_every_nth_pixel():
    image = torch.rand(1, 3, 8, 12)
    assert torch.equal(shrink_image(image, 4, 'nearest'), image[..., ::4, ::4])


def test_level_zero_is_the_image():
    image = torch.rand(1, 3, 5, 7)
    assert shrink_image(image, 1) is image


@pytest.mark.parametrize('interpolation', ['bilinear', 'nearest'])
def test_sizes_of_levels_are_rounded_up(interpolation):
    shapes = [
        tuple(shrink_image(torch.rand(1, 3, 17, 1), factor, interpolation).shape[2:])
        for factor in (2, 4, 8)
    ]
    assert shapes == [(9, 1), (5, 1), (3, 1)]


def test_transformation_is_a_resnet_stem_and_one_bottleneck():
    module = randomized(ImagePyramidTransformation(planes=4, stem_channels=6))
    image = torch.randn(2, 3, 21, 34, dtype=torch.double)
    stem, block = module.stem[0], module.bottleneck[0]
    x = F.relu(normalize(F.conv2d(image, stem.conv.weight, stride=2, padding=3), stem.bn))
    x = F.max_pool2d(x, 3, stride=2, padding=1)
    main = F.relu(normalize(F.conv2d(x, block.conv1.weight), block.bn1))
    main = F.relu(normalize(F.conv2d(main, block.conv2.weight, padding=1), block.bn2))
    main = normalize(F.conv2d(main, block.conv3.weight), block.bn3)
    shortcut = normalize(F.conv2d(x, block.downsample[0].weight), block.downsample[1])
    torch.testing.assert_close(module(image), F.relu(main + shortcut))


def test_shared_stem_is_used_and_not_owned():
    module = ImagePyramidTransformation(planes=4, stem_channels=6, share_stem=True).eval()
    constant = torch.ones(1, 6, 3, 3)
    assert torch.equal(
        module(torch.rand(1, 3, 9, 9), lambda _: constant), module.bottleneck(constant)
    )
    assert not hasattr(module, 'stem')


def test_zero_initialized_transformation_starts_at_zero_and_learns():
    module = ImagePyramidTransformation(planes=4, stem_channels=6, zero_init=True)
    optimizer = torch.optim.SGD(module.parameters(), lr=1)
    image = torch.rand(2, 3, 32, 32)
    assert torch.count_nonzero(module(image)) == 0
    for _ in range(2):
        optimizer.zero_grad()
        module(image).sum().backward()
        optimizer.step()
    assert all(parameter.grad.count_nonzero() > 0 for parameter in module.bottleneck.parameters())


def test_adding():
    image_features, features = feature_maps()
    assert torch.equal(AddFusion()(image_features, features), image_features + features)


@pytest.mark.parametrize('kernel_size', [1, 3])
def test_sum_is_equation_2(kernel_size):
    fusion = randomized(SumFusion(CHANNELS, kernel_size))
    image_features, features = feature_maps()
    both = linear(image_features, fusion.image_transform) + linear(features, fusion.stage_transform)
    torch.testing.assert_close(fusion(image_features, features), linear(both, fusion.out_transform))


@pytest.mark.parametrize('kernel_size', [1, 3])
def test_product_is_equation_3(kernel_size):
    fusion = randomized(ProductFusion(CHANNELS, kernel_size))
    image_features, features = feature_maps()
    product = linear(image_features, fusion.image_transform) * linear(
        features, fusion.stage_transform
    )
    x = product + features
    variance, mean = torch.var_mean(x, dim=1, keepdim=True, correction=0)
    gain, shift = (p.view(-1, 1, 1) for p in (fusion.layer_norm.weight, fusion.layer_norm.bias))
    expected = (x - mean) / (variance + LAYER_NORM_EPS).sqrt() * gain + shift
    torch.testing.assert_close(fusion(image_features, features), expected)


@pytest.mark.parametrize('kernel_size', [1, 3])
def test_concat_is_equation_4(kernel_size):
    fusion = randomized(ConcatFusion(CHANNELS, kernel_size))
    image_features, features = feature_maps()
    both = torch.cat(
        [linear(image_features, fusion.image_transform), linear(features, fusion.stage_transform)],
        dim=1,
    )
    assert fusion.out_transform.conv.kernel_size == (1, 1)
    torch.testing.assert_close(fusion(image_features, features), linear(both, fusion.out_transform))


def test_relu_ends_every_transform_if_wanted():
    fusion = randomized(SumFusion(CHANNELS, with_relu=True))
    image_features, features = feature_maps()
    both = F.relu(linear(image_features, fusion.image_transform)) + F.relu(
        linear(features, fusion.stage_transform)
    )
    torch.testing.assert_close(
        fusion(image_features, features), F.relu(linear(both, fusion.out_transform))
    )


@pytest.mark.parametrize(
    ('fusion', 'parameters'),
    [
        (SumFusion, (7_080_960, 28_317_696, 113_258_496)),
        (ProductFusion, (4_721_664, 18_880_512, 75_509_760)),
        (ConcatFusion, (5_245_952, 20_977_664, 83_898_368)),
    ],
)
def test_parameter_counts_of_the_fusions(fusion, parameters):
    with torch.device('meta'):
        counts = tuple(count_parameters(fusion(channels)) for channels in (512, 1024, 2048))
    assert counts == parameters


def test_group_norm_reaches_transformation_and_fusion():
    norm_cfg = dict(type='GN', num_groups=2)
    transformation = ImagePyramidTransformation(planes=2, stem_channels=4, norm_cfg=norm_cfg)
    guidance = StageGuidance(2, transformation, SumFusion(CHANNELS, norm_cfg=norm_cfg))
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in guidance.modules())
    assert guidance(torch.rand(1, 3, 9, 9), torch.rand(1, CHANNELS, 2, 2)).shape[2:] == (2, 2)


def test_image_features_come_first_in_the_fusion():
    transformation = randomized(ImagePyramidTransformation(planes=2, stem_channels=4))
    fusion = randomized(ProductFusion(CHANNELS))
    image, features = (
        torch.randn(1, n, *size).double() for n, size in ((3, (64, 64)), (8, (8, 8)))
    )
    level = shrink_image(image, 2)
    actual = StageGuidance(2, transformation, fusion)(image, features)
    assert torch.equal(actual, fusion(transformation(level), features))
    assert not torch.allclose(actual, fusion(features, transformation(level)))
