import numpy as np
import pytest

from fewshot.data.mini_imagenet import dataset as mini_imagenet
from fewshot.data.mini_imagenet.dataset import MiniImageNet
from fewshot.data.mini_imagenet.splits import TEST
from guided.errors import InputError


@pytest.fixture
def mirror(serve, make, monkeypatch):
    """The three pickles on a server, at ``/<name>``; their content."""
    _, folder = make("pickles")
    contents = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    monkeypatch.setattr(mini_imagenet, "FILES", tuple(serve(contents)))
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
    with pytest.raises(InputError, match=f"failed .{server.url}/mini-imagenet") as caught:
        MiniImageNet(tmp_path).download()
    assert "; put mini-imagenet-cache-validation.pkl of https://" in str(caught.value)
    assert str(caught.value).endswith(f" into {tmp_path}/mini-imagenet")
    found = sorted(path.name for path in (tmp_path / "mini-imagenet").iterdir())
    assert found == ["mini-imagenet-cache-test.pkl", "mini-imagenet-cache-train.pkl"]


def test_mirrors_hold_the_same_files():
    for file in mini_imagenet.FILES:
        names = [url.rpartition("/")[2].removesuffix("?dl=1") for url in file.urls]
        assert names == [file.name] * 2
