"""Where a result was computed."""

import platform
import subprocess
from importlib.metadata import version

import pytest
import torch

from fewshot import environment
from fewshot.environment import choose_device, hardware, versions
from guided.errors import InputError


def test_versions_are_the_installed_ones():
    found = versions()
    assert found["torch"] == version("torch")
    assert found["guided-fewshot"] == version("guided-fewshot")
    assert found["python"] == platform.python_version()
    assert "git" in found


@pytest.mark.parametrize(
    "failure", [FileNotFoundError(), subprocess.TimeoutExpired("git", 10), PermissionError()]
)
def test_no_git_is_no_revision(monkeypatch, failure):
    def run(*_, **__):
        raise failure

    monkeypatch.setattr(environment.subprocess, "run", run)
    assert versions()["git"] is None


def test_a_package_that_is_not_installed_has_no_version(monkeypatch):
    monkeypatch.setattr(environment, "PACKAGES", ("no-such-package-at-all",))
    assert versions()["no-such-package-at-all"] is None


def test_hardware():
    facts = hardware("cpu")
    assert facts["device"] == "cpu"
    assert facts["cores"] >= 1
    assert facts["threads"] == torch.get_num_threads()
    assert "accelerator" not in facts


@pytest.mark.parametrize(("available", "device"), [(True, "cuda"), (False, "cpu")])
def test_auto_takes_the_accelerator_if_there_is_one(monkeypatch, available, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    assert choose_device("auto") == device
    assert choose_device("cpu") == "cpu"


def test_cuda_where_there_is_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=r"^device: cuda:1 is not available on this machine"):
        choose_device("cuda:1")


@pytest.mark.parametrize("name", ["tpu", "cudas", "cpu:x", ""])
def test_unknown_device(name):
    with pytest.raises(InputError, match=r"^device: expected auto, cpu or cuda, got"):
        choose_device(name)
