import subprocess
import sys

import pytest

SCRIPT = """
import ctypes, psutil
from torchdeck.core.training.malloc import give_back_memory, keep_freed_memory
from ctypes import c_size_t, c_void_p
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = c_void_p, [c_size_t], [c_void_p]
size = 200 * 2**20
resident = lambda: psutil.Process().memory_info().rss
if {keep}:
    keep_freed_memory()
block = libc.malloc(size)
ctypes.memset(block, 1, size)
full = resident()
libc.free(block)
freed = resident()
give_back_memory()
print(int(full - freed < size / 2), int(full - resident() > size / 2))
"""


def kept_and_given_back(keep: bool) -> tuple[bool, bool]:
    shown = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(keep=keep)], capture_output=True, text=True, check=True, timeout=60
    )
    kept, given_back = shown.stdout.split()
    return kept == "1", given_back == "1"


@pytest.mark.skipif(sys.platform != "linux", reason="the heap of glibc is tuned")
def test_freed_memory_is_kept_for_the_next_step_and_given_back_in_the_end() -> None:
    assert kept_and_given_back(keep=True) == (True, True)
    assert kept_and_given_back(keep=False) == (False, True)
