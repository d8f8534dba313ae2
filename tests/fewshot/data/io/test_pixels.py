"""One image file: huge ones are reduced, hostile ones refused."""

import io
import warnings

import numpy as np
import pytest
from PIL import Image

from fewshot.data.io import pixels
from fewshot.data.io.pixels import UnusableImage, large_images, pixels_of


def picture(mode, side=400):
    coarse = np.random.default_rng(7).integers(0, 256, (5, 5, 3)).astype(np.uint8)
    image = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
    return image.quantize(64) if mode == "P" else image.convert(mode)


def saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


FORMS = [
    ("RGB", "png"),
    ("L", "jpeg"),
    ("RGB", "jpeg"),
    ("P", "png"),
    ("RGBA", "png"),
    ("1", "png"),
]


@pytest.mark.parametrize(("mode", "kind"), FORMS)
def test_a_huge_image_is_the_same_but_for_the_filter(mode, kind, monkeypatch):
    content = saved(picture(mode), kind)
    expected = pixels_of(content, (10, 10), 3).astype(int)
    large = pixels_of(content, (399, 399), 3)
    monkeypatch.setattr(pixels, "LARGE", 1000)
    found = pixels_of(content, (10, 10), 3).astype(int)
    assert found.shape == (3, 10, 10)
    assert abs(found - expected).mean() < 3
    if mode != "1":  # as it is, where no size is to spare (bits become grey, and are smoothed)
        again = pixels_of(content, (399, 399), 3).astype(int)
        assert abs(again - large).max() <= 1


def test_an_image_of_too_many_pixels_has_a_remedy_and_no_warning(monkeypatch):
    before = Image.MAX_IMAGE_PIXELS
    content = saved(picture("L"), "png")
    for largest, fits in ((320_000, True), (160_000, True), (159_998, False)):
        monkeypatch.setattr(pixels, "LARGEST", largest)
        with warnings.catch_warnings(), large_images():
            if fits:
                assert pixels_of(content, (10, 10), 1).shape == (1, 10, 10)
                continue
            with pytest.raises(UnusableImage, match=r"^has more than 159,998 pixels$") as caught:
                pixels_of(content, (10, 10), 1)
            assert caught.value.remedy == "make {} smaller"
    assert before == Image.MAX_IMAGE_PIXELS


def test_formats_that_start_programs_are_not_read():
    for content in (saved(picture("RGB"), "eps"), saved(picture("RGB"), "pdf"), b"BM" + bytes(60)):
        with pytest.raises(UnusableImage, match=r"^cannot be decoded \("):
            pixels_of(content, (10, 10), 3)


def test_a_small_file_that_states_a_huge_image():
    content = bytearray(saved(Image.new("RGB", (64, 64)), "webp", quality=1))
    at = content.index(b"\x9d\x01\x2a") + 3
    content[at : at + 4] = (15_000).to_bytes(2, "little") * 2
    with large_images(), pytest.raises(UnusableImage, match=r"states 225,000,000 pixels in"):
        pixels_of(bytes(content), (8, 8), 3)
