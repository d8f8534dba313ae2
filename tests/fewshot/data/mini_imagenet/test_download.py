import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from fewshot.data.io.download import RemoteFile
from fewshot.data.mini_imagenet import dataset as mini_imagenet
from fewshot.data.mini_imagenet.dataset import MiniImageNet
from fewshot.data.mini_imagenet.splits import TEST
from guided.errors import InputError

Images = Mapping[str, "list[np.ndarray[Any, Any]]"]


@pytest.fixture
def mirror(server, make, monkeypatch):
    """The three pickles on a server, at ``/<name>``; their content."""
    _, folder = make("pickles")
    contents = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    files = tuple(
        RemoteFile(name, (f"{server.url}/{name}",), hashlib.md5(content).hexdigest())
        for name, content in contents.items()
    )
    monkeypatch.setattr(mini_imagenet, "FILES", files)
    server.answers |= {f"/{name}": (200, None, content) for name, content in contents.items()}
    return contents


def test_download(tmp_path, server, mirror, images):
    root = tmp_path / "fresh"
    test = MiniImageNet(root, download=True).splits().test
    assert np.array_equal(test.images[0].permute(1, 2, 0), images[min(TEST)][0])
    assert {p.name: p.read_bytes() for p in (root / "mini-imagenet").iterdir()} == mirror
    n_asked = len(server.asked)
    MiniImageNet(root).download()
    MiniImageNet(root, download=True).splits()
    assert len(server.asked) == n_asked, "what is there is not downloaded again"
    (root / "mini-imagenet" / "mini-imagenet-cache-test.pkl").unlink()
    MiniImageNet(root, download=True).splits()
    assert set(server.asked[n_asked:]) == {"/mini-imagenet-cache-test.pkl"}


def test_download_where_another_form_is(make, server, mirror):
    root, folder = make("archives")
    MiniImageNet(root).download()
    assert server.asked == []
    assert {path.suffix for path in folder.iterdir()} == {".zip"}


def test_a_failed_download_keeps_what_is_whole(tmp_path, server, mirror):
    server.answers["/mini-imagenet-cache-validation.pkl"] = (200, None, b"<html></html>")
    with pytest.raises(InputError) as caught:
        MiniImageNet(tmp_path).download()
    message = str(caught.value)
    assert message.startswith(f"mini_imagenet: download failed ({server.url}/mini-imagenet")
    assert message.endswith(
        "; put mini-imagenet-cache-validation.pkl of "
        f"https://zenodo.org/records/7978538 into {tmp_path}/mini-imagenet"
    )
    found = sorted(path.name for path in (tmp_path / "mini-imagenet").iterdir())
    assert found == ["mini-imagenet-cache-test.pkl", "mini-imagenet-cache-train.pkl"]


def test_the_published_files():
    for file in mini_imagenet.FILES:
        assert len(file.md5) == 32
        names = [url.rpartition("/")[2].removesuffix("?dl=1") for url in file.urls]
        assert names == [file.name] * 2
