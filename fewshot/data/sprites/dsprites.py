"""``DSprites``: the dSprites of Matthey et al., from their file."""

import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fewshot.data.dataset import Listing
from fewshot.data.io.cache import identity, pixel_array
from fewshot.data.sprites.dataset import CHUNK, SpriteDataset
from fewshot.data.sprites.factors import LEVELS, N_CLASSES, SpriteFactors
from guided.errors import InputError, reason_of
from guided.readers.arrays import read_array, read_header

FILE = "dsprites/dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
URL = "https://github.com/google-deepmind/dsprites-dataset"
SIDE = 64
MOST_IMAGES = 2**20  # the authors' file has 737,280


class DSprites(SpriteDataset):
    """A square, an ellipse or a heart, 255 on 0; 32 × 32 images are means of 2 × 2 pixels.

    Source: Matthey, Higgins, Hassabis & Lerchner (2017),
    https://github.com/google-deepmind/dsprites-dataset. Read from the authors' file
    ``dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz`` in ``root/dsprites``, a few images at a
    time; nothing in it is unpickled.
    """

    name: ClassVar[str] = "dsprites"

    def listing(self) -> Listing:
        file = self._file()
        if file is None:
            return self.absent(self.root / FILE)
        try:
            with _opened(file) as archive, archive.open("imgs.npy") as stream:
                n = _image_header(stream, file)
        except InputError as error:
            return self.absent(error)
        return self.present(file.parent, N_CLASSES, n)

    @property
    def how_to_get(self) -> str:
        return f"put its npz file from {URL} into {self.root / FILE.split('/')[0]}"

    def _file(self) -> Path | None:
        return self.first_found(lambda root: root / FILE if (root / FILE).is_file() else None)

    def _found(self) -> Path:
        if (file := self._file()) is None:
            roots = ", ".join(str(root) for root in self.roots)
            raise InputError(f"{self.name}: {FILE} not found in {roots}; {self.how_to_get}")
        return file

    def _source(self) -> Mapping[str, Any]:
        return {"file": identity([self._found()])}

    def _factors(self) -> SpriteFactors:
        file = self._found()
        with _opened(file) as archive:
            levels, values = (
                _array(archive, key, file) for key in ("latents_classes", "latents_values")
            )
        n = len(levels)
        # The first column is the colour, which is always white.
        if levels.shape != (n, 6) or values.shape != (n, 6):
            raise _unusable(file, f"latents of shapes {levels.shape} and {values.shape}")
        if (levels[:, 1:] < 0).any() or (levels[:, 1:] >= LEVELS).any():
            raise _unusable(file, "latents_classes out of range")
        values = values[:, 1:].astype(np.float64)
        values[:, 0] = levels[:, 1]
        return SpriteFactors(
            torch.from_numpy(levels[:, 1:].astype(np.int64)), torch.from_numpy(values)
        )

    def _pixels(self, factors: SpriteFactors, rows: Tensor) -> Tensor:
        from tqdm.auto import tqdm

        from guided.progress import hidden

        file = self._found()
        order = rows.argsort().numpy()
        wanted = rows.numpy()[order]
        pixels = pixel_array((len(rows), 1, self.size, self.size))
        with _opened(file) as archive, archive.open("imgs.npy") as stream:
            n = _image_header(stream, file)
            if n != len(factors):
                raise _unusable(file, f"{n} images and {len(factors)} rows of latents")
            starts = range(0, n, CHUNK)
            for start in tqdm(starts, desc="read dsprites", leave=False, disable=hidden()):
                images = _next_images(stream, min(CHUNK, n - start), file)
                here = slice(*np.searchsorted(wanted, (start, start + CHUNK)))
                pixels[order[here], 0] = _resized(images[wanted[here] - start], self.size)
        return torch.from_numpy(pixels)


def _resized(images: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Images of 0 and 1 as 0 … 255, ``[n, size, size]``."""
    step = SIDE // size
    blocks = images.reshape(-1, size, step, size, step).sum((2, 4), dtype=np.uint16)
    return (255 * blocks / step**2).round().astype(np.uint8)


def _next_images(stream: IO[bytes], n: int, file: Path) -> NDArray[np.uint8]:
    content = stream.read(n * SIDE**2)
    if len(content) < n * SIDE**2:
        raise _unusable(file, "fewer images than its header says")
    images = np.frombuffer(content, np.uint8).reshape(n, SIDE, SIDE)
    if images.max(initial=0) > 1:
        raise _unusable(file, f"pixels other than 0 and 1: {images.max()}")
    return images


def _image_header(stream: IO[bytes], file: Path) -> int:
    """Read the header of the images; their number."""
    header = read_header(stream)
    if header.dtype != np.uint8 or header.shape[1:] != (SIDE, SIDE) or header.order == "F":
        raise _unusable(file, f"imgs of {header.dtype} {list(header.shape)}")
    if len(header.shape) != 3 or header.shape[0] > MOST_IMAGES:
        raise _unusable(file, f"imgs of shape {list(header.shape)}")
    return header.shape[0]


def _array(archive: zipfile.ZipFile, key: str, file: Path) -> NDArray[Any]:
    with archive.open(f"{key}.npy") as stream:
        array = read_array(stream)
    if array.ndim != 2 or array.dtype.kind not in "iuf":
        raise _unusable(file, f"{key} of {array.dtype} {list(array.shape)}")
    return array


@contextmanager
def _opened(file: Path) -> Iterator[zipfile.ZipFile]:
    """The archive; what goes wrong while it is read is told in one line."""
    try:
        with zipfile.ZipFile(file) as archive:
            yield archive
    except InputError:
        raise
    except Exception as error:  # a damaged archive raises one of many kinds
        raise _unusable(file, f"what cannot be read ({reason_of(error)})") from error


def _unusable(file: Path, found: str) -> InputError:
    return InputError(
        f"{file}: expected dSprites, imgs uint8 [N, 64, 64] of 0 and 1, latents_classes and "
        f"latents_values [N, 6]; it has {found}; get it again from {URL}"
    )
