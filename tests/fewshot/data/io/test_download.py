"""Downloads from a server on this machine, which answers well or badly."""

import hashlib
import socket

import numpy as np
import pytest

from fewshot.data.io.download import RemoteFile, download_files
from guided.errors import InputError

CONTENT = np.random.default_rng(0).bytes(300_000)
MD5 = hashlib.md5(CONTENT).hexdigest()
PAGE = b"\n <!DOCTYPE html><html>Too many requests</html>"
GOOD = (200, None, CONTENT)
BAD = {  # kind -> answer, what is said about it
    "page": ((200, None, PAGE), f"47 bytes that are not the file: its MD5 is {MD5}"),
    "truncated": ((200, len(CONTENT), CONTENT[:200_000]), "200,000 bytes that are not the file"),
    "other": ((200, None, CONTENT[::-1]), "300,000 bytes that are not the file"),
    "empty": ((200, None, b""), "0 bytes that are not the file"),
    "gone": ((404, None, PAGE), "HTTP Error 404"),
    "broken": ((500, None, b""), "HTTP Error 500"),
}


@pytest.fixture
def file(server):
    """Its mirrors are ``/one``, then ``/two``."""
    return RemoteFile("file.bin", (f"{server.url}/one", f"{server.url}/two"), MD5)


@pytest.mark.parametrize("kind", ["good", *BAD])
def test_a_whole_file_of_the_first_mirror_that_has_it(kind, server, file, tmp_path):
    server.answers |= {"/one": BAD[kind][0] if kind in BAD else GOOD, "/two": GOOD}
    download_files("toy", [file], tmp_path / "new" / "folder", "page")
    (path,) = (tmp_path / "new" / "folder").iterdir()
    assert (path.name, path.read_bytes()) == ("file.bin", CONTENT)
    assert ("/two" in server.asked) == (kind in BAD)


@pytest.mark.parametrize("kind", BAD)
def test_nothing_else_is_kept(kind, server, file, tmp_path):
    answer, reason = BAD[kind]
    server.answers |= {"/one": answer, "/two": (404, None, PAGE)}
    (tmp_path / "file.bin").write_bytes(b"what was there")
    later = RemoteFile("later.bin", (), "")
    with pytest.raises(InputError) as caught:
        download_files("toy", [file, later], tmp_path, "http://toy")
    message = str(caught.value)
    assert message.startswith(f"toy: download failed ({server.url}/one: ")
    assert message.endswith(f"); put file.bin, later.bin of http://toy into {tmp_path}")
    assert f"{server.url}/two: HTTP Error 404" in message
    assert reason in message
    assert "\n" not in message
    (path,) = tmp_path.iterdir()
    assert path.read_bytes() == b"what was there"


def test_a_mirror_that_does_not_answer_and_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr("fewshot.data.io.download.PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, but never sends a byte
        urls = f"http://127.0.0.1:{silent.getsockname()[1]}/one", "http://127.0.0.1:1/two"
        file = RemoteFile("file.bin", urls, MD5)
        with pytest.raises(InputError, match=r"/one: .*timed out.*/two: .*refused"):
            download_files("toy", [file], tmp_path, "page")
    assert list(tmp_path.iterdir()) == []
    assert socket.getdefaulttimeout() is None
    (tmp_path / "folder").write_bytes(b"")
    with pytest.raises(InputError, match=r"toy: download failed \(.*folder"):
        download_files("toy", [file], tmp_path / "folder", "page")
