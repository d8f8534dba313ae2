import shutil
import zipfile

import pytest
from torchvision import datasets

from fewshot.data.omniglot import dataset as omniglot
from fewshot.data.omniglot.dataset import Omniglot
from guided.errors import InputError


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


def test_interrupted_extraction(extracted, fails):
    shutil.rmtree(extracted / "images_evaluation" / "Kannada" / "character02")
    fails(extracted, str(extracted / "images_evaluation"), "expected the 15 images", "found 12")


def test_swapped_archives(zipped, monkeypatch, refused):
    folder = zipped / "omniglot"
    (folder / "images_background.zip").rename(folder / "other.zip")
    (folder / "images_evaluation.zip").rename(folder / "images_background.zip")
    (folder / "other.zip").rename(folder / "images_evaluation.zip")
    monkeypatch.setattr(omniglot, "PARTS", {"images_background": 15, "images_evaluation": 24})
    refused(Omniglot(zipped), "Angelic is not an alphabet of images_background")


@pytest.mark.parametrize("name", ["Greek/character01/drawing.png", "0001_01.png"])
def test_another_layout(extracted, name, refused):
    path = extracted / "images_background" / "Greek" / "character01" / "0001_01.png"
    path.rename(extracted / "images_background" / name)
    refused(Omniglot(extracted), f"{name}: expected <alphabet>/<character>")


def test_damaged_images(extracted, zipped, refused):
    name = "images_background/Latin/character02/0002_03.png"
    path = extracted / name
    path.write_bytes(path.read_bytes()[:-30])
    refused(Omniglot(extracted), f"{name}: cannot be decoded")
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
