"""``tools/publish.py`` as a module."""

import importlib.util
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[3] / "tools"


@pytest.fixture(scope="session")
def tool():
    spec = importlib.util.spec_from_file_location("publish", TOOLS / "publish.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
