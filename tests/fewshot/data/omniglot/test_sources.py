import functools
import hashlib
import http.server
import shutil
import threading
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fewshot.data import ImageBank
from fewshot.data.omniglot import dataset as omniglot
from fewshot.data.omniglot.dataset import Omniglot
from guided.errors import InputError

Same = Callable[[ImageBank, ImageBank], bool]
MakeZips = Callable[[Path, Path], None]


def everything(root: Path) -> ImageBank:
    return Omniglot(root, validation_alphabets=1)._bank()


def test_all_sources_give_the_same_bank(
    tmp_path: Path, zipped: Path, extracted: Path, make_zips: MakeZips, same: Same
) -> None:
    expected = everything(zipped)
    make_zips(tmp_path / "torchvision" / "omniglot-py", extracted)
    mixed = tmp_path / "mixed"
    make_zips(mixed, extracted)
    (mixed / "images_background.zip").unlink()
    shutil.copytree(extracted / "images_background", mixed / "images_background")
    for other in (extracted, tmp_path / "torchvision", mixed):
        assert same(everything(other), expected)


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


def test_missing_one_archive(zipped: Path) -> None:
    (zipped / "omniglot" / "images_evaluation.zip").unlink()
    fails(zipped, str(zipped / "omniglot" / "images_evaluation.zip"), "not found")


def test_truncated_archive(zipped: Path) -> None:
    path = zipped / "omniglot" / "images_evaluation.zip"
    path.write_bytes(path.read_bytes()[:-400])
    fails(zipped, str(path), "expected a complete zip archive")


def test_web_page_instead_of_archive(zipped: Path) -> None:
    path = zipped / "omniglot" / "images_background.zip"
    path.write_text("<!DOCTYPE html><html>Not Found</html>")
    fails(zipped, str(path), "expected a complete zip archive")


def test_archive_without_images(zipped: Path) -> None:
    path = zipped / "omniglot" / "images_background.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("strokes/Greek/character01/0001_01.txt", "1,2,3")
    fails(zipped, str(path), "has 0 images, expected the 24 of images_background/<alphabet>")


def test_interrupted_extraction(extracted: Path) -> None:
    shutil.rmtree(extracted / "images_evaluation" / "Kannada" / "character02")
    fails(extracted, str(extracted / "images_evaluation"), "has 12 images, expected the 15")


def test_swapped_archives(zipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = zipped / "omniglot"
    (folder / "images_background.zip").rename(folder / "other.zip")
    (folder / "images_evaluation.zip").rename(folder / "images_background.zip")
    (folder / "other.zip").rename(folder / "images_evaluation.zip")
    monkeypatch.setattr(omniglot, "PARTS", {"images_background": 15, "images_evaluation": 24})
    with pytest.raises(InputError, match="alphabet Angelic is not one of images_background"):
        Omniglot(zipped).splits()


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


def test_damaged_entry_of_an_archive(zipped: Path) -> None:
    path = zipped / "omniglot" / "images_background.zip"
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo("images_background/Latin/character02/0002_03.png")
    content = bytearray(path.read_bytes())
    middle = entry.header_offset + 30 + len(entry.filename) + entry.compress_size // 2
    content[middle] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"Latin/character02/0002_03.png: cannot be read"):
        Omniglot(zipped, validation_alphabets=1).splits()


def test_what_macs_add_is_left_out(extracted: Path, same: Same) -> None:
    before = everything(extracted)
    (extracted / "images_background" / "Latin" / "._character01.png").write_bytes(b"no image")
    (extracted / "images_background" / "__MACOSX").mkdir()
    (extracted / "images_background" / "__MACOSX" / "0001_01.png").write_bytes(b"no image")
    assert same(everything(extracted), before)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(
    tmp_path: Path, extracted: Path, make_zips: MakeZips, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A folder with the small archives, where torchvision goes for the real ones."""
    from torchvision import datasets

    folder = tmp_path / "server"
    make_zips(folder, extracted)
    digests = {
        part: hashlib.md5((folder / f"{part}.zip").read_bytes()).hexdigest()
        for part in omniglot.PARTS
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


def test_download_of_what_is_there_asks_nobody(
    zipped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(urllib.request, "urlopen", None)
    Omniglot(zipped).download()


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
