"""A few seconds of the fuzzer, and that it sees what it looks for."""

import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent

PLANTED = """
import json, os, sys, time
from pathlib import Path
sys.path[:0] = sys.argv[1:]
import batches
from batches import Batch
from readers import Reader
from guided.errors import InputError

batches.SECONDS = 1

def raises(path):
    raise KeyError("a")

def refuses(path):
    raise InputError("one line")

def talks(path):
    raise InputError("two\\nlines")

def fills(path):
    try:
        bytearray(3 * 10**9)
    except MemoryError as error:
        raise InputError("one line") from error

readers = {
    "good": Path.read_bytes,
    "refuses": refuses,
    "raises": raises,
    "talks": talks,
    "fills": fills,
    "hangs": lambda path: time.sleep(60),
    "ends": lambda path: os.abort(),
    "writes": lambda path: Path("../../outside").write_text("x"),
    "starts": lambda path: os.system("true"),
}
box = Path.cwd() / "box"
box.mkdir()
faults = {}
for name, read in readers.items():
    found = Batch(name, Reader("x", read, [b"a"]), 0, box, Path("none")).run(3, 20)[2]
    faults[name] = sorted({fault for fault, _ in found})
print(json.dumps(faults))
"""
SEEN = {
    "good": "",
    "refuses": "",
    "raises": "KeyError in <string>",
    "talks": "a message of several lines",
    "fills": "takes too much memory",
    "hangs": "hangs for more than 1 s",
    "ends": "ended by SIGABRT",
    "writes": "writes outside",
    "starts": "starts a program (os.system)",
}


def run(*arguments, cwd):
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_a_reader_does_wrong_is_seen(tmp_path):
    done = run("-c", PLANTED, HERE, HERE.parents[1], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    faults = json.loads(done.stdout.splitlines()[-1])
    assert faults.keys() == SEEN.keys()
    for name, words in SEEN.items():
        (first, *_) = faults[name] or [""]
        assert first.startswith(words) and bool(first) == bool(words), (name, faults[name])


def test_no_reader_fails(tmp_path):
    file = tmp_path / "figures.json"
    done = run(HERE, "--each", 250, "--json", file, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert set(json.loads(file.read_text())["readers"].values()) == {250}
