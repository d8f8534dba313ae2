"""Embeddings from files: the same banks from every kind, their splits, what is refused."""

import sys

import numpy as np
import pytest
import torch
from PIL import Image

from fewshot.data import Embeddings, ImageFolder
from guided import InputError

N_CLASSES, EACH, WIDTH = 10, 4, 5


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(N_CLASSES), EACH))
    return rng.normal(size=(len(labels), WIDTH)).astype(np.float32), labels


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def _npz(features, labels):
    np.savez("file.npz", embeddings=features, labels=labels)
    return {"path": "file.npz"}


def _npy(features, labels):
    np.save("file.npy", features)
    np.save("labels.npy", labels)
    return {"path": "file.npy", "labels": "labels.npy"}


def _text(features, labels):
    np.save("file.npy", features)
    names = "\n".join(map(str, labels)) + "\n"
    with open("labels.txt", "w") as file:
        file.write(names)
    return {"path": "file.npy", "labels": "labels.txt"}


def _pair(features, labels):
    torch.save((torch.from_numpy(features), torch.from_numpy(labels)), "file.pt")
    return {"path": "file.pt"}


def _dictionary(features, labels):
    content = {"features": torch.from_numpy(features), "targets": labels.tolist()}
    torch.save(content, "file.pth")
    return {"path": "file.pth"}


def _half(features, labels):
    features[:] = features.astype(np.float16)
    torch.save({"x": torch.from_numpy(features).bfloat16().float(), "who": labels.tolist()}, "f.pt")
    features[:] = torch.from_numpy(features).bfloat16().float().numpy()
    return {"path": "f.pt", "label": "who", "features": "x"}


KINDS = [_npz, _npy, _text, _pair, _dictionary, _half]


def rows(splits):
    """Every embedding with the name of its class, in a fixed order."""
    found = [
        (bank.class_names[label], *embedding)
        for bank in vars(splits).values()
        for label, embedding in zip(
            bank.labels.tolist(), bank.images.flatten(1).tolist(), strict=True
        )
    ]
    return sorted(found)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__[1:])
def test_every_kind_of_file_holds_the_same(kind, arrays):
    dataset = Embeddings(**kind(*arrays))
    features, labels = arrays
    expected = sorted((str(k), *x) for k, x in zip(labels, features.tolist(), strict=True))
    assert rows(dataset.splits()) == expected
    assert (dataset.listing().classes, dataset.listing().images) == (N_CLASSES, len(labels))


@pytest.mark.parametrize("wide", [True, False], ids=["a column each", "lists"])
def test_parquet(arrays, wide):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    features, labels = arrays
    columns = {f"f{i}": features[:, i] for i in range(WIDTH)} if wide else {"e": list(features)}
    pandas.DataFrame({**columns, "label": labels.astype(str)}).to_parquet("file.parquet")
    expected = sorted((str(k), *x) for k, x in zip(labels, features.tolist(), strict=True))
    assert rows(Embeddings(path="file.parquet").splits()) == expected
    # Labels from elsewhere; those of the file are no embeddings.
    pandas.DataFrame({**columns, "label": labels}).to_parquet("numbers.parquet")
    np.save("labels.npy", labels)
    elsewhere = Embeddings(path="numbers.parquet", labels="labels.npy")
    assert rows(elsewhere.splits()) == expected


def test_without_pyarrow_the_refusal_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    open("file.parquet", "w").close()
    with pytest.raises(InputError, match=r"is not installed; pip install .*\[parquet\]"):
        Embeddings(path="file.parquet").splits()


@pytest.mark.parametrize("shares", [{}, {"validation": 0.2, "test": 0.3, "split_seed": 5}])
def test_classes_are_divided_as_those_of_a_folder(arrays, shares, tmp_path, cache):
    """By the same draw."""
    for name in range(N_CLASSES):
        (tmp_path / "own" / str(name)).mkdir(parents=True)
        for i in range(3):
            pixels = np.full((8, 8), 20 * name + i, dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "own" / str(name) / f"{i}.png")
    ours, folder = (
        [sorted(bank.class_names) for bank in vars(dataset.splits()).values()]
        for dataset in (
            Embeddings(**_npz(*arrays), **shares),
            ImageFolder(path=tmp_path / "own", **shares),
        )
    )
    assert ours == folder


def test_all_classes_may_be_tested(arrays):
    everything = Embeddings(**_npz(*arrays), validation=0, test=1).splits()
    assert [bank.n_classes for bank in vars(everything).values()] == [0, 0, N_CLASSES]


def test_splits_that_are_given(arrays):
    features, labels = arrays
    words = np.array(["train", "Valid", "test"])[np.minimum(labels // 4, 2)]
    np.savez("file.npz", x=features, y=labels, split=words, class_names=[*"abcdefghij"])
    splits = Embeddings(path="file.npz").splits()
    names = ["".join(bank.class_names) for bank in vars(splits).values()]
    assert names == ["abcd", "efgh", "ij"]
    words[np.flatnonzero(labels == 9)[0]] = "train"
    np.savez("file.npz", x=features, y=labels, split=words)
    with pytest.raises(InputError, match=r"split: the class '9' is in train and in test"):
        Embeddings(path="file.npz").splits()
    np.savez("file.npz", x=features, y=labels, split=np.full(len(labels), "hold"))
    with pytest.raises(InputError, match=r"split: expected train, val or test, got 'hold'"):
        Embeddings(path="file.npz").splits()


def test_a_file_of_labels_tells_splits_and_names_too(arrays):
    features, labels = arrays
    words = np.array(["train", "Valid", "test"])[np.minimum(labels // 4, 2)]
    np.save("x.npy", features)
    np.savez("told.npz", labels=labels, split=words, class_names=[*"abcdefghij"])
    splits = Embeddings(path="x.npy", labels="told.npz").splits()
    names = ["".join(bank.class_names) for bank in vars(splits).values()]
    assert names == ["abcd", "efgh", "ij"]
    np.savez("other.npz", x=features, split=words[::-1])
    with pytest.raises(InputError, match=r"other.npz and told.npz have other split"):
        Embeddings(path="other.npz", labels="told.npz").splits()


def test_embeddings_of_several_encoders(arrays):
    features, labels = arrays
    np.savez("a.npz", features=features, labels=labels)
    np.save("b.npy", 2 * features[:, :2])
    dataset = Embeddings(path={"dino": "a.npz", "clip": "b.npy"}, validation=0, test=1)
    bank = dataset.splits().test
    assert bank.parts == {"dino": (0, 5), "clip": (5, 7)}
    np.testing.assert_array_equal(bank.images.flatten(1)[:, 5:], 2 * features[:, :2])
    np.savez("both.npz", dino=features, clip=features[:, :2], labels=labels)
    assert Embeddings(path="both.npz").splits().train.parts == bank.parts
    assert Embeddings(path="both.npz", features="clip").splits().train.image_shape == (2, 1, 1)
    np.savez("c.npz", features=features, labels=labels[::-1])
    with pytest.raises(InputError, match=r"a.npz and c.npz have other labels"):
        Embeddings(path={"dino": "a.npz", "clip": "c.npz"}).splits()


def test_npy_is_mapped_and_not_read(arrays, tmp_path):
    features, labels = arrays
    order = labels.argsort(kind="stable")
    bank = Embeddings(**_npy(features[order], labels[order]), validation=0, test=1).splits().test
    at, file = bank.images.data_ptr(), str(tmp_path / "file.npy")
    with open("/proc/self/maps") as maps:
        spans = [line.split()[0].split("-") for line in maps if line.rstrip().endswith(file)]
    assert any(int(start, 16) <= at < int(end, 16) for start, end in spans)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"path": "none.npz"}, r"path: none of these files exists: .*none.npz"),
        ({"path": "file.txt"}, r"expected embeddings \[N, d\]"),
        ({"path": "file.csv"}, r"expected a file of embeddings or labels \(.npz, .npy"),
        ({"path": "file.npy"}, r"labels: file.npy has none under labels, label, y"),
        ({"path": "file.npz", "features": "z"}, r"features: .*no 'z'; it has x \[40, 5\] float32"),
        ({"path": "file.npz", "label": "z"}, r"label: file.npz has no 'z'"),
        ({"path": "bad.npz"}, r"bad.npz: cannot be read as .npz"),
        ({"path": "nan.npz"}, r"nan.npz: x: 1 of 40 embeddings are not finite"),
        ({"path": "objects.npy"}, r"objects.npy: .*labels.astype\(str\)"),
        ({"path": "code.pt"}, r"code.pt: holds more than weights"),
        ({"path": "file.npz", "test": 1.5}, r"Embeddings.test: expected in \[0, 1\]"),
        ({"path": "file.npz", "test": 0.9}, r"validation \+ test: expected at most 1, got 1.05"),
        ({"path": {}}, r"path: expected a file, or name: file"),
    ],
)
def test_what_cannot_be_read_is_refused(arrays, settings, message):
    features, labels = arrays
    _npy(features, labels)
    np.savez("file.npz", x=features, labels=labels)
    spoilt = features.copy()
    spoilt[3, 1] = np.nan
    np.savez("nan.npz", x=spoilt, labels=labels)
    np.save("objects.npy", np.array([{}, {}], dtype=object), allow_pickle=True)
    torch.save({"x": torch.nn.Linear(2, 2)}, "code.pt")
    for name in ("bad.npz", "file.csv", "file.txt"):
        with open(name, "w") as file:
            file.write("nothing\n")
    with pytest.raises(InputError, match=message):
        Embeddings(**settings).splits()
