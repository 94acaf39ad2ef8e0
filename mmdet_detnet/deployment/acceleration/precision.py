"""Precision of inference, and which devices are fast at it."""

import warnings
from pathlib import Path

import torch
from torch import nn

from mmdet_detnet.arguments import reject

DTYPES = {'bf16': torch.bfloat16, 'fp16': torch.float16}
AUTO = 'auto'
CPU_INFO = Path('/proc/cpuinfo')
# Names of the instructions in Linux, for x86 and ARM.
CPU_FLAGS = {'avx512_bf16', 'amx_bf16', 'bf16'}
# Ampere. Older NVIDIA GPUs emulate bfloat16.
MIN_CUDA_CAPABILITY = (8, 0)


def choose_dtype(dtype: str | torch.dtype | None, model: nn.Module) -> torch.dtype | None:
    """Convert the user's choice to a type for autocast.

    Args:
        dtype: As for :func:`.accelerate`.
        model: Its parameters are on the device in question.

    Returns:
        The type; None for float32.

    Raises:
        ValueError: If ``dtype`` is unknown, or float16 on a CPU.
    """
    if dtype is not None and dtype not in (AUTO, *DTYPES, *DTYPES.values()):
        reject('accelerate', 'dtype', dtype, f'None or one of {[AUTO, *DTYPES]}')
    devices = {parameter.device for parameter in model.parameters()}
    if dtype == AUTO:
        return torch.bfloat16 if devices and all(map(has_bfloat16, devices)) else None
    precision = DTYPES[dtype] if isinstance(dtype, str) else dtype
    if {device.type for device in devices} == {'cpu'}:
        _check_cpu(precision)
    return precision


def has_bfloat16(device: torch.device) -> bool:
    """Tell whether a device has instructions for bfloat16.

    Args:
        device: A CPU (flags are known on Linux only) or a GPU.

    Returns:
        Whether it is known to have them.
    """
    if device.type == 'cuda':
        return torch.cuda.get_device_capability(device) >= MIN_CUDA_CAPABILITY
    if device.type != 'cpu' or not CPU_INFO.is_file():
        return False
    return not CPU_FLAGS.isdisjoint(CPU_INFO.read_text().split())


def _check_cpu(precision: torch.dtype | None) -> None:
    if precision == torch.float16:
        raise ValueError("accelerate: dtype='fp16' needs a GPU; on a CPU, dtype='bf16' works.")
    if precision == torch.bfloat16 and CPU_INFO.is_file() and not has_bfloat16(torch.device('cpu')):
        warnings.warn(
            "accelerate: this CPU has no instructions for bfloat16, so dtype='bf16' is likely "
            "slower than float32; dtype='auto' uses it only on CPUs that have them.",
            stacklevel=4,
        )
