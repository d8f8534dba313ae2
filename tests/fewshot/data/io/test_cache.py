import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from fewshot.data import ImageBank
from fewshot.data.io.cache import cache_folder, cached_bank, identity, pixel_array
from guided.errors import InputError

Same = Callable[[ImageBank, ImageBank], bool]


def small_bank(value=0):
    return ImageBank(
        torch.arange(24, dtype=torch.uint8).reshape(6, 1, 2, 2) + value,
        torch.arange(6) // 3,
        ("ä", "b/c"),
        {"drawer": torch.arange(6) % 3},
        {"angle": torch.arange(6) / 7},
    )


class Builder:
    """Counts how often the bank is built."""

    def __init__(self, bank):
        self.bank = bank
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return self.bank


def test_builds_once_for_each_name_and_settings(same):
    builder = Builder(small_bank())
    for name, settings in (("toy", {"size": 1}), ("toy", 2), ("other", 2), ("toy", {"size": 1})):
        assert same(cached_bank(name, settings, builder), small_bank())
    assert builder.calls == 3


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux's list of maps")
def test_images_are_mapped_not_read(cache):
    bank = cached_bank("toy", 1, Builder(small_bank()))
    maps = Path("/proc/self/maps").read_text()
    start = bank.images.data_ptr()
    ranges = [line.split()[0] for line in maps.splitlines() if f"{cache}" in line]
    bounds = [[int(end, 16) for end in one.split("-")] for one in ranges]
    assert any(low <= start < high for low, high in bounds)


def test_writing_to_a_bank_does_not_reach_the_cache(same):
    builder = Builder(small_bank())
    cached_bank("toy", 1, builder).images.fill_(99)
    assert same(cached_bank("toy", 1, builder), small_bank())


def test_a_changed_source_is_another_source(tmp_path):
    source = tmp_path / "source"
    source.write_bytes(b"abc")
    first = identity([source])
    assert identity([source]) == first
    source.write_bytes(b"abd")
    os.utime(source, ns=(1, 1))
    second = identity([source])
    source.write_bytes(b"abcd")
    os.utime(source, ns=(1, 1))
    assert first != second
    assert second != identity([source])


def test_two_writers_at_once(cache, same):
    both_miss = threading.Barrier(2)

    def build():
        both_miss.wait(timeout=30)
        return small_bank()

    with ThreadPoolExecutor(2) as pool:
        banks = list(pool.map(lambda _: cached_bank("toy", 1, build), range(2)))
    assert all(same(bank, small_bank()) for bank in banks)
    assert len(list(cache.iterdir())) == 1, "the loser's files are removed"


def test_a_failed_build_leaves_nothing(cache):
    def fail():
        raise InputError("no")

    with pytest.raises(InputError, match="no"):
        cached_bank("toy", 1, fail)
    assert not list(cache.glob("**/*"))


def test_an_interrupted_write_leaves_nothing_that_is_opened(cache, monkeypatch, same):
    with monkeypatch.context() as patch:
        patch.setattr(np, "save", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            cached_bank("toy", 1, Builder(small_bank()))
    assert list(cache.iterdir()) == []
    assert same(cached_bank("toy", 1, Builder(small_bank())), small_bank())


def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("FEWSHOT_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"file: the cache cannot be written .*FEWSHOT_CACHE"):
        cached_bank("toy", 1, Builder(small_bank()))


def test_where_it_is(tmp_path, monkeypatch):
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("FEWSHOT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "guided-fewshot"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "guided-fewshot"


def test_a_full_disk_is_one_line(monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    monkeypatch.setattr("fewshot.data.io.cache.IN_MEMORY", 0)
    with pytest.raises(InputError, match=r"cannot be written \(No space left on device\); set"):
        pixel_array((2, 2))
