"""The functions of mmcv's compiled module ``mmcv._ext`` in PyTorch, for mmcv without a compiler.

Each file has the functions of one operator, with the names and the calling convention of mmcv
2.1.0: results are written into tensors that ``mmcv.ops`` allocates. docs/operators.md lists them.
"""

from .provider import describe_operators, has_compiled_operators, provide_operators

__all__ = ['describe_operators', 'has_compiled_operators', 'provide_operators']
