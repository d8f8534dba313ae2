import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fewshot.data.io.download import RemoteFile, fetch_file, fetching
from guided.errors import InputError

CONTENT = np.random.default_rng(0).bytes(3_000_000)
MD5 = hashlib.md5(CONTENT).hexdigest()
PAGE = b"\n <!DOCTYPE html><html>Too many requests</html>"
GOOD = (200, None, CONTENT)
BAD: dict[str, tuple[tuple[int, int | None, bytes], str]] = {
    "page": ((200, None, PAGE), "has a web page, not the file"),
    "short": ((200, None, CONTENT[:-1]), "has 2,999,999 bytes, expected 3,000,000"),
    "truncated": ((200, len(CONTENT), CONTENT[:2_000_000]), "has 2,000,000 bytes, expected 3,000,"),
    "other": ((200, None, CONTENT[::-1]), f"expected {MD5}"),
    "empty": ((200, None, b""), "has 0 bytes"),
    "gone": ((404, None, PAGE), "HTTP Error 404"),
    "broken": ((500, None, b""), "HTTP Error 500"),
}


@pytest.fixture
def file(server: Any) -> RemoteFile:
    """Its mirrors are ``/one``, then ``/two``."""
    urls = (f"{server.url}/one", f"{server.url}/two")
    return RemoteFile("file.bin", urls, size=len(CONTENT), md5=MD5)


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_whole_file_is_kept(server: Any, file: RemoteFile, tmp_path: Path) -> None:
    server.answers["/one"] = GOOD
    fetch_file(file, tmp_path / "new" / "folder")
    assert (tmp_path / "new" / "folder" / "file.bin").read_bytes() == CONTENT
    assert entries(tmp_path / "new" / "folder") == ["file.bin"]
    assert server.asked == ["/one"]


@pytest.mark.parametrize("kind", BAD)
def test_the_next_mirror_is_tried(kind: str, server: Any, file: RemoteFile, tmp_path: Path) -> None:
    server.answers |= {"/one": BAD[kind][0], "/two": GOOD}
    fetch_file(file, tmp_path)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert entries(tmp_path) == ["file.bin"]


@pytest.mark.parametrize("kind", BAD)
def test_nothing_else_is_kept(kind: str, server: Any, file: RemoteFile, tmp_path: Path) -> None:
    answer, reason = BAD[kind]
    server.answers |= {"/one": answer, "/two": (404, None, PAGE)}
    (tmp_path / "file.bin").write_bytes(b"what was there")
    with pytest.raises(InputError) as caught, fetching("toy", "put it there by hand"):
        fetch_file(file, tmp_path)
    message = str(caught.value)
    assert message.startswith(f"toy: download failed ({server.url}/one: ")
    assert message.endswith("); put it there by hand")
    assert f"{server.url}/two: HTTP Error 404" in message
    assert reason in message
    assert "\n" not in message
    assert entries(tmp_path) == ["file.bin"]
    assert (tmp_path / "file.bin").read_bytes() == b"what was there"


@pytest.mark.parametrize("kind", ["page", "truncated"])
def test_what_needs_no_knowledge_is_checked_without(kind: str, server: Any, tmp_path: Path) -> None:
    server.answers["/one"] = BAD[kind][0]
    with pytest.raises(OSError, match=BAD[kind][1]):
        fetch_file(RemoteFile("file.bin", (f"{server.url}/one",)), tmp_path)
    assert entries(tmp_path) == []
    server.answers["/one"] = GOOD
    fetch_file(RemoteFile("file.bin", (f"{server.url}/one",)), tmp_path)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_nobody_answers(tmp_path: Path) -> None:
    file = RemoteFile("file.bin", ("http://127.0.0.1:1/one",))
    with pytest.raises(OSError, match=r"http://127.0.0.1:1/one: .*refused"):
        fetch_file(file, tmp_path)
    assert entries(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_named(
    server: Any, file: RemoteFile, tmp_path: Path
) -> None:
    server.answers["/one"] = GOOD
    (tmp_path / "folder").write_bytes(b"")
    with pytest.raises(InputError, match=r"folder/file.bin: cannot be written"):
        fetch_file(file, tmp_path / "folder")
