"""Reports of ``mmcv.ops.get_compiler_version`` and similar functions."""


def get_compiler_version() -> str:
    """Say that no compiler made these operators."""
    return 'not compiled (PyTorch, by mmdet_detnet)'


def get_compiling_cuda_version() -> str:
    """Say that no CUDA compiler made these operators; they run on GPUs as PyTorch does."""
    return 'not compiled (PyTorch, by mmdet_detnet)'
