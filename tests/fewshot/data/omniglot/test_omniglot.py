import shutil
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets

from fewshot.data.omniglot import dataset as omniglot
from fewshot.data.omniglot import splits as omniglot_splits
from fewshot.data.omniglot.dataset import Omniglot
from guided.errors import InputError

DRAWERS = 3
NAMES = (
    *("Greek/character01", "Greek/character02", "Hebrew/character01", "Hebrew/character02"),
    *("Latin/character01", "Latin/character02", "Latin/character03", "N_Ko/character01"),
    *("Angelic/character01", "Gurmukhi/character41", "Gurmukhi/character42"),
    *("Kannada/character01", "Kannada/character02"),
)


def test_the_whole_bank(zipped):
    bank = Omniglot(zipped).bank()
    assert bank.class_names == NAMES
    assert bank.image_shape == (1, 28, 28)
    assert bank.labels.tolist() == [i for i in range(len(NAMES)) for _ in range(DRAWERS)]
    assert bank.attributes["drawer"].tolist() == [0, 1, 2] * len(NAMES)
    alphabets = bank.attributes["alphabet"][::DRAWERS].tolist()
    assert alphabets == [0, 0, 1, 1, 2, 2, 2, 3, 4, 5, 5, 6, 6]
    assert bank.targets().keys() == {"class", "alphabet", "drawer"}
    assert bank.images[:, :, 0, :].max() == 0, "the paper is 0"
    assert bank.images.amax((1, 2, 3)).min() == 255, "ink is 255"


def test_decoding_is_pillows(zipped, extracted):
    train = Omniglot(zipped, size=20, split="vinyals").splits().train
    row = int((train.labels == train.class_names.index("Latin/character02")).nonzero()[1])
    path = extracted / "images_background/Latin/character02/0002_02.png"
    image = Image.open(path).convert("L").resize((20, 20), Image.Resampling.LANCZOS)
    assert np.array_equal(train.images[row, 0], 255 - np.asarray(image))
    assert train.attributes["drawer"][row] == 1
    # At their own size drawings are exact.
    bank = Omniglot(zipped, size=105).bank()
    path = extracted / "images_background/Greek/character01/0001_01.png"
    assert np.array_equal(bank.images[0, 0] == 0, np.asarray(Image.open(path)))
    assert set(bank.images.unique().tolist()) == {0, 255}


def named(splits):
    return [set(bank.class_names) for bank in vars(splits).values()]


def test_lake_holds_out_alphabets(zipped, refused):
    def drawn(seed):
        return named(Omniglot(zipped, validation_alphabets=2, split_seed=seed).splits())

    for seed in range(6):
        train, validation, test = drawn(seed)
        assert test == set(NAMES[8:])
        assert train | validation == set(NAMES[:8])
        alphabets = {name.split("/")[0] for name in validation}
        assert len(alphabets) == 2
        assert alphabets.isdisjoint(name.split("/")[0] for name in train)
        assert drawn(seed) == [train, validation, test]
    assert any(drawn(seed) != drawn(0) for seed in range(6)), "the seed has no effect"
    wanted = "validation_alphabets: expected fewer than the 4 background alphabets, got 4"
    refused(Omniglot(zipped, validation_alphabets=4), wanted)


def test_vinyals_divides_one_alphabet(zipped):
    train, validation, test = named(Omniglot(zipped, split="vinyals").splits())
    assert validation == {"Hebrew/character01", "Hebrew/character02"}
    assert test == {"Gurmukhi/character42", "Kannada/character01", "Kannada/character02"}
    assert train == set(NAMES) - validation - test


def test_shuffled_split(zipped, monkeypatch):
    monkeypatch.setattr(omniglot_splits, "RANDOM_TRAIN", 6)
    monkeypatch.setattr(omniglot_splits, "RANDOM_VALIDATION", 3)

    def drawn(seed):
        return named(Omniglot(zipped, split="random", split_seed=seed).splits())

    assert list(map(len, drawn(0))) == [6, 3, 4]
    assert set().union(*drawn(0)) == set(NAMES)
    assert drawn(0) == drawn(0) != drawn(1)


@pytest.mark.parametrize(
    ("rotations", "factors"),
    [("none", (1, 1, 1)), ("train", (4, 1, 1)), ("test", (1, 4, 4)), ("all", (4, 4, 4))],
)
def test_rotations(zipped, rotations, factors):
    upright = Omniglot(zipped, split="vinyals").splits()
    turned = Omniglot(zipped, split="vinyals", rotations=rotations).splits()
    pairs = list(zip(vars(upright).values(), vars(turned).values(), strict=True))
    assert tuple(after.n_classes / before.n_classes for before, after in pairs) == factors
    assert tuple(len(after) / len(before) for before, after in pairs) == factors
    if factors[2] == 4:
        n = len(upright.test)
        assert torch.equal(turned.test.images[2 * n : 3 * n], upright.test.images.flip(2, 3))


def test_listed_and_decoded_once_until_a_source_changes(zipped, extracted, listed, decoded_once):
    archive = zipped / "omniglot" / "images_background.zip"
    image = extracted / "images_evaluation" / "Kannada" / "character01" / "0001_01.png"
    for root, where, path in ((zipped, archive.parent, archive), (extracted, extracted, image)):
        listed(Omniglot(root), where, len(NAMES), len(NAMES) * DRAWERS)
        decoded_once(Omniglot(root, validation_alphabets=1), path)


@pytest.fixture
def fails(refused):
    """``fails(root, *words)``: reading and listing fail with the words and the remedy."""
    remedy = "fewshot data --download omniglot"
    return lambda root, *words: refused(Omniglot(root), *words, remedy, listing=True)


def test_all_sources_give_the_same_bank(tmp_path, zipped, extracted, same):
    expected = Omniglot(zipped).bank()
    shutil.copytree(zipped / "omniglot", tmp_path / "torchvision" / "omniglot-py")
    mixed = tmp_path / "mixed"
    shutil.copytree(zipped / "omniglot", mixed)
    (mixed / "images_background.zip").unlink()
    shutil.copytree(extracted / "images_background", mixed / "images_background")
    # What Macs add is left out.
    (extracted / "images_background" / "Latin" / "._character01.png").write_bytes(b"no image")
    (extracted / "images_background" / "__MACOSX").mkdir()
    (extracted / "images_background" / "__MACOSX" / "0001_01.png").write_bytes(b"no image")
    for other in (extracted, tmp_path / "torchvision", mixed):
        assert same(Omniglot(other).bank(), expected)


def test_the_authors_repository_and_its_small_sets(tmp_path, zipped, extracted, same, monkeypatch):
    python = tmp_path / "cloned" / "omniglot" / "python"
    shutil.copytree(zipped / "omniglot", python)
    expected = Omniglot(zipped).bank()
    assert same(Omniglot(tmp_path / "cloned").bank(), expected)
    assert same(Omniglot(tmp_path / "cloned" / "omniglot").bank(), expected)
    monkeypatch.setattr(omniglot, "DRAWERS", DRAWERS)
    small = Omniglot(tmp_path / "cloned", background="small1", validation_alphabets=1)
    how = r"images_background_small1.zip of https.* beside images_evaluation.zip"
    with pytest.raises(InputError, match=rf"images_background_small1.zip and .* not found.*{how}"):
        small.splits()
    few = tmp_path / "images_background_small1"
    for alphabet in ("Greek", "Latin"):
        shutil.copytree(extracted / "images_background" / alphabet, few / alphabet)
    shutil.make_archive(str(python / few.name), "zip", tmp_path, few.name)
    train, validation, test = named(small.splits())
    assert train | validation == {name for name in NAMES if name[:5] in ("Greek", "Latin")}
    assert {len(train), len(validation)} == {2, 3}
    assert test == set(NAMES[8:])
    (few / "Greek" / "character01" / "0006_01.png").unlink(missing_ok=True)
    next((few / "Latin").glob("*/*.png")).unlink()
    shutil.make_archive(str(python / few.name), "zip", tmp_path, few.name)
    with pytest.raises(InputError, match=r"small1.zip: expected the 15 images .*, found 14; "):
        small.splits()


@pytest.mark.parametrize("part", ["images_background", "images_evaluation"])
def test_missing_and_broken_archives(zipped, part, fails, refused):
    path = zipped / "omniglot" / f"{part}.zip"
    for content in (path.read_bytes()[:-400], b"<!DOCTYPE html><html>Not Found</html>"):
        path.write_bytes(content)
        fails(zipped, str(path), "not a complete zip archive")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("strokes/Greek/character01/0001_01.txt", "1,2,3")
    fails(zipped, f"{path}: expected the ", f" images of {part}/<alphabet>", "found 0")
    path.unlink()
    refused(Omniglot(zipped), str(zipped), f"omniglot/{part}.zip", "not found", "--download")
    assert not Omniglot(zipped).listing().found


def test_swapped_archives(zipped, monkeypatch, refused):
    folder = zipped / "omniglot"
    (folder / "images_background.zip").rename(folder / "other.zip")
    (folder / "images_evaluation.zip").rename(folder / "images_background.zip")
    (folder / "other.zip").rename(folder / "images_evaluation.zip")
    monkeypatch.setattr(omniglot, "PARTS", {"images_background": 15, "images_evaluation": 24})
    refused(Omniglot(zipped), "Angelic is not an alphabet of images_background")


def test_damaged_folders_and_archives(extracted, zipped, fails, refused):
    name = "images_background/Latin/character02/0002_03.png"
    path = extracted / name
    for other in ("Greek/character01/drawing.png", "0001_01.png"):
        moved = path.rename(extracted / "images_background" / other)
        refused(Omniglot(extracted), f"{moved}: expected <alphabet>/<character>")
        moved.rename(path)
    shutil.rmtree(extracted / "images_evaluation" / "Kannada" / "character02")
    fails(extracted, str(extracted / "images_evaluation"), "expected the 15 images", "found 12")
    path = zipped / "omniglot" / "images_background.zip"
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo(name)
    content = bytearray(path.read_bytes())
    content[entry.header_offset + 30 + len(entry.filename) + entry.compress_size // 2] ^= 0xFF
    path.write_bytes(content)
    refused(Omniglot(zipped), f"{name}: cannot be read")


def test_download(tmp_path, zipped, extracted, server, serve, same, monkeypatch):
    files = serve({path.name: path.read_bytes() for path in (zipped / "omniglot").iterdir()})
    digests = {file.name.removesuffix(".zip"): file.md5 for file in files}
    monkeypatch.setattr(datasets.Omniglot, "zips_md5", digests)
    monkeypatch.setattr(datasets.Omniglot, "download_url_prefix", server.url)
    new = [tmp_path / "new", tmp_path / "other"]
    downloaded = Omniglot(new, download=True).splits()
    assert same(downloaded, Omniglot(extracted).splits())
    assert {path.name for path in (tmp_path / "new" / "omniglot").iterdir()} == {
        *("images_background.zip", "images_evaluation.zip")
    }
    server.answers.clear()
    Omniglot(new[::-1]).download()  # asks nobody: it is there
    server.answers["/images_evaluation.zip"] = (200, None, b"<html></html>")
    with pytest.raises(InputError, match=r"omniglot: download failed .*put images_.*zip of"):
        Omniglot(tmp_path / "third").download()


@pytest.fixture
def real_root(real, shared_cache, monkeypatch):
    monkeypatch.setenv("FEWSHOT_CACHE", str(shared_cache))
    return real("omniglot")


def alphabet_sizes(bank):
    names = [name.split("/")[0] for name in bank.class_names]
    return {name: names.count(name) for name in names}


def test_real_lake(real_root):
    splits = Omniglot(real_root).splits()
    train, validation, test = named(splits)
    assert [len(train | validation), len(test), len(train | validation | test)] == [964, 659, 1623]
    assert len(alphabet_sizes(splits.validation)) == 3
    assert splits.test.attributes["alphabet"].unique().tolist() == list(range(30, 50))
    # A view: 19 280 images of 28×28 bytes lie before the evaluation part.
    whole = splits.test.images.untyped_storage()
    assert len(splits.test.images) * 784 < len(whole)
    for bank in vars(splits).values():
        assert bank.class_sizes.unique().tolist() == [20]
        assert bank.attributes["drawer"].bincount().unique().tolist() == [bank.n_classes]


def test_real_splits_by_character(real_root):
    splits = Omniglot(real_root, split="vinyals").splits()
    assert [bank.n_classes for bank in vars(splits).values()] == [1028, 172, 423]
    assert len(set().union(*named(splits))) == 1623
    # Counted in the lists that come with Snell et al. (2017).
    assert alphabet_sizes(splits.validation) == {
        **{"Armenian": 41, "Bengali": 46, "Early_Aramaic": 22},
        **{"Hebrew": 22, "Mkhedruli_(Georgian)": 41},
    }
    assert alphabet_sizes(splits.test) == {
        **{"Gurmukhi": 4, "Kannada": 41, "Keble": 26, "Malayalam": 47, "Manipuri": 40},
        **{"Mongolian": 30, "Old_Church_Slavonic_(Cyrillic)": 45, "Oriya": 46, "Sylheti": 28},
        **{"Syriac_(Serto)": 23, "Tengwar": 25, "Tibetan": 42, "ULOG": 26},
    }
    gurmukhi = [name for name in splits.test.class_names if name.startswith("Gurmukhi")]
    assert gurmukhi == [f"Gurmukhi/character{i}" for i in (42, 43, 44, 45)]
    shuffled = Omniglot(real_root, split="random").splits()
    assert [bank.n_classes for bank in vars(shuffled).values()] == [1100, 100, 423]


def test_real_drawings(real_root):
    bank = Omniglot(real_root).bank()
    assert len(bank) == 32_460
    assert bank.images[:, 0, 0, 0].float().mean() < 5, "corners are paper, 0"
    assert 0.05 < bank.images.float().mean() / 255 < 0.12, "ink is scarce"
