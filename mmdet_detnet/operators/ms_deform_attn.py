"""Multi-scale deformable attention (https://arxiv.org/abs/2010.04159)."""

import torch
from torch import Tensor

from mmdet_detnet.precision import widen


def ms_deform_attn_forward(
    value: Tensor,  # (N, num_keys, num_heads, channels of a head)
    value_spatial_shapes: Tensor,  # height and width of each level, (num_levels, 2)
    value_level_start_index: Tensor,  # unused, because the levels are consecutive
    # (x, y) as a fraction of the map, (N, num_queries, num_heads, num_levels, num_points, 2).
    sampling_locations: Tensor,
    attention_weights: Tensor,  # (N, num_queries, num_heads, num_levels, num_points)
    im2col_step: int,  # unused
) -> Tensor:
    """Attend with the PyTorch function that mmcv uses on the CPU.

    Returns:
        ``(N, num_queries, num_heads * channels of a head)``.
    """
    # Imported here, because mmcv.ops imports this module first.
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch

    shapes = [tuple(shape) for shape in value_spatial_shapes.tolist()]
    inputs = widen(value), shapes, widen(sampling_locations), widen(attention_weights)
    return multi_scale_deformable_attn_pytorch(*inputs).to(value.dtype)


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
    """Write the gradients of values, locations and weights to the three ``grad_`` tensors."""
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
