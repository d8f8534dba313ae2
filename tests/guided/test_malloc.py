"""Memory of freed tensors, counted in page faults of a process of its own."""

import json
import platform
import subprocess
import sys

import pytest

from guided import malloc

SCRIPT = """
import json, resource, sys
import torch
from guided.malloc import reuse_memory

told = sys.argv[1] == "reuse" and reuse_memory()
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):  # until a place is found that fits
    torch.ones(2**24)
before = faults()
for _ in range(10):
    torch.ones(2**24)  # 64 MiB
print(json.dumps([told, faults() - before]))
"""


def run(how):
    command = [sys.executable, "-c", SCRIPT, how]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return json.loads(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")
def test_freed_tensors_are_not_cleared_by_the_kernel_again():
    (_, without), (told, faults) = run("leave"), run("reuse")
    assert told
    assert faults < 10 * 2**26 // 4096 / 100  # one in a hundred pages
    assert without > 10 * faults, "otherwise nothing was gained, and the call can go"


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(malloc.ctypes, "CDLL", lambda name: object())
    assert malloc.reuse_memory() is False
