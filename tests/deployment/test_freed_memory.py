import subprocess
import sys

MEGABYTE = 2**20
# Prints by how many bytes the process has grown after a tensor of 64 MB is freed.
PROGRAM = """
import resource

import torch

from mmdet_detnet.deployment import keep_freed_memory


def used():
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * resource.getpagesize()


{call}
before = used()
torch.ones(2**24)
print(used() - before)
"""


def grow(call: str) -> int:
    program = [sys.executable, '-c', PROGRAM.format(call=call)]
    return int(subprocess.run(program, check=True, capture_output=True, text=True).stdout)


def test_memory_of_a_freed_tensor_is_kept_only_on_request() -> None:
    assert grow('keep_freed_memory()') > 48 * MEGABYTE
    assert grow('pass') < 16 * MEGABYTE
