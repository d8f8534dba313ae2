"""A short run of the harness: commands that are killed, refused or damaged lose nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_no_fault_changes_a_number(tmp_path):
    output = tmp_path / "faults.json"
    given = ("--faults", "8", "--commands", "evaluate")
    places = ("--work", str(tmp_path / "work"), "--output", str(output))
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults", *given, *places],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(output.read_text())
    assert found["problems"] == []
    assert found["faults"] == 8
    assert found["commands"][0]["operations"] > 20
