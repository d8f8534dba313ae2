import gzip
import hashlib
import shutil
from collections.abc import Callable

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


def idx(values):
    header = bytes([0, 0, 8, values.ndim])
    return header + np.array(values.shape, ">i4").tobytes() + values.tobytes()


def write(folder, arrays):
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in arrays.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(idx(values)))


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
        shutil.copy(path, folder)
    return tmp_path / "plain"


def test_splits_are_by_image_in_the_files_order(root):
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


def test_plain_files_give_the_same(root, plain, same):
    gzipped, ungzipped = (MNIST(folder, validation=8).splits() for folder in (root, plain))
    assert same(gzipped.train, ungzipped.train)
    assert same(gzipped.test, ungzipped.test)


@pytest.mark.usefixtures("no_decoding")
def test_listing(root, plain):
    for folder, where in ((root, root / "mnist"), (plain, plain / "MNIST" / "raw")):
        found = MNIST(folder).listing()
        assert (found.name, found.found, found.where) == ("mnist", True, str(where))
        assert (found.classes, found.images) == (10, N_TRAIN + N_TEST)


def test_decoded_once_until_a_source_changes(root, monkeypatch):
    MNIST(root, validation=8).splits()
    with monkeypatch.context() as patch:
        patch.setattr(mnist, "read_idx", None)
        validation = MNIST(root, validation=9).splits().validation
    assert len(validation) == 9, "the split is not part of what is cached"
    write(root / "mnist", {mnist.FILES[3]: LABELS[:N_TEST]})
    assert MNIST(root, validation=8).splits().test.labels.tolist() == LABELS[:N_TEST].tolist()


def fails(root, *words):
    with pytest.raises(InputError) as caught:
        MNIST(root, validation=8).splits()
    assert "\n" not in str(caught.value)
    for word in (*words, "fewshot data --download mnist"):
        assert word in str(caught.value)


@pytest.mark.parametrize("name", mnist.FILES)
def test_missing_file(root, name):
    (root / "mnist" / f"{name}.gz").unlink()
    fails(root, str(root), "not found")
    assert not MNIST(root).listing().found


@pytest.mark.parametrize("name", mnist.FILES)
def test_truncated_files(root, plain, name):
    path = root / "mnist" / f"{name}.gz"
    content = path.read_bytes()
    for kept in (0, 9, min(100, len(content) - 9)):
        path.write_bytes(content[:kept])
        fails(root, str(path), "expected")
    path = plain / "MNIST" / "raw" / name
    path.write_bytes(path.read_bytes()[:-1])
    fails(plain, str(path), "values, it has")


def test_dimensions_that_no_file_can_have(root):
    path = root / "mnist" / f"{mnist.FILES[0]}.gz"
    header = bytes([0, 0, 8, 3]) + np.array([-1, -28, 28], ">i4").tobytes()
    path.write_bytes(gzip.compress(header + bytes(784)))
    fails(root, str(path), "its header says", "it has 784")


@pytest.mark.parametrize("content", [b"<html></html>", gzip.compress(b"<html></html>")])
def test_web_page_instead_of_a_file(root, content):
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
        ({mnist.FILES[3]: LABELS[N_TRAIN:] + 1}, "expected labels 0 … 9, got 10"),
    ],
)
def test_files_of_something_else(root, arrays, message):
    write(root / "mnist", arrays)
    with pytest.raises(InputError, match=f"{next(iter(arrays))}.gz: {message}"):
        MNIST(root, validation=8).splits()


def test_validation_must_leave_something_to_train_on(root):
    with pytest.raises(InputError, match=r"MNIST.validation: expected fewer than the 30"):
        MNIST(root, validation=30).splits()
    assert len(MNIST(root, validation=29).splits().train) == 1


def test_download(root, tmp_path, server, same, monkeypatch):
    from torchvision import datasets

    contents = {path.name: path.read_bytes() for path in (root / "mnist").iterdir()}
    server.answers |= {f"/{name}": (200, None, content) for name, content in contents.items()}
    digests = [(name, hashlib.md5(content).hexdigest()) for name, content in contents.items()]
    monkeypatch.setattr(datasets.MNIST, "mirrors", [f"{server.url}/"])
    monkeypatch.setattr(datasets.MNIST, "resources", digests)
    downloaded = MNIST([tmp_path / "one", tmp_path / "two"], validation=8, download=True)
    assert same(downloaded.splits().train, MNIST(root, validation=8).splits().train)
    assert sorted(p.name for p in (tmp_path / "one" / "mnist").iterdir()) == sorted(contents)
    n_asked = len(server.asked)
    MNIST([tmp_path / "two", tmp_path / "one"]).download()
    assert len(server.asked) == n_asked, "what is there is not downloaded again"


def test_the_published_files():
    from torchvision import datasets

    published = {name for name, _ in datasets.MNIST.resources}
    assert published == {f"{name}.gz" for name in mnist.FILES}


def test_real_mnist(real):
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
