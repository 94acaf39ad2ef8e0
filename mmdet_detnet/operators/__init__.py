"""The functions of mmcv's compiled module ``mmcv._ext`` in PyTorch, for an mmcv without it.

Each file has the functions of one operator, with the names and calling convention of mmcv 2.1.0:
results are written to tensors that ``mmcv.ops`` allocates. See docs/operators.md.
"""

from .provider import describe_operators, has_compiled_operators, provide_operators

__all__ = ['describe_operators', 'has_compiled_operators', 'provide_operators']
