import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from fewshot.data import ImageBank


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test starts with an empty cache of its own."""
    monkeypatch.setenv("FEWSHOT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def real() -> Callable[[str], Path]:
    """The folder of the real datasets, or a reason to skip."""

    def root(name: str) -> Path:
        folder = Path(os.environ.get("FEWSHOT_DATA", "data"))
        if not (folder / name).is_dir():
            pytest.skip(f"no {folder / name}: set FEWSHOT_DATA to the folder of the real datasets")
        return folder

    return root


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One cache for all tests of real data, so that each dataset is decoded once."""
    yield tmp_path_factory.mktemp("cache")


@pytest.fixture
def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make decoding an image, or opening one from the cache, a failure of the test."""

    def forbidden(*args: object, **kwargs: object) -> None:
        raise AssertionError("an image was decoded")

    for name in ("omniglot.decode", "folder.decode", "mnist.read_idx"):
        monkeypatch.setattr(f"fewshot.data.{name}", forbidden)


@pytest.fixture
def same() -> Callable[[ImageBank, ImageBank], bool]:
    def equal(one: ImageBank, two: ImageBank) -> bool:
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
