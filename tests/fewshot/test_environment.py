"""Versions, revision and hardware of a result."""

import platform
import subprocess
from importlib.metadata import version

import pytest
import torch

from fewshot import environment
from fewshot.environment import choose_device, hardware, versions
from guided.errors import InputError


def test_versions_are_the_installed_ones(monkeypatch):
    monkeypatch.setattr(environment, "PACKAGES", (*environment.PACKAGES, "no-such-package"))
    found = versions()
    assert found["torch"] == version("torch")
    assert found["guided-fewshot"] == version("guided-fewshot")
    assert found["python"] == platform.python_version()
    assert found["no-such-package"] is None
    assert "git" in found


@pytest.fixture
def unasked():
    """This process has not asked for its revision yet."""
    environment.revision.cache_clear()
    yield
    environment.revision.cache_clear()


@pytest.mark.usefixtures("unasked")
def test_the_revision_is_that_of_the_code_that_was_loaded(monkeypatch):
    said = iter(["environment.py", "first", "environment.py", "after a commit"])

    def run(*_, **__):
        return subprocess.CompletedProcess((), 0, stdout=f"{next(said)}\n")

    monkeypatch.setattr(environment.subprocess, "run", run)
    assert versions()["git"] == versions()["git"] == "first"


@pytest.mark.usefixtures("unasked")
@pytest.mark.parametrize(
    "failure", [FileNotFoundError(), subprocess.TimeoutExpired("git", 10), PermissionError()]
)
def test_no_git_is_no_revision(monkeypatch, failure):
    def run(*_, **__):
        raise failure

    monkeypatch.setattr(environment.subprocess, "run", run)
    assert versions()["git"] is None


@pytest.mark.usefixtures("unasked")
def test_another_repository_around_an_installed_package_is_not_its_revision(tmp_path, monkeypatch):
    for command in (["init", "-q"], [*COMMITTER, "commit", "-q", "--allow-empty", "-m", "outer"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    installed = tmp_path / "environment.py"
    installed.touch()
    monkeypatch.setattr(environment, "__file__", str(installed))
    assert environment.revision() is None


COMMITTER = ["-c", "user.name=a", "-c", "user.email=a@b"]


def test_hardware_and_devices(monkeypatch):
    facts = hardware("cpu")
    assert (facts["device"], facts["threads"]) == ("cpu", torch.get_num_threads())
    assert facts["cores"] >= 1
    assert "accelerator" not in facts
    for available, device in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda found=available: found)
        assert (choose_device("auto"), choose_device("cpu")) == (device, "cpu")
    with pytest.raises(InputError, match=r"^device: cuda:1 is not available on this machine"):
        choose_device("cuda:1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("cuda:1") == "cuda:1"
    with pytest.raises(InputError, match=r"^device: cuda:2 is not available .* which has 2"):
        choose_device("cuda:2")
    for name in ("tpu", "cudas", "cpu:x", ""):
        with pytest.raises(InputError, match=r"^device: expected auto, cpu or cuda, got"):
            choose_device(name)
