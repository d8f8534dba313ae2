import io
import os
import shutil
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fewshot.data.omniglot import dataset as omniglot


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Each test starts with an empty cache of its own."""
    monkeypatch.setenv("FEWSHOT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def real():
    """The folder of the real datasets, or a reason to skip."""

    def root(name):
        folder = Path(os.environ.get("FEWSHOT_DATA", "data"))
        if not (folder / name).is_dir():
            pytest.skip(f"no {folder / name}: set FEWSHOT_DATA to the folder of the real datasets")
        return folder

    return root


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory):
    """One cache for all tests of real data, so that each dataset is decoded once."""
    yield tmp_path_factory.mktemp("cache")


@pytest.fixture
def no_decoding(monkeypatch):
    """Make decoding an image, or opening one from the cache, a failure of the test."""

    def forbidden(*args, **kwargs):
        raise AssertionError("an image was decoded")

    for name in ("omniglot.dataset.decode", "folder.decode", "mnist.read_idx"):
        monkeypatch.setattr(f"fewshot.data.{name}", forbidden)


@pytest.fixture
def same():
    def equal(one, two):
        columns = [
            {"images": bank.images, "labels": bank.labels, **bank.attributes, **bank.factors}
            for bank in (one, two)
        ]
        return (
            one.class_names == two.class_names
            and columns[0].keys() == columns[1].keys()
            and all(torch.equal(column, columns[1][key]) for key, column in columns[0].items())
        )

    return equal


CHARACTERS = {
    "images_background": {"Latin": [1, 2, 3], "Hebrew": [1, 2], "Greek": [1, 2], "N_Ko": [1]},
    "images_evaluation": {"Kannada": [1, 2], "Gurmukhi": [41, 42], "Angelic": [1]},
}
DRAWERS = 3


def drawing(seed):
    """Black strokes on white, one bit a pixel, as in Omniglot."""
    pixels = np.full((105, 105), True)
    rows, columns = np.random.default_rng(seed).integers(25, 80, (2, 3))
    for row, column in zip(rows, columns, strict=True):
        pixels[row - 5 : row + 5, 10:column] = False
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


def make_folders(root):
    seed = 0
    for part, alphabets in CHARACTERS.items():
        for alphabet, characters in alphabets.items():
            for character in characters:
                folder = root / part / alphabet / f"character{character:02}"
                folder.mkdir(parents=True)
                for drawer in range(1, DRAWERS + 1):
                    seed += 1
                    (folder / f"{character:04}_{drawer:02}.png").write_bytes(drawing(seed))


@pytest.fixture(scope="session")
def make_zips():
    """``make_zips(root, source)``: Omniglot's two archives from a folder with its two folders."""

    def make(root, source):
        root.mkdir(parents=True, exist_ok=True)
        for part in CHARACTERS:
            shutil.make_archive(str(root / part), "zip", source, part)

    return make


@pytest.fixture
def extracted(tmp_path, monkeypatch):
    """A small Omniglot in folders, which passes for complete."""
    counts = {
        part: DRAWERS * sum(map(len, alphabets.values())) for part, alphabets in CHARACTERS.items()
    }
    monkeypatch.setattr(omniglot, "PARTS", counts)
    make_folders(tmp_path / "extracted")
    return tmp_path / "extracted"


@pytest.fixture
def zipped(tmp_path, extracted, make_zips):
    """The small Omniglot in its two archives."""
    make_zips(tmp_path / "data" / "omniglot", extracted)
    return tmp_path / "data"


@dataclass
class Server:
    """A web server on this machine.

    Attributes:
        url: where it answers.
        answers: path -> status, length that is announced (``None``: the true one), content.
        asked: the paths that it was asked for.
    """

    url: str
    answers: dict[str, tuple[int, int | None, bytes]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def server():
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            running.asked.append(self.path)
            status, length, content = running.answers.get(self.path, (404, None, b"<html>"))
            self.send_response(status)
            self.send_header("Content-Length", str(len(content) if length is None else length))
            self.end_headers()
            with suppress(ConnectionError):  # a client that only follows redirects hangs up
                self.wfile.write(content)

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        running = Server(f"http://127.0.0.1:{listening.server_port}")
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        yield running
        listening.shutdown()
        thread.join()
