"""Archives from anywhere: one line for what is damaged or hostile, and a bound on memory."""

import gzip
import io
import os
import struct
import tarfile
import tracemalloc
import zipfile

import pytest

from fewshot.data.io import containers
from fewshot.data.io.containers import contents, read_each, read_text
from guided.errors import InputError


def zipped(path, entries, kind=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def tarred(path, entries, mode="w", **fields):
    with tarfile.open(path, mode) as archive:
        for name, content in entries.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            for key, value in fields.items():
                setattr(entry, key, value)
            archive.addfile(entry, io.BytesIO(content))
    return path


FILES = {"a/0.png": b"zero" * 1000, "a/1.png": b"", "b/2.png": b"two"}


@pytest.fixture(params=["folder", "zip", "bz2.zip", "xz.zip", "tar", "tar.gz", "tbz2", "txz"])
def container(request, tmp_path):
    path = tmp_path / f"own.{request.param}"
    if request.param == "folder":
        for name, content in FILES.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(content)
        return path
    if request.param.endswith("zip"):
        kinds = {"zip": zipfile.ZIP_DEFLATED, "bz2.zip": zipfile.ZIP_BZIP2}
        return zipped(path, FILES, kinds.get(request.param, zipfile.ZIP_LZMA))
    modes = {"tar": "w", "tar.gz": "w:gz", "tbz2": "w:bz2", "txz": "w:xz"}
    return tarred(path, FILES, modes[request.param])


def test_contents_are_read_from_any_container(container, monkeypatch):
    assert sorted(contents(container).files) == sorted(FILES)
    assert dict(read_each(container, list(FILES))) == FILES
    assert list(read_each(container, ["b/2.png", "c"])) == [("b/2.png", b"two"), ("c", "missing")]
    assert read_text(container, "b/2.png") == "two"
    with pytest.raises(InputError, match=r"own.*/c: missing: replace it$"):
        read_text(container, "c")
    # A declared size is believed up to a bound.
    monkeypatch.setattr(containers, "MOST", 3999)
    found = dict(read_each(container, list(FILES)))
    assert found.pop("a/0.png") == "4,000 bytes are more than an image's 3,999"
    assert found == {"a/1.png": b"", "b/2.png": b"two"}


def test_of_several_versions_in_a_tar_archive_the_last_counts(tmp_path):
    tarred(tmp_path / "own.tar", FILES)
    tarred(tmp_path / "own.tar", {"b/2.png": b"new"}, "a")
    assert sorted(contents(tmp_path / "own.tar").files) == sorted(FILES)
    assert dict(read_each(tmp_path / "own.tar", ["b/2.png"])) == {"b/2.png": b"new"}


@pytest.mark.parametrize("suffix", ["zip", "tar", "tar.gz", "tar.xz"])
def test_no_archive_at_all(tmp_path, suffix):
    for content in (b"", b"<!DOCTYPE html><html></html>" * 100, b"\x1f\x8b", b"\xfd7zXZ\x00"):
        path = tmp_path / f"own.{suffix}"
        path.write_bytes(content)
        with pytest.raises(
            InputError, match=rf"{path}: not a complete (zip|tar) archive"
        ) as caught:
            contents(path)
        assert "\n" not in str(caught.value)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "own.zip")
    for path in (tmp_path / "own.zip", tmp_path / "gone.tar"):
        with pytest.raises(InputError, match=rf"{path}: expected a folder or a file, found nei"):
            contents(path)


@pytest.mark.parametrize("mode", ["", "gz", "bz2", "xz"])
def test_a_damaged_tar_archive_is_never_read_in_silence(tmp_path, mode):
    path = tarred(tmp_path / f"own.tar{mode and '.'}{mode}", FILES, f"w:{mode}")
    whole = path.read_bytes()
    header = 512 * 10 if not mode else len(whole) // 2  # of the second entry
    damages = [whole[:n] for n in (len(whole) // 2, 512 * 11, 700) if n < len(whole)]
    damages.append(whole[:header] + bytes([whole[header] ^ 8]) + whole[header + 1 :])
    for damaged in damages:
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"own.tar.*: not a complete tar archive"):
            contents(path)


HOSTILE = {
    "/etc/q.png and a/../b.png": ({"/etc/q.png": b"", "a/../b.png": b""}, r"path a/\.\./b\.png,"),
    "a terminal's codes": ({"a/\x1b[2J.png": b""}, r"found a/\\x1b\[2J.png \(a name that is no"),
}


@pytest.mark.parametrize(("entries", "message"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_names(entries, message, tmp_path):
    for path in (zipped(tmp_path / "own.zip", entries), tarred(tmp_path / "own.tar", entries)):
        with pytest.raises(InputError, match=message):
            containers.check_usable(path, contents(path))


def test_names_and_compression_that_nobody_knows(tmp_path):
    path = zipped(tmp_path / "own.zip", {"a/ü.png": b"zero"})
    whole = path.read_bytes()
    path.write_bytes(whole.replace("ü".encode(), b"\xc3\x80"[:1] + b"\xc3"))
    with pytest.raises(InputError, match=r"own.zip: not a complete zip archive .*utf-8"):
        contents(path)
    # The local header alone, and another compression in both headers.
    first = whole.index("ü".encode())
    path.write_bytes(whole[:first] + b"\xff\xff" + whole[first + 2 :])
    assert "utf-8" in dict(read_each(path, ["a/ü.png"]))["a/ü.png"]
    path.write_bytes(whole.replace(struct.pack("<HH", 0x800, 8), struct.pack("<HH", 0x800, 99)))
    found = dict(read_each(path, contents(path).files))
    assert found == {"a/ü.png": "That compression method is not supported"}
    # Bytes that are no text, in a tar archive.
    tarred(tmp_path / "own.tar", {"a/\udcff.png": b""})
    with pytest.raises(InputError, match=r"found a/\\udcff.png \(a name that is no text\)"):
        containers.check_usable(path, contents(tmp_path / "own.tar"))


def test_tar_entries_of_impossible_sizes(tmp_path):
    path = tmp_path / "own.tar"
    for kind, size, reason in (
        (tarfile.REGTYPE, 2**40, "unexpected end of data"),
        (tarfile.REGTYPE, -1024, "an entry of -1024 bytes"),
        (tarfile.GNUTYPE_LONGNAME, 2**40, f"an entry of {2**40} bytes"),
    ):
        entry = tarfile.TarInfo("a/0.png")
        entry.type, entry.size = kind, size
        path.write_bytes(entry.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
        with pytest.raises(InputError, match=f"own.tar: not a complete tar archive .*: {reason}"):
            contents(path)


BOMBS = {
    "own.zip": lambda path, n: zipped(path, {"a/0.png": bytes(n)}),
    "own.tar.gz": lambda path, n: _name_of_zeros(path, n),
}


def _name_of_zeros(path, n):
    """A compressed archive whose first entry's name takes n bytes."""
    entry = tarfile.TarInfo("././@LongLink")
    entry.type, entry.size = tarfile.GNUTYPE_LONGNAME, n
    with gzip.open(path, "wb", 1) as file:
        file.write(entry.tobuf(tarfile.GNU_FORMAT))
        for _ in range(n // 2**20):
            file.write(bytes(2**20))
    return path


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_archive_does_not_fill_the_memory(tmp_path, name, monkeypatch):
    monkeypatch.setattr(containers, "MOST", 2**20)
    size = 2**27
    path = BOMBS[name](tmp_path / name, size)
    assert path.stat().st_size < size / 100
    tracemalloc.start()
    try:
        reason = dict(read_each(path, ["a/0.png"]))["a/0.png"]
    except InputError as error:
        reason = str(error)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "bytes" in reason
    assert peak < size / 8
