import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from fewshot.data.io import images
from fewshot.data.io.images import decode, find_images
from guided.errors import InputError


def picture(mode="L", size=(30, 30)):
    """Smooth noise of one mode, ``size`` is (width, height)."""
    bands = {"L": 1, "RGB": 3}[mode]
    coarse = np.random.default_rng(7).integers(0, 256, (4, 4, bands)).astype(np.uint8)
    return Image.fromarray(coarse.squeeze()).resize(size, Image.Resampling.BICUBIC)


def decoded(folder, size=(30, 30), **options):
    """The folder's first image as ``[C, H, W]``."""
    settings = {"channels": 1, "invert": False, "title": "test", **options}
    return decode(find_images(folder)[:1], size=size, **settings)[0][0]


@pytest.mark.parametrize("size", [(60, 30), (30, 60)])
def test_shorter_side_resized_then_middle_cut(tmp_path, size):
    image = picture(size=size)
    image.save(tmp_path / "0.png")
    small = np.asarray(image.resize((size[0] // 3, size[1] // 3), Image.Resampling.LANCZOS))
    middle = small[:, 5:15] if size[0] > size[1] else small[5:15]
    found = decoded(tmp_path, (10, 10))
    assert np.abs(found[0].int().numpy() - middle).max() <= 1  # Pillow's rounding
    assert torch.equal(decoded(tmp_path, (10, 10), invert=True), 255 - found)
    assert np.array_equal(decoded(tmp_path, small.shape)[0], small), "same aspect: nothing is cut"
    assert np.array_equal(decoded(tmp_path, (size[1], size[0]))[0], image)


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA", "LA", "P"])
def test_grey_images_of_every_mode(tmp_path, mode):
    image = picture().quantize(16) if mode == "P" else picture().convert(mode)
    image.save(tmp_path / "0.png")
    assert np.array_equal(decoded(tmp_path)[0], image.convert("L"))
    assert torch.equal(decoded(tmp_path, channels=3), decoded(tmp_path).expand(3, -1, -1))


def test_colours(tmp_path):
    image = picture("RGB")
    image.save(tmp_path / "0.png")
    assert np.array_equal(decoded(tmp_path, channels=3).permute(1, 2, 0), image)
    with pytest.raises(InputError, match=r"/0\.png: expected a grey image, got RGB .*channels: 3"):
        decoded(tmp_path)


def test_transparency_is_laid_over_white_and_orientation_applied(tmp_path):
    pixels = np.zeros((30, 30, 4), np.uint8)  # black everywhere …
    pixels[10:20, 10:20, 3] = 255  # … but opaque in the middle only
    Image.fromarray(pixels).save(tmp_path / "0.png")
    assert np.array_equal(decoded(tmp_path)[0], 255 - pixels[..., 3])
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise
    picture().save(tmp_path / "0.png", exif=exif)
    assert np.array_equal(decoded(tmp_path)[0], np.rot90(np.asarray(picture()), -1))


def test_unusable_images_are_named(tmp_path):
    path = tmp_path / "0.png"
    picture(size=(300, 300)).save(path, "jpeg")
    for content, reason in (
        *((b"", "not an image"), (b"<html></html>", "not an image")),
        (b"\x89PNG\r\n\x1a\n broken", ""),
        (path.read_bytes()[:-1000], ".*truncated"),
    ):
        path.write_bytes(content)
        with pytest.raises(InputError, match=rf"0.png: cannot be decoded \({reason}") as caught:
            decoded(tmp_path)
        assert "\n" not in str(caught.value)
    Image.fromarray(np.full((30, 30), 40_000, np.uint16)).save(path)
    with pytest.raises(InputError, match=r"0.png: expected 8 bits per channel, got mode I;16"):
        decoded(tmp_path)


def test_damaged_images_are_counted(tmp_path, monkeypatch):
    for i in range(9):
        picture("RGB" if i == 1 else "L").save(tmp_path / f"{i}.png")
    for i in (2, 4, 5):
        (tmp_path / f"{i}.png").write_bytes(b"<html>")
    (tmp_path / "8.png").write_bytes((tmp_path / "0.png").read_bytes()[:-500])

    def told():
        with pytest.raises(InputError) as caught:
            decode(find_images(tmp_path), size=(9, 9), channels=1, invert=False, title="")
        return str(caught.value)

    assert told() == (
        f"{tmp_path}: 5 of the 9 images read cannot be used: 1.png (expected a grey image, got RGB "
        "with colours), 2.png (not an image), 4.png (not an image) and 2 more; set channels: 3 or "
        "convert them or replace or delete them"
    )
    monkeypatch.setattr(images, "MANY", 3)
    assert ": 3 of the 5 images read cannot be used: " in told(), "it stops when there are many"


def test_found_in_order_of_names_hidden_ones_left_out(tmp_path):
    for name in ("b/2.PNG", "b/1.jpeg", "a/3.png", ".cache/0.png", "__MACOSX/0.png", "a/._3.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "a" / "notes.txt").write_bytes(b"")
    assert [file.name for file in find_images(tmp_path)] == ["a/3.png", "b/1.jpeg", "b/2.PNG"]


def test_archives_that_cannot_be_opened(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ä.png", b"")
    assert len(find_images(path)) == 1
    content = path.read_bytes()
    for old, new in (
        (b"PK\x01\x02\x14\x03\x14", b"PK\x01\x02\x14\x03\xff"),  # needs a later version
        ("ä.png".encode(), b"\xc3\xc3.png"),  # a name that is not UTF-8
        (b"PK\x05\x06", b"PK\x05\x05"),
    ):
        assert old in content
        path.write_bytes(content.replace(old, new))
        with pytest.raises(InputError, match=r"a\.zip: not a complete zip archive .*; replace it"):
            find_images(path)
