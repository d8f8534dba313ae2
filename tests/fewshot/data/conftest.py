import hashlib
import io
import os
import shutil
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from fewshot.data import Splits
from fewshot.data.dataset import Listing
from fewshot.data.io.download import RemoteFile
from fewshot.data.omniglot import dataset as omniglot
from guided.errors import InputError

DECODERS = (
    *("omniglot.dataset.decode", "folder.decode", "celeba.decode", "mini_imagenet.sources.decode"),
    *("mnist.read_idx", "mini_imagenet.sources.Pickles.build", "cifar.dataset.load_pickle"),
)


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
def same():
    """Equal banks, or equal banks in each split."""

    def equal(one, two):
        if isinstance(one, Splits):
            return all(map(equal, vars(one).values(), vars(two).values()))
        columns, others = (
            {"images": bank.images, "labels": bank.labels, **bank.attributes, **bank.factors}
            for bank in (one, two)
        )
        return (one.class_names, columns.keys()) == (two.class_names, others.keys()) and all(
            torch.equal(column, others[key]) for key, column in columns.items()
        )

    return equal


def forbid_decoding(patch):
    for name in DECODERS:
        patch.setattr(f"fewshot.data.{name}", None)  # calling it raises TypeError


@pytest.fixture
def listed(monkeypatch):
    """``listed(dataset, where, classes, images)``: it is found, without decoding an image."""

    def check(dataset, where, classes, images):
        with monkeypatch.context() as patch:
            forbid_decoding(patch)
            assert dataset.listing() == Listing(
                dataset.name, True, str(where), classes, images, dataset.how_to_get
            )

    return check


@pytest.fixture
def decoded_once(monkeypatch, same):
    """``decoded_once(dataset, path)``: the cache is used until the file changes."""

    def check(dataset, path):
        first = dataset.splits()
        with monkeypatch.context() as patch:
            forbid_decoding(patch)
            assert same(dataset.splits(), first)
            os.utime(path, ns=(1, 1))
            with pytest.raises(TypeError, match="NoneType"):
                dataset.splits()

    return check


@pytest.fixture(scope="session")
def refused():
    """``refused(dataset, *words)``: reading fails in one line that holds the words.

    With ``listing=True``, so does the listing.
    """

    def check(dataset, *words, listing=False):
        with pytest.raises(InputError) as caught:
            dataset.splits()
        told = [str(caught.value)]
        if listing:
            assert not dataset.listing().found
            told.append(dataset.listing().where)
        for message in told:
            assert "\n" not in message
            assert [word for word in words if word not in message] == [], message

    return check


@pytest.fixture(scope="session")
def attack():
    """Pickled as a call that would leave a file ``attacked`` in the working directory."""

    class Attack:
        def __reduce__(self):
            return os.system, ("touch attacked",)

    return Attack()


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


@pytest.fixture
def extracted(tmp_path, monkeypatch):
    """A small Omniglot in folders, which passes for complete."""
    counts = dict.fromkeys(CHARACTERS, 0)
    for part, alphabets in CHARACTERS.items():
        for alphabet, characters in alphabets.items():
            for character in characters:
                folder = tmp_path / "extracted" / part / alphabet / f"character{character:02}"
                folder.mkdir(parents=True)
                for drawer in range(1, DRAWERS + 1):
                    content = drawing(sum(counts.values()) + 1)
                    (folder / f"{character:04}_{drawer:02}.png").write_bytes(content)
                    counts[part] += 1
    monkeypatch.setattr(omniglot, "PARTS", counts)
    return tmp_path / "extracted"


@pytest.fixture
def zipped(tmp_path, extracted):
    """The small Omniglot in its two archives."""
    for part in CHARACTERS:
        shutil.make_archive(str(tmp_path / "data" / "omniglot" / part), "zip", extracted, part)
    return tmp_path / "data"


@pytest.fixture
def server():
    """A web server on this machine: ``url``; ``answers``, path -> status, announced length
    (``None``: the true one), content; ``asked``, the paths that it was asked for."""

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
        url = f"http://127.0.0.1:{listening.server_port}"
        running = SimpleNamespace(url=url, answers={}, asked=[])
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        yield running
        listening.shutdown()
        thread.join()


@pytest.fixture
def serve(server):
    """``serve(contents)``: put files on the server; returns them as remote files."""

    def put(contents):
        server.answers |= {f"/{name}": (200, None, content) for name, content in contents.items()}
        return [
            RemoteFile(name, (f"{server.url}/{name}",), hashlib.md5(content).hexdigest())
            for name, content in contents.items()
        ]

    return put
