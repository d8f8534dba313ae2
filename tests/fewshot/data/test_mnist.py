import gzip

import numpy as np
import pytest
import torch
from torchvision import datasets

from fewshot.data import mnist
from fewshot.data.mnist import MNIST

N_TRAIN, N_TEST = 30, 20
PIXELS = np.random.default_rng(0).integers(0, 256, (N_TRAIN + N_TEST, 28, 28)).astype(np.uint8)
LABELS = (np.arange(N_TRAIN + N_TEST) * 7 % 10).astype(np.uint8)


def zipped(content):
    return gzip.compress(content, mtime=0)  # the time would be in the names of tests


def idx(values):
    header = bytes([0, 0, 8, values.ndim])
    return header + np.array(values.shape, ">i4").tobytes() + values.tobytes()


def write(folder, arrays):
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in arrays.items():
        (folder / f"{name}.gz").write_bytes(zipped(idx(values)))


@pytest.fixture
def root(tmp_path):
    """A small MNIST, gzipped."""
    parts = (slice(None, N_TRAIN), slice(N_TRAIN, None))
    arrays = [values[part] for part in parts for values in (PIXELS, LABELS)]
    write(tmp_path / "data" / "mnist", dict(zip(mnist.FILES, arrays, strict=True)))
    return tmp_path / "data"


@pytest.fixture
def plain(tmp_path, root):
    """The same, as torchvision leaves it."""
    folder = tmp_path / "plain" / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for path in (root / "mnist").iterdir():
        (folder / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
        (folder / path.name).write_bytes(b"not looked at")
    return tmp_path / "plain"


def test_splits_are_by_image_in_the_files_order(root, plain, same, listed, decoded_once):
    splits = MNIST(root, validation=8).splits()
    parts = slice(0, 22), slice(22, 30), slice(30, 50)
    for bank, rows in zip(vars(splits).values(), parts, strict=True):
        assert np.array_equal(bank.images[:, 0], PIXELS[rows])
        assert bank.labels.tolist() == LABELS[rows].tolist()
        assert bank.class_names == tuple("0123456789")
        assert bank.targets().keys() == {"class"}
    assert same(MNIST(plain, validation=8).splits(), splits)
    listed(MNIST(root), root / "mnist", 10, 50)
    listed(MNIST(plain), plain / "MNIST" / "raw", 10, 50)
    for name in mnist.FILES:
        decoded_once(MNIST(root, validation=8), root / "mnist" / f"{name}.gz")


def test_validation_must_leave_something_to_train_on(root, refused, monkeypatch):
    refused(MNIST(root, validation=30), "MNIST.validation: expected fewer than the 30")
    assert len(MNIST(root, validation=29).splits().train) == 1
    monkeypatch.setattr(mnist, "read_idx", None)
    assert len(MNIST(root, validation=9).splits().validation) == 9, "the cache is the same"


@pytest.mark.parametrize("name", mnist.FILES)
def test_missing_and_truncated_files(root, plain, name, refused):
    path = root / "mnist" / f"{name}.gz"
    content = path.read_bytes()
    for kept in (0, 9, min(100, len(content) - 9)):
        path.write_bytes(content[:kept])
        refused(MNIST(root, validation=8), str(path), "expected", "fewshot data --download mnist")
    path.unlink()
    refused(MNIST(root, validation=8), str(root), "not found")
    assert not MNIST(root).listing().found
    path = plain / "MNIST" / "raw" / name
    path.write_bytes(path.read_bytes()[:-1])
    refused(MNIST(plain, validation=8), f"{path}: its header says", "values, it has")


IMPOSSIBLE = bytes([0, 0, 8, 3]) + np.array([-1, -28, 28], ">i4").tobytes() + bytes(784)

HUGE = bytes([0, 0, 8, 3]) + np.array([2**30, 28, 28], ">i4").tobytes() + bytes(784)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (0, zipped(idx(PIXELS[:N_TRAIN, :, :14])), "expected images of 28×28"),
        (2, zipped(idx(LABELS[N_TRAIN:])), "expected images of 28×28"),
        (1, zipped(idx(LABELS[:9])), "expected 30 labels"),
        (3, zipped(idx(LABELS[N_TRAIN:] + 1)), "expected labels 0 … 9, got 10"),
        (0, zipped(IMPOSSIBLE), "its header says [-1, -28, 28]"),
        (0, zipped(idx(PIXELS[:N_TRAIN]) + bytes(10**6)), "values, it has more"),
        (0, zipped(HUGE), "at most 268,435,456 values"),
        (0, zipped(b"<html></html>"), "expected an IDX file"),
        (0, b"<html></html>", "expected a complete IDX file"),
    ],
)
def test_files_of_something_else(root, file, content, message, refused):
    path = root / "mnist" / f"{mnist.FILES[file]}.gz"
    path.write_bytes(content)
    refused(MNIST(root, validation=8), f"{path}: ", message, listing="IDX file" in message)


def test_download(root, tmp_path, server, serve, same, monkeypatch):
    assert {name for name, _ in datasets.MNIST.resources} == {f"{n}.gz" for n in mnist.FILES}
    files = serve({path.name: path.read_bytes() for path in (root / "mnist").iterdir()})
    monkeypatch.setattr(datasets.MNIST, "mirrors", [f"{server.url}/"])
    monkeypatch.setattr(datasets.MNIST, "resources", [(file.name, file.md5) for file in files])
    downloaded = MNIST([tmp_path / "one", tmp_path / "two"], validation=8, download=True)
    assert same(downloaded.splits(), MNIST(root, validation=8).splits())
    assert len(list((tmp_path / "one" / "mnist").iterdir())) == 4
    n_asked = len(server.asked)
    MNIST([tmp_path / "two", tmp_path / "one"]).download()
    assert len(server.asked) == n_asked, "what is there is not downloaded again"


def test_real_mnist(real):
    splits = MNIST(real("mnist")).splits()
    assert [len(bank) for bank in vars(splits).values()] == [55_000, 5_000, 10_000]
    assert splits.train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert splits.test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert splits.test.class_sizes[:5].tolist() == [980, 1135, 1032, 1010, 982]
    first = splits.train.images[0, 0]
    assert first[0].max() == 0
    assert first[5, 12:18].tolist() == [3, 18, 18, 18, 126, 136]
    # The mean that every normalisation of MNIST's 60,000 training images uses.
    total = splits.train.images.sum(dtype=torch.int64) + splits.validation.images.sum()
    assert float(total) / (60_000 * 784 * 255) == pytest.approx(0.1307, abs=5e-5)
    start = splits.train.images.data_ptr()
    assert splits.validation.images.data_ptr() == start + 55_000 * 784
