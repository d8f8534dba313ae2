import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from fewshot.data import ImageBank
from fewshot.data.io.cache import cache_folder, cached_bank, identity, pixel_array
from guided.errors import InputError
from guided.storage.files import read_json


def small_bank():
    return ImageBank(
        torch.arange(24, dtype=torch.uint8).reshape(6, 1, 2, 2),
        torch.arange(6) // 3,
        ("ä", "b/c"),
        {"drawer": torch.arange(6) % 3},
        {"angle": torch.arange(6) / 7},
    )


def never():
    raise AssertionError("the bank was built again")


def test_built_once_for_each_name_and_settings(same):
    built = []
    for name, settings in (("toy", {"size": 1}), ("toy", 2), ("other", 2)):
        bank = cached_bank(name, settings, lambda: built.append(0) or small_bank())
        assert same(bank, small_bank())
    assert len(built) == 3
    cached_bank("toy", {"size": 1}, never).images.fill_(99)
    assert same(cached_bank("toy", {"size": 1}, never), small_bank()), "writing changes no file"


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux's list of maps")
def test_images_are_mapped_not_read(cache):
    bank = cached_bank("toy", 1, small_bank)  # mapped for as long as it is there
    maps = Path("/proc/self/maps").read_text()
    ranges = [line.split()[0] for line in maps.splitlines() if f"{cache}" in line]
    bounds = [[int(end, 16) for end in one.split("-")] for one in ranges]
    assert any(low <= bank.images.data_ptr() < high for low, high in bounds)


def test_a_changed_source_is_another_source(tmp_path):
    source = tmp_path / "source"
    seen = []
    for content, time in ((b"abc", 0), (b"abc", 0), (b"abd", 1), (b"abcd", 1)):
        source.write_bytes(content)
        os.utime(source, ns=(time, time))
        seen.append(identity([source]))
    assert seen[0] == seen[1]
    assert seen[1] != seen[2] != seen[3] != seen[1]


def test_two_writers_at_once(cache, same):
    both_miss = threading.Barrier(2)

    def build():
        both_miss.wait(timeout=30)
        return small_bank()

    with ThreadPoolExecutor(2) as pool:
        banks = list(pool.map(lambda _: cached_bank("toy", 1, build), range(2)))
    assert all(same(bank, small_bank()) for bank in banks)
    assert len(list(cache.iterdir())) == 1, "the loser's files are removed"


def test_a_failed_build_or_write_leaves_nothing_that_is_opened(cache, monkeypatch, same):
    def fail(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached_bank("toy", 1, fail)
    assert not list(cache.glob("**/*"))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("fewshot.data.io.cache.file_checksum", fail)
        cached_bank("toy", 1, small_bank)
    assert list(cache.iterdir()) == []
    assert same(cached_bank("toy", 1, small_bank), small_bank())


@pytest.mark.skipif(os.name != "posix", reason="sizes are limited so on Unix alone")
def test_a_disk_that_is_full_at_the_last_bytes_is_noticed(cache):
    """``numpy.save`` says nothing then."""
    import resource

    cached_bank("toy", 0, small_bank)
    (largest,) = {path.stat().st_size for path in cache.rglob("images.npy")}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest - 1, hard))
    try:
        with pytest.raises(InputError, match="cache cannot be written"):
            cached_bank("toy", 1, small_bank)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(list(cache.iterdir())) == 1


def flipped(path):
    content = bytearray(path.read_bytes())
    content[-3] ^= 4
    path.write_bytes(content)


DAMAGE = {
    "flipped": flipped,
    "empty": lambda path: path.write_bytes(b""),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "deleted": Path.unlink,
}


@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "factor-angle.npy", "bank.json"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_bank_is_built_again(damage, name, cache, capsys, same):
    cached_bank("toy", 1, small_bank)
    (folder,) = cache.iterdir()
    DAMAGE[damage](folder / name)
    assert same(cached_bank("toy", 1, small_bank), small_bank())
    said = capsys.readouterr().err
    assert f"{folder / name}" in said and "its images are decoded again" in said
    assert said.count("\n") == 1
    assert list(cache.iterdir()) == [folder]
    assert same(cached_bank("toy", 1, never), small_bank())


def test_workers_leave_the_checksums_to_the_process_that_started_them(cache, monkeypatch):
    cached_bank("toy", 1, small_bank)
    flipped(next(cache.glob("*/images.npy")))
    monkeypatch.setattr("multiprocessing.parent_process", lambda: "the command")
    cached_bank("toy", 1, never)


def test_a_cache_without_checksums_is_read(cache, same):
    cached_bank("toy", 1, small_bank)
    (file,) = cache.glob("*/bank.json")
    description = read_json(file)
    del description["files"]
    file.write_text(json.dumps(description))
    assert same(cached_bank("toy", 1, never), small_bank())


def test_what_a_killed_process_left_is_swept(cache):
    (cache / ".toy-0.abcd.guided.tmp").mkdir(parents=True)
    (cache / ".toy-0.abcd.guided.tmp" / "images.npy").write_bytes(b"half")
    cached_bank("toy", 1, small_bank)
    assert [path.name[:4] for path in cache.iterdir()] == ["toy-"]


def test_where_it_is(tmp_path, monkeypatch):
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("FEWSHOT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "guided-fewshot"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "guided-fewshot"


def test_a_folder_that_cannot_be_written_and_a_full_disk_are_named(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    monkeypatch.setattr("fewshot.data.io.cache.IN_MEMORY", 0)
    with pytest.raises(InputError, match=r"cannot be written \(No space left on device\); set"):
        pixel_array((2, 2))
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("FEWSHOT_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"file: the cache cannot be written .*FEWSHOT_CACHE"):
        cached_bank("toy", 1, small_bank)
