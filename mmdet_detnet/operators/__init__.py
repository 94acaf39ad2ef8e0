"""The functions of mmcv's compiled module ``mmcv._ext`` in PyTorch, for an mmcv without it.

Each file has the functions of one operator, with the names and calling convention of mmcv 2.1.0:
results are written to tensors that ``mmcv.ops`` allocates. See docs/operators.md.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from . import (
    carafe,
    deform_conv,
    deform_roi_pool,
    focal_loss,
    masked_conv,
    ms_deform_attn,
    nms,
    roi_align,
    roi_pool,
    sync_bn,
)


def get_compiler_version() -> str:
    """Answer ``mmcv.ops.get_compiler_version``: no compiler made these operators."""
    return 'not compiled (PyTorch, by mmdet_detnet)'


def without_autocast(function: Callable) -> Callable:
    """Have autocast leave the steps of an operator alone, as it does those of a compiled one."""

    @wraps(function)
    def compute(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
        if tensor.is_meta:  # torch has no autocast for shapes alone
            return function(tensor, *args, **kwargs)
        with torch.autocast(tensor.device.type, enabled=False):
            return function(tensor, *args, **kwargs)

    return compute


FUNCTIONS = {
    function.__name__: without_autocast(function)
    for function in (
        carafe.carafe_backward,
        carafe.carafe_forward,
        deform_conv.deform_conv_backward_input,
        deform_conv.deform_conv_backward_parameters,
        deform_conv.deform_conv_forward,
        deform_conv.modulated_deform_conv_backward,
        deform_conv.modulated_deform_conv_forward,
        deform_roi_pool.deform_roi_pool_backward,
        deform_roi_pool.deform_roi_pool_forward,
        focal_loss.sigmoid_focal_loss_backward,
        focal_loss.sigmoid_focal_loss_forward,
        masked_conv.masked_col2im_forward,
        masked_conv.masked_im2col_forward,
        ms_deform_attn.ms_deform_attn_backward,
        ms_deform_attn.ms_deform_attn_forward,
        nms.nms,
        nms.nms_match,
        nms.softnms,
        roi_align.roi_align_backward,
        roi_align.roi_align_forward,
        roi_pool.roi_pool_backward,
        roi_pool.roi_pool_forward,
        sync_bn.sync_bn_backward_data,
        sync_bn.sync_bn_backward_param,
        sync_bn.sync_bn_forward_mean,
        sync_bn.sync_bn_forward_output,
        sync_bn.sync_bn_forward_var,
    )
} | dict.fromkeys(('get_compiler_version', 'get_compiling_cuda_version'), get_compiler_version)
