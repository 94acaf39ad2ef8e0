"""All functions that stand in for those of ``mmcv._ext``, by name."""

from .nms import nms
from .nms_match import nms_match
from .roi_align import roi_align_backward, roi_align_forward
from .sigmoid_focal_loss import sigmoid_focal_loss_backward, sigmoid_focal_loss_forward
from .soft_nms import softnms
from .softmax_focal_loss import softmax_focal_loss_backward, softmax_focal_loss_forward
from .versions import get_compiler_version, get_compiling_cuda_version

FUNCTIONS = {
    function.__name__: function
    for function in (
        get_compiler_version,
        get_compiling_cuda_version,
        nms,
        nms_match,
        roi_align_backward,
        roi_align_forward,
        sigmoid_focal_loss_backward,
        sigmoid_focal_loss_forward,
        softmax_focal_loss_backward,
        softmax_focal_loss_forward,
        softnms,
    )
}
