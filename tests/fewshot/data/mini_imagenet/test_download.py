import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fewshot.data.io.download import RemoteFile
from fewshot.data.mini_imagenet import dataset as mini_imagenet
from fewshot.data.mini_imagenet.dataset import MiniImageNet
from fewshot.data.mini_imagenet.splits import TEST, TRAIN, VALIDATION
from guided.errors import InputError

Images = Mapping[str, "list[np.ndarray[Any, Any]]"]

SYNSETS = {"train": TRAIN, "validation": VALIDATION, "test": TEST}


@pytest.fixture
def mirror(server: Any, make: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The three pickles on a server, at ``/<name>``; their content."""
    _, folder = make("pickles")
    contents = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    files = tuple(
        RemoteFile(name, (f"{server.url}/{name}",), len(content), hashlib.md5(content).hexdigest())
        for name, content in contents.items()
    )
    monkeypatch.setattr(mini_imagenet, "FILES", files)
    server.answers |= {f"/{name}": (200, None, content) for name, content in contents.items()}
    return contents


def test_download(tmp_path: Path, server: Any, mirror: dict[str, bytes], images: Images) -> None:
    root = tmp_path / "fresh"
    test = MiniImageNet(root, download=True).splits().test
    assert np.array_equal(test.images[0].permute(1, 2, 0), images[min(TEST)][0])
    assert {p.name: p.read_bytes() for p in (root / "mini-imagenet").iterdir()} == mirror
    assert server.asked == [f"/{name}" for name in mirror]
    MiniImageNet(root).download()
    MiniImageNet(root, download=True).splits()
    assert len(server.asked) == 3, "what is there is not fetched again"
    (root / "mini-imagenet" / "mini-imagenet-cache-test.pkl").unlink()
    MiniImageNet(root, download=True).splits()
    assert server.asked[3:] == ["/mini-imagenet-cache-test.pkl"]


def test_download_where_another_form_is(make: Any, server: Any, mirror: dict[str, bytes]) -> None:
    root, folder = make("archives")
    MiniImageNet(root).download()
    assert server.asked == []
    assert {path.suffix for path in folder.iterdir()} == {".zip"}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((200, None, b"<!DOCTYPE html><html></html>"), "has a web page, not the file"),
        ((404, None, b"<html>"), "HTTP Error 404"),
        ((200, 10**6, b"\x80\x02}"), "has 3 bytes, expected"),
    ],
)
def test_failed_download_says_what_to_do(
    answer: Any, reason: str, tmp_path: Path, server: Any, mirror: dict[str, bytes]
) -> None:
    server.answers["/mini-imagenet-cache-validation.pkl"] = answer
    for attempt in (MiniImageNet(tmp_path).download, MiniImageNet(tmp_path, download=True).splits):
        with pytest.raises(InputError) as caught:
            attempt()
        message = str(caught.value)
        assert message.startswith(f"mini_imagenet: download failed ({server.url}/mini-imagenet")
        assert reason in message
        assert "\n" not in message
        assert message.endswith(
            f" of https://zenodo.org/records/7978538 into {tmp_path}/mini-imagenet"
        )
        names = [path.name for path in (tmp_path / "mini-imagenet").iterdir()]
        assert "mini-imagenet-cache-validation.pkl" not in names
        assert not any(name.startswith(".") for name in names)


def test_the_published_files() -> None:
    """A file is as long as its pixels and, in UTF-8, once more those above 127: some 41 %."""
    for file, names in zip(mini_imagenet.FILES, SYNSETS.values(), strict=True):
        n_bytes = len(names) * 600 * 84 * 84 * 3
        assert file.size is not None
        assert 1.38 * n_bytes < file.size < 1.45 * n_bytes
        assert file.md5 is not None
        assert len(file.md5) == 32
        assert [url.rpartition("/")[2].removesuffix("?dl=1") for url in file.urls] == [
            file.name
        ] * 2
