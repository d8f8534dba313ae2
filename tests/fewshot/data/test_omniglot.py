import functools
import hashlib
import http.server
import io
import os
import shutil
import threading
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fewshot.data import ImageBank, Splits, omniglot, omniglot_splits
from fewshot.data.omniglot import Omniglot
from guided.errors import InputError

Same = Callable[[ImageBank, ImageBank], bool]

CHARACTERS = {
    "images_background": {"Latin": [1, 2, 3], "Hebrew": [1, 2], "Greek": [1, 2], "N_Ko": [1]},
    "images_evaluation": {"Kannada": [1, 2], "Gurmukhi": [41, 42], "Angelic": [1]},
}
DRAWERS = 3
NAMES = (
    *("Greek/character01", "Greek/character02", "Hebrew/character01", "Hebrew/character02"),
    *("Latin/character01", "Latin/character02", "Latin/character03", "N_Ko/character01"),
    *("Angelic/character01", "Gurmukhi/character41", "Gurmukhi/character42"),
    *("Kannada/character01", "Kannada/character02"),
)


def drawing(seed: int) -> bytes:
    """Black strokes on white, one bit a pixel, as in Omniglot."""
    pixels = np.full((105, 105), True)
    rows, columns = np.random.default_rng(seed).integers(25, 80, (2, 3))
    for row, column in zip(rows, columns, strict=True):
        pixels[row - 5 : row + 5, 10:column] = False
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


def make_folders(root: Path) -> None:
    seed = 0
    for part, alphabets in CHARACTERS.items():
        for alphabet, characters in alphabets.items():
            for character in characters:
                folder = root / part / alphabet / f"character{character:02}"
                folder.mkdir(parents=True)
                for drawer in range(1, DRAWERS + 1):
                    seed += 1
                    (folder / f"{character:04}_{drawer:02}.png").write_bytes(drawing(seed))


def make_zips(root: Path, source: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for part in CHARACTERS:
        shutil.make_archive(str(root / part), "zip", source, part)


@pytest.fixture
def extracted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small Omniglot in folders, which passes for complete."""
    counts = {
        part: DRAWERS * sum(map(len, alphabets.values())) for part, alphabets in CHARACTERS.items()
    }
    monkeypatch.setattr(omniglot, "PARTS", counts)
    make_folders(tmp_path / "extracted")
    return tmp_path / "extracted"


@pytest.fixture
def root(tmp_path: Path, extracted: Path) -> Path:
    """The small Omniglot in its two archives."""
    make_zips(tmp_path / "data" / "omniglot", extracted)
    return tmp_path / "data"


def everything(root: Path) -> ImageBank:
    return Omniglot(root, validation_alphabets=1)._bank()


def test_all_sources_give_the_same_bank(
    tmp_path: Path, root: Path, extracted: Path, same: Same
) -> None:
    zipped = everything(root)
    make_zips(tmp_path / "torchvision" / "omniglot-py", extracted)
    mixed = tmp_path / "mixed"
    make_zips(mixed, extracted)
    (mixed / "images_background.zip").unlink()
    shutil.copytree(extracted / "images_background", mixed / "images_background")
    for other in (extracted, tmp_path / "torchvision", mixed):
        assert same(everything(other), zipped)


def test_the_whole_bank(root: Path) -> None:
    bank = everything(root)
    assert bank.class_names == NAMES
    assert bank.image_shape == (1, 28, 28)
    assert bank.labels.tolist() == [i for i in range(len(NAMES)) for _ in range(DRAWERS)]
    assert bank.attributes["drawer"].tolist() == [0, 1, 2] * len(NAMES)
    alphabets = bank.attributes["alphabet"][::DRAWERS].tolist()
    assert alphabets == [0, 0, 1, 1, 2, 2, 2, 3, 4, 5, 5, 6, 6]
    assert bank.targets().keys() == {"class", "alphabet", "drawer"}
    assert bank.images[:, :, 0, :].max() == 0, "the paper is 0"
    assert bank.images.amax((1, 2, 3)).min() == 255, "ink is 255"


def test_decoding_is_pillows(root: Path, extracted: Path) -> None:
    train = Omniglot(root, size=20, split="vinyals").splits().train
    row = int((train.labels == train.class_names.index("Latin/character02")).nonzero()[1])
    path = extracted / "images_background/Latin/character02/0002_02.png"
    image = Image.open(path).convert("L").resize((20, 20), Image.Resampling.LANCZOS)
    assert np.array_equal(train.images[row, 0], 255 - np.asarray(image))
    assert train.attributes["drawer"][row] == 1


def test_at_their_own_size_drawings_are_exact(root: Path, extracted: Path) -> None:
    bank = Omniglot(root, size=105, validation_alphabets=1)._bank()
    path = extracted / "images_background/Greek/character01/0001_01.png"
    assert np.array_equal(bank.images[0, 0] == 0, np.asarray(Image.open(path)))
    assert set(bank.images.unique().tolist()) == {0, 255}


def named(splits: Splits) -> list[set[str]]:
    return [set(bank.class_names) for bank in (splits.train, splits.validation, splits.test)]


def test_lake_holds_out_alphabets(root: Path) -> None:
    held_out = set()
    for seed in range(12):
        splits = Omniglot(root, validation_alphabets=2, split_seed=seed).splits()
        train, validation, test = named(splits)
        assert test == set(NAMES[8:])
        assert train | validation == set(NAMES[:8])
        alphabets = {name.split("/")[0] for name in validation}
        assert len(alphabets) == 2
        assert alphabets.isdisjoint(name.split("/")[0] for name in train)
        again = Omniglot(root, validation_alphabets=2, split_seed=seed).splits()
        assert named(again) == [train, validation, test]
        held_out.add(frozenset(alphabets))
    assert len(held_out) > 1, "the seed has no effect"


def test_vinyals_divides_one_alphabet(root: Path) -> None:
    train, validation, test = named(Omniglot(root, split="vinyals").splits())
    assert validation == {"Hebrew/character01", "Hebrew/character02"}
    assert test == {"Gurmukhi/character42", "Kannada/character01", "Kannada/character02"}
    assert train == set(NAMES) - validation - test


def test_shuffled_split() -> None:
    names = [f"A{i // 40:02}/character{i % 40:02}" for i in range(1623)]
    positions = omniglot_splits.shuffled(names, 0)
    parts = (positions.train, positions.validation, positions.test)
    assert [len(part) for part in parts] == [1100, 100, 423]
    assert sorted(i for part in parts for i in part) == list(range(1623))
    assert all(part == sorted(part) for part in parts)
    assert positions == omniglot_splits.shuffled(names, 0)
    assert positions != omniglot_splits.shuffled(names, 1)


@pytest.mark.parametrize(
    ("rotations", "factors"),
    [("none", (1, 1, 1)), ("train", (4, 1, 1)), ("test", (1, 4, 4)), ("all", (4, 4, 4))],
)
def test_rotations(root: Path, rotations: omniglot.Rotations, factors: tuple[int, ...]) -> None:
    upright = Omniglot(root, split="vinyals").splits()
    turned = Omniglot(root, split="vinyals", rotations=rotations).splits()
    for name, factor in zip(("train", "validation", "test"), factors, strict=True):
        before, after = getattr(upright, name), getattr(turned, name)
        assert after.n_classes == factor * before.n_classes
        assert len(after) == factor * len(before)
    if turned.test.n_classes > upright.test.n_classes:
        n = len(upright.test)
        assert torch.equal(turned.test.images[2 * n : 3 * n], upright.test.images.flip(2, 3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "mine"}, "Omniglot.split: expected one of lake, vinyals, random, got mine"),
        ({"rotations": True}, "Omniglot.rotations: expected one of none"),
        ({"size": 0}, "Omniglot.size: expected at least 1"),
        ({"validation_alphabets": 0}, "Omniglot.validation_alphabets: expected 1 … 29, got 0"),
        ({"validation_alphabets": 30}, "Omniglot.validation_alphabets: expected 1 … 29, got 30"),
        ({"split_seed": -1}, "Omniglot.split_seed: expected >= 0"),
        ({"split": "vinyals", "split_seed": 1}, "Omniglot.split_seed: the split vinyals is fixed"),
        ({"split": "random", "validation_alphabets": 5}, "the split random holds out its own"),
    ],
)
def test_impossible_settings(tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Omniglot(tmp_path, **options)


def fails(root: Path, *words: str) -> None:
    """Splitting and listing both report it, in one line that has all the words."""
    with pytest.raises(InputError) as caught:
        Omniglot(root, validation_alphabets=1).splits()
    message = str(caught.value)
    assert "\n" not in message
    for word in (*words, "fewshot data --download omniglot"):
        assert word in message
    assert not Omniglot(root).listing().found


def test_missing_everything(tmp_path: Path) -> None:
    fails(tmp_path, str(tmp_path / "omniglot" / "images_background.zip"), "not found")


def test_missing_one_archive(root: Path) -> None:
    (root / "omniglot" / "images_evaluation.zip").unlink()
    fails(root, str(root / "omniglot" / "images_evaluation.zip"), "not found")


def test_truncated_archive(root: Path) -> None:
    path = root / "omniglot" / "images_evaluation.zip"
    path.write_bytes(path.read_bytes()[:-400])
    fails(root, str(path), "expected a complete zip archive")


def test_web_page_instead_of_archive(root: Path) -> None:
    path = root / "omniglot" / "images_background.zip"
    path.write_text("<!DOCTYPE html><html>Not Found</html>")
    fails(root, str(path), "expected a complete zip archive")


def test_archive_without_images(root: Path) -> None:
    path = root / "omniglot" / "images_background.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("strokes/Greek/character01/0001_01.txt", "1,2,3")
    fails(root, str(path), "has 0 images, expected the 24 of images_background/<alphabet>")


def test_interrupted_extraction(extracted: Path) -> None:
    shutil.rmtree(extracted / "images_evaluation" / "Kannada" / "character02")
    fails(extracted, str(extracted / "images_evaluation"), "has 12 images, expected the 15")


def test_swapped_archives(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = root / "omniglot"
    (folder / "images_background.zip").rename(folder / "other.zip")
    (folder / "images_evaluation.zip").rename(folder / "images_background.zip")
    (folder / "other.zip").rename(folder / "images_evaluation.zip")
    monkeypatch.setattr(omniglot, "PARTS", {"images_background": 15, "images_evaluation": 24})
    with pytest.raises(InputError, match="the alphabet Angelic is not one of images_background"):
        Omniglot(root).splits()


@pytest.mark.parametrize("name", ["Greek/character01/drawing.png", "0001_01.png"])
def test_another_layout(extracted: Path, name: str) -> None:
    path = extracted / "images_background" / "Greek" / "character01" / "0001_01.png"
    path.rename(extracted / "images_background" / name)
    with pytest.raises(InputError, match=rf"{name}: expected <alphabet>/<character>"):
        Omniglot(extracted).splits()


def test_undecodable_image(extracted: Path) -> None:
    path = extracted / "images_background" / "Latin" / "character02" / "0002_03.png"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match=r"Latin/character02/0002_03.png: expected an image"):
        Omniglot(extracted).splits()


def test_damaged_entry_of_an_archive(root: Path) -> None:
    path = root / "omniglot" / "images_background.zip"
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo("images_background/Latin/character02/0002_03.png")
    content = bytearray(path.read_bytes())
    middle = entry.header_offset + 30 + len(entry.filename) + entry.compress_size // 2
    content[middle] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"Latin/character02/0002_03.png: cannot be read"):
        Omniglot(root, validation_alphabets=1).splits()


def test_what_macs_add_is_left_out(extracted: Path, same: Same) -> None:
    before = everything(extracted)
    (extracted / "images_background" / "Latin" / "._character01.png").write_bytes(b"no image")
    (extracted / "images_background" / "__MACOSX").mkdir()
    (extracted / "images_background" / "__MACOSX" / "0001_01.png").write_bytes(b"no image")
    assert same(everything(extracted), before)


@pytest.mark.parametrize("source", ["root", "extracted"])
def test_decoded_once_until_a_source_changes(
    source: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = request.getfixturevalue(source)
    first = everything(folder)
    with monkeypatch.context() as patch:
        patch.setattr(omniglot, "decode", None)
        everything(folder)
    path = next(folder.glob("**/Greek/character01/0001_01.png"), None)
    if path:
        path.write_bytes(drawing(1000))
    else:
        archive = next(folder.glob("**/images_background.zip"))
        status = archive.stat()
        os.utime(archive, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
        monkeypatch.setattr(omniglot, "decode", counted := Counted(omniglot.decode))
    second = everything(folder)
    if path:
        assert not torch.equal(first.images[0], second.images[0])
        assert torch.equal(first.images[1:], second.images[1:])
    else:
        assert counted.calls == 1


class Counted:
    def __init__(self, function: Callable[..., object]) -> None:
        self.function = function
        self.calls = 0

    def __call__(self, *args: object, **kwargs: object) -> object:
        self.calls += 1
        return self.function(*args, **kwargs)


@pytest.mark.usefixtures("no_decoding")
def test_listing(tmp_path: Path, root: Path, extracted: Path) -> None:
    for folder, where in ((root, root / "omniglot"), (extracted, extracted)):
        found = Omniglot(folder).listing()
        assert (found.name, found.found, found.where) == ("omniglot", True, str(where))
        assert (found.classes, found.images) == (len(NAMES), len(NAMES) * DRAWERS)
    nothing = Omniglot(tmp_path).listing()
    assert (nothing.found, nothing.classes, nothing.images) == (False, None, None)
    assert nothing.where == str(tmp_path / "omniglot")
    assert nothing.how_to_get == "fewshot data --download omniglot"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, extracted: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the small archives, where torchvision goes for the real ones."""
    from torchvision import datasets

    folder = tmp_path / "server"
    make_zips(folder, extracted)
    digests = {
        part: hashlib.md5((folder / f"{part}.zip").read_bytes()).hexdigest() for part in CHARACTERS
    }
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        address = f"http://127.0.0.1:{listening.server_port}"
        monkeypatch.setattr(datasets.Omniglot, "zips_md5", digests)
        monkeypatch.setattr(datasets.Omniglot, "download_url_prefix", address)
        yield folder
        listening.shutdown()
        thread.join()


@pytest.mark.usefixtures("server")
def test_download(tmp_path: Path, extracted: Path, same: Same) -> None:
    dataset = Omniglot(tmp_path / "new", download=True, validation_alphabets=1)
    downloaded = dataset.splits()
    assert dataset.listing().found
    local = Omniglot(extracted, validation_alphabets=1).splits()
    assert same(downloaded.train, local.train)
    assert same(downloaded.test, local.test)


@pytest.mark.usefixtures("server")
def test_download_completes_half_a_dataset(tmp_path: Path) -> None:
    Omniglot(tmp_path / "new").download()
    (tmp_path / "new" / "omniglot-py" / "images_evaluation.zip").unlink()
    shutil.rmtree(tmp_path / "new" / "omniglot-py" / "images_evaluation")
    assert not Omniglot(tmp_path / "new").listing().found
    Omniglot(tmp_path / "new").download()
    assert Omniglot(tmp_path / "new").listing().found


def test_download_of_what_is_there_asks_nobody(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urllib.request, "urlopen", None)
    Omniglot(root).download()


def test_failed_download_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*args: object, **kwargs: object) -> None:
        raise urllib.error.URLError("Name or service\nnot known")

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    with pytest.raises(InputError) as caught:
        Omniglot(tmp_path, download=True).splits()
    message = str(caught.value)
    assert "omniglot: download failed" in message
    assert "Name or service not known" in message
    assert f"github.com/brendenlake/omniglot/tree/master/python into {tmp_path}" in message
    assert "\n" not in message


def test_download_of_something_else(server: Path, tmp_path: Path) -> None:
    (server / "images_background.zip").write_text("<html></html>")
    with pytest.raises(InputError, match="omniglot: download failed"):
        Omniglot(tmp_path / "new").download()


@pytest.fixture
def real_root(
    real: Callable[[str], Path], shared_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    monkeypatch.setenv("FEWSHOT_CACHE", str(shared_cache))
    return real("omniglot")


def alphabet_sizes(bank: ImageBank) -> dict[str, int]:
    names = [name.split("/")[0] for name in bank.class_names]
    return {name: names.count(name) for name in names}


def test_real_lake(real_root: Path) -> None:
    splits = Omniglot(real_root).splits()
    train, validation, test = named(splits)
    assert len(train) + len(validation) == 964
    assert len(test) == 659
    assert not (train & validation or train & test or validation & test)
    assert len(alphabet_sizes(splits.validation)) == 3
    assert len(alphabet_sizes(splits.test)) == 20
    assert splits.test.attributes["alphabet"].unique().tolist() == list(range(30, 50))
    for bank in (splits.train, splits.validation, splits.test):
        assert bank.class_sizes.unique().tolist() == [20]
        assert bank.attributes["drawer"].bincount().unique().tolist() == [bank.n_classes]


def test_real_vinyals_is_the_published_one(real_root: Path) -> None:
    # Counted in the lists that come with Snell et al. (2017).
    splits = Omniglot(real_root, split="vinyals").splits()
    assert splits.train.n_classes == 1028
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
    train, validation, test = named(splits)
    assert not (train & validation or train & test or validation & test)
    assert (splits.validation.n_classes, splits.test.n_classes) == (172, 423)


def test_real_random(real_root: Path) -> None:
    splits = Omniglot(real_root, split="random", split_seed=3).splits()
    train, validation, test = named(splits)
    assert [len(names) for names in (train, validation, test)] == [1100, 100, 423]
    assert len(train | validation | test) == 1623


def test_real_drawings_are_decoded_as_pillow_does(real_root: Path) -> None:
    dataset = Omniglot(real_root)
    bank = dataset._bank()
    assert len(bank) == 32_460
    first = dataset._sources()[0]
    if first.suffix != ".zip":
        pytest.skip("the real dataset is extracted")
    with zipfile.ZipFile(first) as archive:
        content = archive.read("images_background/Alphabet_of_the_Magi/character01/0709_01.png")
    image = Image.open(io.BytesIO(content)).convert("L")
    assert image.size == (105, 105)
    expected = 255 - np.asarray(image.resize((28, 28), Image.Resampling.LANCZOS))
    assert np.array_equal(bank.images[0, 0], expected)
    assert bank.images[:, 0, 0, 0].float().mean() < 5, "corners are paper, 0"
    assert 0.05 < bank.images.float().mean() / 255 < 0.12, "ink is scarce"


def test_real_test_split_shares_the_banks_memory(real_root: Path) -> None:
    dataset = Omniglot(real_root)
    bank = dataset._bank()
    positions = dataset._positions(bank.class_names)
    view = bank.classes(positions.test)
    assert view.images.data_ptr() == bank.images[19_280:].data_ptr()
    assert view.labels.min() == 0
