"""The public names of the package, loaded on first use."""

import subprocess
import sys

import pytest

import guided
import guided.backbones
import guided.figures
import guided.guidance
import guided.metrics
import guided.training


def test_importing_the_packages_imports_no_torch():
    code = (
        "import sys, guided, guided.backbones, guided.figures, guided.guidance, guided.metrics, "
        "guided.training; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    "package",
    [guided, guided.backbones, guided.figures, guided.guidance, guided.metrics, guided.training],
)
def test_every_public_name_is_found(package):
    names = dir(package)
    assert names
    assert all(getattr(package, name) is not None for name in names)
    assert len(set(names)) == len(names)


def test_the_version_is_the_distributions():
    assert guided.__version__.count(".") == 2
