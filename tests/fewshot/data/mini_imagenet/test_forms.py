import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from fewshot.data.folder import ImageFolder, SharedImagesWarning
from fewshot.data.mini_imagenet import dataset as mini_imagenet
from fewshot.data.mini_imagenet.dataset import MiniImageNet
from fewshot.data.mini_imagenet.splits import TEST, TRAIN, VALIDATION
from guided.errors import InputError

FORMS = ("folders", "archives", "lists", "lists, archive", "pickles")


@pytest.mark.parametrize("size", [84, 16])
def test_every_form_gives_the_same(size, make, same, images, tmp_path):
    first, *others = (MiniImageNet(make(form)[0], size=size).splits() for form in FORMS)
    assert all(same(first, other) for other in others)
    own = ImageFolder(path=tmp_path / "folders" / "mini-imagenet", size=size, channels=3)
    assert same(first, own.splits())
    counts = MiniImageNet().class_counts()
    assert [bank.n_classes for bank in vars(first).values()] == [64, 16, 20] == [*counts.values()]
    n_bytes, start = 3 * size * size, first.train.images.data_ptr()
    for bank, names in zip(vars(first).values(), (TRAIN, VALIDATION, TEST), strict=True):
        assert bank.class_names == tuple(sorted(names))
        assert bank.class_sizes.tolist() == [3] * len(names)
        assert bank.targets().keys() == {"class"}
        assert bank.image_shape == (3, size, size)
        assert bank.images.data_ptr() == start, "splits are views of one array"
        start += len(bank) * n_bytes
        if size == 84:
            expected = np.stack([image for name in sorted(names) for image in images[name]])
            assert np.array_equal(bank.images.permute(0, 2, 3, 1), expected)


@pytest.mark.parametrize("place", ["mini_imagenet", "miniImagenet", "miniimagenet", "."])
def test_places(place, make, tmp_path, listed):
    _, folder = make("pickles")
    (tmp_path / "data" / "mini-imagenet").mkdir(parents=True)
    (tmp_path / "data" / place).mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.rename(tmp_path / "data" / place / path.name)
    where = tmp_path / "data" / place
    listed(MiniImageNet(tmp_path / "data"), f"{where}: 3 images a class", 100, 300)


@pytest.mark.parametrize("form", FORMS)
def test_one_form_is_found_and_decoded_once(form, make, listed, decoded_once):
    root, folder = make(form)
    listed(MiniImageNet(root), f"{folder}: 3 images a class", 100, 300)
    changed = next(path for path in sorted(folder.glob("**/*.[pz]*")) if path.is_file())
    decoded_once(MiniImageNet(root), changed)
    if form.startswith("lists"):
        decoded_once(MiniImageNet(root), folder / "val.csv")
    later = {"folders": ["val.csv", "mini-imagenet-cache-test.pkl"], "pickles": []}
    for name in later.get(form, later["folders"][1:]):  # not looked at
        (folder / name).write_bytes(b"<html>")
    listed(MiniImageNet(root), f"{folder}: 3 images a class", 100, 300)


def test_sizes_are_cached_apart_and_large_sets_decoded_into_a_file(make, monkeypatch, images):
    monkeypatch.setattr("fewshot.data.io.cache.IN_MEMORY", 0)
    for form in ("archives", "pickles"):
        root, _ = make(form)
        assert MiniImageNet(root, size=20).splits().test.image_shape == (3, 20, 20)
        bank = MiniImageNet(root).splits().test
        assert np.array_equal(bank.images[-1].permute(1, 2, 0), images[max(TEST)][-1])


def test_listing_of_unequal_classes(make, listed):
    root, folder = make("folders")
    next(iter((folder / "test" / TEST[3]).iterdir())).unlink()
    listed(MiniImageNet(root), f"{folder}: 2 to 3 images a class", 100, 299)
    assert MiniImageNet(root).splits().test.class_sizes.tolist() == [3] * 3 + [2] + [3] * 16


@pytest.mark.parametrize("form", ["folders", "archives", "lists", "pickles"])
def test_images_shared_between_splits(form, images, pngs, make):
    one, two = sorted(TRAIN)[5], sorted(VALIDATION)[2]
    source = images if form == "pickles" else pngs
    root, folder = make(form, {two: [*source[two][:2], source[one][1]]})
    names = {
        "lists": [f"{one}00000001.png", f"{two}00000002.png"],
        "pickles": [f"image 1 of {one}", f"image 2 of {two}"],
    }.get(form, [f"train/{one}/{one}00000001.png", f"val/{two}/{two}00000002.png"])
    for _ in range(2):  # also when the bank comes from the cache
        with pytest.warns(SharedImagesWarning) as caught:
            MiniImageNet(root, size=8).splits()
        (message,) = [str(warning.message) for warning in caught]
        assert message.startswith(f"{folder}: 1 image is in two splits")
        assert f"{names[0]} (train) and {names[1]} (validation)" in message


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


def test_real_split_and_shared_image(real, tmp_path, listed):
    root = real("mini-imagenet")
    parts = sorted((root / "mini-imagenet").glob("*.zip"))
    if len(parts) != 3:
        pytest.skip("needs the three archives of 100 images a class")
    listed(MiniImageNet(root), f"{root / 'mini-imagenet'}: 300 images a class", 100, 30_000)
    # Ten images of each class, and all of the two that share one.
    (tmp_path / "mini-imagenet").mkdir()
    for part in parts:
        chosen = {}
        with zipfile.ZipFile(part) as source:
            for name in source.namelist():
                chosen.setdefault(Path(name).parent.name, []).append(name)
            with zipfile.ZipFile(tmp_path / "mini-imagenet" / part.name, "w") as few:
                for synset, names in chosen.items():
                    n = None if synset in ("n04389033", "n02950826") else 3
                    for name in sorted(names)[:n]:
                        few.writestr(name, source.read(name))
    with pytest.warns(SharedImagesWarning, match=r"1 image is .*n04389033.*n02950826"):
        splits = MiniImageNet(tmp_path).splits()
    assert [bank.n_classes for bank in vars(splits).values()] == [64, 16, 20]
    assert splits.test.class_sizes.tolist() == [9] * 20
    # The training images' mean that is commonly subtracted, 120.4, 115.6, 104.5 of 255.
    equal = splits.train.rows((splits.train.labels != TRAIN.index("n04389033")).nonzero()[:, 0])
    means = equal.images.float().mean((0, 2, 3))
    assert torch.allclose(means, torch.tensor([120.4, 115.6, 104.5]), atol=5)
