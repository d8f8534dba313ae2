import gzip
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from fewshot.data import ImageBank, mnist
from fewshot.data.mnist import MNIST
from guided.errors import InputError

Same = Callable[[ImageBank, ImageBank], bool]

N_TRAIN, N_TEST = 30, 20
PIXELS = np.random.default_rng(0).integers(0, 256, (N_TRAIN + N_TEST, 28, 28)).astype(np.uint8)
LABELS = (np.arange(N_TRAIN + N_TEST) * 7 % 10).astype(np.uint8)


def idx(values: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, values.ndim])
    return header + np.array(values.shape, ">i4").tobytes() + values.tobytes()


def write(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in arrays.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(idx(values)))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small MNIST, gzipped."""
    parts = (slice(None, N_TRAIN), slice(N_TRAIN, None))
    arrays = [values[part] for part in parts for values in (PIXELS, LABELS)]
    write(tmp_path / "data" / "mnist", dict(zip(mnist.FILES, arrays, strict=True)))
    return tmp_path / "data"


@pytest.fixture
def plain(tmp_path: Path, root: Path) -> Path:
    """The same, as torchvision leaves it."""
    folder = tmp_path / "plain" / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for path in (root / "mnist").iterdir():
        (folder / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
        shutil.copy(path, folder)
    return tmp_path / "plain"


def test_splits_are_by_image_in_the_files_order(root: Path) -> None:
    splits = MNIST(root, validation=8).splits()
    for bank, rows in (
        (splits.train, slice(0, 22)),
        (splits.validation, slice(22, 30)),
        (splits.test, slice(30, 50)),
    ):
        assert np.array_equal(bank.images[:, 0], PIXELS[rows])
        assert bank.labels.tolist() == LABELS[rows].tolist()
        assert bank.class_names == tuple("0123456789")
        assert bank.targets().keys() == {"class"}


def test_plain_files_give_the_same(root: Path, plain: Path, same: Same) -> None:
    gzipped, ungzipped = (MNIST(folder, validation=8).splits() for folder in (root, plain))
    assert same(gzipped.train, ungzipped.train)
    assert same(gzipped.test, ungzipped.test)


@pytest.mark.usefixtures("no_decoding")
def test_listing(tmp_path: Path, root: Path, plain: Path) -> None:
    for folder, where in ((root, root / "mnist"), (plain, plain / "MNIST" / "raw")):
        found = MNIST(folder).listing()
        assert (found.name, found.found, found.where) == ("mnist", True, str(where))
        assert (found.classes, found.images) == (10, N_TRAIN + N_TEST)
    nothing = MNIST(tmp_path).listing()
    assert (nothing.found, nothing.images) == (False, None)
    assert nothing.how_to_get == "fewshot data --download mnist"


def test_decoded_once_until_a_source_changes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    MNIST(root, validation=8).splits()
    with monkeypatch.context() as patch:
        patch.setattr(mnist, "read_idx", None)
        validation = MNIST(root, validation=9).splits().validation
    assert len(validation) == 9, "the split is not part of what is cached"
    write(root / "mnist", {mnist.FILES[3]: LABELS[:N_TEST]})
    assert MNIST(root, validation=8).splits().test.labels.tolist() == LABELS[:N_TEST].tolist()


def fails(root: Path, *words: str) -> None:
    with pytest.raises(InputError) as caught:
        MNIST(root, validation=8).splits()
    assert "\n" not in str(caught.value)
    for word in (*words, "fewshot data --download mnist"):
        assert word in str(caught.value)


@pytest.mark.parametrize("name", mnist.FILES)
def test_missing_file(root: Path, name: str) -> None:
    (root / "mnist" / f"{name}.gz").unlink()
    fails(root, str(root / "mnist"), "not found")
    assert not MNIST(root).listing().found


@pytest.mark.parametrize("name", mnist.FILES)
@pytest.mark.parametrize("kept", [0, 9, 100])
def test_truncated_gzip(root: Path, name: str, kept: int) -> None:
    path = root / "mnist" / f"{name}.gz"
    path.write_bytes(path.read_bytes()[: min(kept, path.stat().st_size - 9)])
    fails(root, str(path), "expected")


@pytest.mark.parametrize("name", mnist.FILES)
def test_truncated_plain(plain: Path, name: str) -> None:
    path = plain / "MNIST" / "raw" / name
    path.write_bytes(path.read_bytes()[:-1])
    fails(plain, str(path), "values, as its header says")


@pytest.mark.parametrize("content", [b"<html></html>", gzip.compress(b"<html></html>")])
def test_web_page_instead_of_a_file(root: Path, content: bytes) -> None:
    path = root / "mnist" / f"{mnist.FILES[0]}.gz"
    path.write_bytes(content)
    fails(root, str(path), "IDX file")
    listing = MNIST(root).listing()
    assert not listing.found
    assert str(path) in listing.where


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({mnist.FILES[0]: PIXELS[:N_TRAIN, :, :14]}, "expected images of 28×28"),
        ({mnist.FILES[2]: LABELS[N_TRAIN:]}, "expected images of 28×28"),
        ({mnist.FILES[1]: LABELS[:9]}, "expected 30 labels"),
        ({mnist.FILES[3]: LABELS[N_TRAIN:] + 1}, "expected labels 0 … 9, has 10"),
    ],
)
def test_files_of_something_else(root: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    write(root / "mnist", arrays)
    with pytest.raises(InputError, match=f"{next(iter(arrays))}.gz: {message}"):
        MNIST(root, validation=8).splits()


def test_validation_must_leave_something_to_train_on(root: Path) -> None:
    with pytest.raises(InputError, match=r"MNIST.validation: expected at least 1"):
        MNIST(root, validation=0)
    with pytest.raises(InputError, match=r"MNIST.validation: expected fewer than the 30"):
        MNIST(root, validation=30).splits()
    assert len(MNIST(root, validation=29).splits().train) == 1


def test_failed_download_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*args: object, **kwargs: object) -> None:
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    with pytest.raises(InputError) as caught:
        MNIST(tmp_path, download=True).splits()
    message = str(caught.value)
    assert "mnist: download failed" in message
    assert "no route" in message
    assert f"into {tmp_path / 'mnist'}" in message
    assert "\n" not in message


def test_download_of_what_is_there_asks_nobody(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urllib.request, "urlopen", None)
    MNIST(root).download()


def test_real_mnist(real: Callable[[str], Path]) -> None:
    splits = MNIST(real("mnist")).splits()
    assert [len(bank) for bank in (splits.train, splits.validation, splits.test)] == [
        *(55_000, 5_000, 10_000)
    ]
    assert splits.train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert splits.test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert splits.test.class_sizes.tolist() == [
        *(980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)
    ]
    first = splits.train.images[0, 0]
    assert first[0].max() == 0
    assert first[5, 12:18].tolist() == [3, 18, 18, 18, 126, 136]
    # The mean that every normalisation of MNIST's 60,000 training images uses.
    total = splits.train.images.sum(dtype=torch.int64) + splits.validation.images.sum()
    assert float(total) / (60_000 * 784 * 255) == pytest.approx(0.1307, abs=5e-5)
    start = splits.train.images.data_ptr()
    assert splits.validation.images.data_ptr() == start + 55_000 * 784
