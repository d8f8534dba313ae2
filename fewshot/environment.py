"""The environment of a result: versions, revision, hardware."""

import os
import platform
import re
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("guided-fewshot", "torch", "torchvision", "learn2learn", "numpy", "scipy")
UNKNOWN = "unknown"
"""A revision that was not recorded."""


def versions() -> dict[str, str | None]:
    """Installed versions, and the git revision of the source, if it is a checkout."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return {**found, "git": revision()}


@cache
def revision() -> str | None:
    """The git revision of the source when this process first asked; None outside a checkout.

    Later changes of the checkout are not in the code that was loaded.
    """
    source = Path(__file__)
    try:
        # A package that is installed within another repository is not that repository's.
        _git(source, "ls-files", "--error-unmatch", source.name)
        return _git(source, "describe", "--always", "--dirty", "--abbrev=12").strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _git(source: Path, *arguments: str) -> str:
    command = ["git", "-C", str(source.parent), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout


def hardware(device: str) -> dict[str, Any]:
    """The processor, its cores, torch's threads, and the accelerator in use."""
    import torch

    facts: dict[str, Any] = {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": device,
    }
    if device.startswith("cuda"):
        facts["accelerator"] = torch.cuda.get_device_name(device)
    return facts


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def choose_device(name: str) -> str:
    """``auto`` is cuda where there is one, else cpu.

    Raises:
        InputError: there is no such device on this machine.
    """
    import torch

    from guided.errors import InputError

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise InputError(f"device: expected auto, cpu or cuda, got {name!r}")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"device: {name} is not available on this machine; use cpu or auto")
    number, there = int(name.partition(":")[2] or 0), torch.cuda.device_count()
    if name.startswith("cuda") and number >= there:
        raise InputError(f"device: {name} is not available on this machine, which has {there}")
    return name
