"""Temporary files of killed processes are removed, those of living ones are not."""

import os
import subprocess
import sys
import time

import pytest

from guided.storage.files import write_bytes, write_picture
from guided.storage.temporary import DAY, SUFFIX, sweep, temporary_file, temporary_folder

WRITER = """
import sys, time
from pathlib import Path
from guided.storage.temporary import temporary_file, temporary_folder
place = Path(sys.argv[1])
with temporary_file(place / "below" / "file"), temporary_folder(place / "bank") as folder:
    (folder / "images.npy").write_bytes(b"half")
    print("written", flush=True)
    time.sleep(60)
"""


def left(folder):
    return sorted(folder.rglob(f"*{SUFFIX}"))


def test_a_process_keeps_its_files_until_it_is_killed(tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / ".mine.tmp").write_bytes(b"another program's")
    start = [sys.executable, "-c", WRITER, str(tmp_path)]
    with subprocess.Popen(start, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout.readline() == "written\n"
        there = left(tmp_path)
        assert len(there) == 2
        sweep(tmp_path)
        assert left(tmp_path) == there
        writer.kill()
    assert left(tmp_path) == there
    sweep(tmp_path, below=False)
    assert [path.parent.name for path in left(tmp_path)] == ["below"]
    sweep(tmp_path)
    assert sorted(p.name for p in tmp_path.rglob("*")) == [".mine.tmp", "below"]
    sweep(tmp_path / "nowhere")


def test_what_is_swept_before_it_is_locked_is_made_again(tmp_path, monkeypatch):
    """Between the making of a file and the lock on it, another process may take it for left."""
    import guided.storage.temporary as module

    lock, swept = module.lock, []

    def late(descriptor, *, wait):
        if wait and len(swept) < 2:
            swept.append(left(tmp_path))
            monkeypatch.setattr(module, "lock", lock)
            sweep(tmp_path)
            monkeypatch.setattr(module, "lock", late)
        return lock(descriptor, wait=wait)

    monkeypatch.setattr(module, "lock", late)
    with temporary_file(tmp_path / "file") as (handle, path):
        handle.write(b"whole")
        path.replace(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"whole"
    with temporary_folder(tmp_path / "bank") as folder:
        folder.rename(tmp_path / "bank")
    assert len(swept) == 2 and not left(tmp_path)


def test_without_locks_age_decides(tmp_path, monkeypatch):
    monkeypatch.setattr("guided.storage.temporary.lock", lambda descriptor, wait: None)
    new, old = (tmp_path / f".{name}{SUFFIX}" for name in ("new", "old"))
    for path in (new, old):
        path.write_bytes(b"")
    long_ago = time.time() - DAY - 60
    os.utime(old, (long_ago, long_ago))
    sweep(tmp_path)
    assert left(tmp_path) == [new]


@pytest.mark.skipif(os.name != "posix", reason="folders are not synced elsewhere")
def test_the_file_is_on_disk_before_its_name_and_its_name_before_the_end(tmp_path, monkeypatch):
    done = []
    sync = os.fsync
    kinds = {True: "folder", False: "file"}

    def noted(descriptor):
        is_folder = os.path.samestat(os.fstat(descriptor), tmp_path.stat())
        done.append((kinds[is_folder], (tmp_path / "file").exists()))
        sync(descriptor)

    monkeypatch.setattr("os.fsync", noted)
    write_bytes(tmp_path / "file", b"content")
    assert done == [("file", False), ("folder", True)]
    write_picture(tmp_path / "picture", lambda handle: handle.write(b"pixels"))
    assert len(done) == 2
