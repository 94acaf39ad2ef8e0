"""Multi-scale deformable attention (https://arxiv.org/abs/2010.04159)."""

import torch
from torch import Tensor


def ms_deform_attn_forward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    im2col_step: int,
) -> Tensor:
    """Attend, by the PyTorch function that mmcv itself uses on the CPU.

    Args:
        value: ``(N, num_keys, num_heads, channels of a head)``.
        value_spatial_shapes: Height and width of each level, ``(num_levels, 2)``.
        value_level_start_index: Not used: the levels follow each other.
        sampling_locations: (x, y) in parts of the map,
            ``(N, num_queries, num_heads, num_levels, num_points, 2)``.
        attention_weights: ``(N, num_queries, num_heads, num_levels, num_points)``.
        im2col_step: Not used.

    Returns:
        ``(N, num_queries, num_heads * channels of a head)``.
    """
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch

    shapes = [tuple(shape) for shape in value_spatial_shapes.tolist()]
    return multi_scale_deformable_attn_pytorch(value, shapes, sampling_locations, attention_weights)


def ms_deform_attn_backward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    im2col_step: int,
) -> None:
    """Compute the derivatives.

    Args:
        value: As forward.
        value_spatial_shapes: As forward.
        value_level_start_index: Not used.
        sampling_locations: As forward.
        attention_weights: As forward.
        grad_output: Derivative by the result.
        grad_value: Receives the derivative by ``value``.
        grad_sampling_loc: Receives the derivative by ``sampling_locations``.
        grad_attn_weight: Receives the derivative by ``attention_weights``.
        im2col_step: Not used.
    """
    inputs = [
        tensor.detach().requires_grad_()
        for tensor in (value, sampling_locations, attention_weights)
    ]
    value, locations, weights = inputs
    with torch.enable_grad():
        output = ms_deform_attn_forward(
            value, value_spatial_shapes, value_level_start_index, locations, weights, im2col_step
        )
        gradients = torch.autograd.grad(output, inputs, grad_output)
    results = (grad_value, grad_sampling_loc, grad_attn_weight)
    for result, gradient in zip(results, gradients, strict=True):
        result.copy_(gradient)
