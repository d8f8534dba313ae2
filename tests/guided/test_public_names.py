"""The public names of the package, loaded on first use."""

import subprocess
import sys

import guided

PACKAGES = ["backbones", "figures", "guidance", "metrics", "training"]
PACKAGES = ["guided", *(f"guided.{package}" for package in PACKAGES)]


def test_importing_the_packages_imports_no_torch():
    code = f"import sys, {', '.join(PACKAGES)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_version_is_the_distributions():
    assert guided.__version__.count(".") == 2
