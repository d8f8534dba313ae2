import hashlib
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from fewshot.data import ImageBank
from fewshot.data.omniglot import dataset as omniglot
from fewshot.data.omniglot.dataset import Omniglot
from guided.errors import InputError

Same = Callable[[ImageBank, ImageBank], bool]
MakeZips = Callable[[Path, Path], None]


def test_all_sources_give_the_same_bank(tmp_path, zipped, extracted, make_zips, same):
    expected = Omniglot(zipped).bank()
    make_zips(tmp_path / "torchvision" / "omniglot-py", extracted)
    mixed = tmp_path / "mixed"
    make_zips(mixed, extracted)
    (mixed / "images_background.zip").unlink()
    shutil.copytree(extracted / "images_background", mixed / "images_background")
    for other in (extracted, tmp_path / "torchvision", mixed):
        assert same(Omniglot(other).bank(), expected)


def fails(root, *words):
    """Splitting and listing both report it, in one line that has all the words."""
    with pytest.raises(InputError) as caught:
        Omniglot(root, validation_alphabets=1).splits()
    message = str(caught.value)
    assert "\n" not in message
    for word in (*words, "fewshot data --download omniglot"):
        assert word in message
    assert not Omniglot(root).listing().found


@pytest.mark.parametrize("part", ["images_background", "images_evaluation"])
def test_missing_and_broken_archives(zipped, part):
    path = zipped / "omniglot" / f"{part}.zip"
    for content in (path.read_bytes()[:-400], b"<!DOCTYPE html><html>Not Found</html>"):
        path.write_bytes(content)
        fails(zipped, str(path), "not a complete zip archive")
    path.unlink()
    fails(zipped, str(zipped), f"omniglot/{part}.zip", "not found")


def test_archive_without_images(zipped):
    path = zipped / "omniglot" / "images_background.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("strokes/Greek/character01/0001_01.txt", "1,2,3")
    fails(zipped, str(path), "expected the 24 images of images_background/<alphabet>", "found 0")


def test_interrupted_extraction(extracted):
    shutil.rmtree(extracted / "images_evaluation" / "Kannada" / "character02")
    fails(extracted, str(extracted / "images_evaluation"), "expected the 15 images", "found 12")


def test_swapped_archives(zipped, monkeypatch):
    folder = zipped / "omniglot"
    (folder / "images_background.zip").rename(folder / "other.zip")
    (folder / "images_evaluation.zip").rename(folder / "images_background.zip")
    (folder / "other.zip").rename(folder / "images_evaluation.zip")
    monkeypatch.setattr(omniglot, "PARTS", {"images_background": 15, "images_evaluation": 24})
    with pytest.raises(InputError, match="Angelic is not an alphabet of images_background"):
        Omniglot(zipped).splits()


@pytest.mark.parametrize("name", ["Greek/character01/drawing.png", "0001_01.png"])
def test_another_layout(extracted, name):
    path = extracted / "images_background" / "Greek" / "character01" / "0001_01.png"
    path.rename(extracted / "images_background" / name)
    with pytest.raises(InputError, match=rf"{name}: expected <alphabet>/<character>"):
        Omniglot(extracted).splits()


def test_undecodable_image(extracted):
    path = extracted / "images_background" / "Latin" / "character02" / "0002_03.png"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match=r"Latin/character02/0002_03.png: cannot be decoded"):
        Omniglot(extracted).splits()


def test_damaged_entry_of_an_archive(zipped):
    path = zipped / "omniglot" / "images_background.zip"
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo("images_background/Latin/character02/0002_03.png")
    content = bytearray(path.read_bytes())
    middle = entry.header_offset + 30 + len(entry.filename) + entry.compress_size // 2
    content[middle] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"Latin/character02/0002_03.png: cannot be read"):
        Omniglot(zipped, validation_alphabets=1).splits()


def test_what_macs_add_is_left_out(extracted, same):
    before = Omniglot(extracted).bank()
    (extracted / "images_background" / "Latin" / "._character01.png").write_bytes(b"no image")
    (extracted / "images_background" / "__MACOSX").mkdir()
    (extracted / "images_background" / "__MACOSX" / "0001_01.png").write_bytes(b"no image")
    assert same(Omniglot(extracted).bank(), before)


@pytest.fixture
def mirror(server, tmp_path, extracted, make_zips, monkeypatch):
    """A server with the small archives, where torchvision says that the real ones are."""
    from torchvision import datasets

    make_zips(tmp_path / "archives", extracted)
    contents = {
        part: (tmp_path / "archives" / f"{part}.zip").read_bytes() for part in omniglot.PARTS
    }
    digests = {part: hashlib.md5(content).hexdigest() for part, content in contents.items()}
    monkeypatch.setattr(datasets.Omniglot, "zips_md5", digests)
    monkeypatch.setattr(datasets.Omniglot, "download_url_prefix", server.url)
    server.answers |= {f"/{part}.zip": (200, None, contents[part]) for part in contents}
    return server


def test_download(tmp_path, mirror, extracted, same):
    new = [tmp_path / "new", tmp_path / "other"]
    downloaded = Omniglot(new, download=True).splits()
    assert same(downloaded.train, Omniglot(extracted).splits().train)
    assert sorted(path.name for path in (tmp_path / "new" / "omniglot").iterdir()) == [
        *("images_background.zip", "images_evaluation.zip")
    ]
    mirror.answers.clear()
    Omniglot(new[::-1]).download()  # asks nobody: it is there


def test_download_of_something_else(mirror, tmp_path):
    mirror.answers["/images_evaluation.zip"] = (200, None, b"<html></html>")
    with pytest.raises(
        InputError, match=r"omniglot: download failed .*put images_evaluation.zip of"
    ):
        Omniglot(tmp_path / "new").download()
