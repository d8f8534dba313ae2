"""Seconds and memory for loading a large set of images, and sharing it among processes.

Writes a set like miniImageNet (a hundred classes of 84 x 84, smooth noise) to a temporary folder
in each of its forms, or reads the one in ``--data-root``. Measures for each form, in processes of
their own:

- build: seconds of the first loading, which decodes the images into the cache, and the largest
  resident memory of the process (getrusage's ``ru_maxrss``), less the bank itself;
- reopen: seconds of the second loading without imports, by the clock and of processor time;
- readers: memory of several processes that read the whole bank at once. Proportional set size
  (PSS) counts a page that n processes share as 1/n of a page in each, so the PSS of all readers
  adds up to one bank if they share one copy.

``--images 600`` is the size of the full set: 3 GB of temporary files and some minutes.
"""

import argparse
import csv
import multiprocessing
import os
import pickle
import resource
import tempfile
import zipfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from io import BytesIO
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

SIDE = 84
FORMS = ("folders", "archives", "lists", "pickles")
MIB = 2**20


def in_a_process(function: Callable[[], Any]) -> Any:
    """Call a function in a fresh process, whose memory is that of the function alone."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function).result()


def make(form: str, root: Path, n_images: int) -> None:
    """Write the set in one of its forms."""
    folder = root / "mini-imagenet"
    folder.mkdir(parents=True)
    {"folders": _folders, "archives": _archive, "lists": _lists, "pickles": _pickles}[form](
        folder, n_images
    )


def _pictures(label: int, n_images: int) -> Any:
    """uint8 ``[n_images, 84, 84, 3]``: noise, smooth enough for JPEGs of a photograph's size."""
    import numpy as np
    from PIL import Image

    coarse = np.random.default_rng(label).integers(0, 256, (n_images, 28, 28, 3), np.uint8)
    size = (SIDE, SIDE)
    return np.stack([Image.fromarray(c).resize(size, Image.Resampling.BICUBIC) for c in coarse])


def _jpegs(label: int, n_images: int) -> list[bytes]:
    from PIL import Image

    contents = []
    for pixels in _pictures(label, n_images):
        buffer = BytesIO()
        Image.fromarray(pixels).save(buffer, "jpeg", quality=90)
        contents.append(buffer.getvalue())
    return contents


def _splits() -> dict[str, tuple[str, ...]]:
    from fewshot.data.mini_imagenet.splits import TEST, TRAIN, VALIDATION

    return {"train": TRAIN, "val": VALIDATION, "test": TEST}


def _each(n_images: int) -> Any:
    """The split, synset, file name and content of each image."""
    label = 0
    for split, names in _splits().items():
        for name in names:
            for i, content in enumerate(_jpegs(label, n_images)):
                yield split, name, f"{name}{i:08}.jpg", content
            label += 1


def _folders(folder: Path, n_images: int) -> None:
    for split, name, file, content in _each(n_images):
        path = folder / split / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _archive(folder: Path, n_images: int) -> None:
    with zipfile.ZipFile(folder / "all.zip", "w") as archive:
        for split, name, file, content in _each(n_images):
            archive.writestr(f"{split}/{name}/{file}", content)


def _lists(folder: Path, n_images: int) -> None:
    lists: dict[str, list[tuple[str, str]]] = {
        split: [("filename", "label")] for split in _splits()
    }
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        for split, name, file, content in _each(n_images):
            archive.writestr(f"images/{file}", content)
            lists[split].append((file, name))
    for split, rows in lists.items():
        with open(folder / f"{split}.csv", "w", newline="") as listed:
            csv.writer(listed).writerows(rows)


def _pickles(folder: Path, n_images: int) -> None:
    """Protocol 2, as learn2learn's: it stores arrays as text, which takes most memory to load."""
    import numpy as np

    label = 0
    for split, names in _splits().items():
        pixels = np.empty((len(names) * n_images, SIDE, SIDE, 3), np.uint8)
        rows = {}
        for i, name in enumerate(names):
            rows[name] = list(range(i * n_images, (i + 1) * n_images))
            pixels[rows[name]] = _pictures(label, n_images)
            label += 1
        file_name = f"mini-imagenet-cache-{'validation' if split == 'val' else split}.pkl"
        with open(folder / file_name, "wb") as file:
            pickle.dump({"image_data": pixels, "class_dict": rows}, file, protocol=2)


def load(root: Path) -> tuple[float, float, int, int]:
    """Load the set.

    Returns:
        seconds by the clock and of processor time, bytes of the bank, largest resident memory.
    """
    import warnings

    from fewshot.data.folder import SharedImagesWarning
    from fewshot.data.mini_imagenet.dataset import MiniImageNet

    warnings.simplefilter("ignore", SharedImagesWarning)
    start, busy = perf_counter(), process_time()
    splits = MiniImageNet(root).splits()
    seconds, busy = perf_counter() - start, process_time() - busy
    n_bytes = sum(bank.images.nbytes for bank in (splits.train, splits.validation, splits.test))
    return seconds, busy, n_bytes, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


_together: Any = None


def _gather(barrier: Any) -> None:
    global _together
    _together = barrier


def read(root: Path) -> tuple[int, int, int]:
    """Read all pages of the bank. Resident and PSS bytes of the bank, PSS bytes of the process."""
    import warnings

    from fewshot.data.folder import SharedImagesWarning
    from fewshot.data.mini_imagenet.dataset import MiniImageNet

    warnings.simplefilter("ignore", SharedImagesWarning)
    splits = MiniImageNet(root).splits()
    for bank in (splits.train, splits.validation, splits.test):
        bank.images.view(-1)[:: resource.getpagesize()].sum()
    _together.wait()
    resident, proportional = _mapped("images.npy")
    rollup = Path("/proc/self/smaps_rollup").read_text().splitlines()
    total = next(_bytes(line) for line in rollup if line.startswith("Pss:"))
    _together.wait()
    return resident, proportional, total


def _mapped(name: str) -> tuple[int, int]:
    """Resident and PSS bytes of the maps of a file."""
    sizes, inside = {"Rss:": 0, "Pss:": 0}, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        key = line.split()[0]
        if not key.endswith(":"):  # an address: the next map begins
            inside = line.endswith(f"/{name}")
        elif inside and key in sizes:
            sizes[key] += _bytes(line)
    return sizes["Rss:"], sizes["Pss:"]


def _bytes(line: str) -> int:
    return int(line.split()[1]) * 1024


def measure(form: str, root: Path, n_readers: int) -> tuple[object, ...]:
    """One row of the table."""
    built, _, n_bytes, peak = in_a_process(partial(load, root))
    reopened, busy, _, _ = in_a_process(partial(load, root))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        n_readers, context, initializer=_gather, initargs=(context.Barrier(n_readers),)
    ) as pool:
        seen = [future.result() for future in [pool.submit(read, root) for _ in range(n_readers)]]
    resident, proportional, total = (sum(column) for column in zip(*seen, strict=True))
    return (
        form,
        n_bytes / MIB,
        built,
        (peak - n_bytes) / MIB,
        reopened,
        busy,
        resident / n_bytes,
        proportional / n_bytes,
        total / MIB,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Time and memory for loading many images.")
    parser.add_argument("--images", type=int, default=30, help="images in a class; 600 in full")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=FORMS)
    parser.add_argument("--readers", type=int, default=8)
    parser.add_argument("--data-root", type=Path, help="measure the set in this folder instead")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        os.environ["FEWSHOT_CACHE"] = str(Path(name) / "cache")
        if arguments.data_root:
            rows.append(measure("as found", arguments.data_root, arguments.readers))
        for form in () if arguments.data_root else arguments.forms:
            with tempfile.TemporaryDirectory(dir=name) as root:
                in_a_process(partial(make, form, Path(root), arguments.images))
                rows.append(measure(form, Path(root), arguments.readers))
    # Imported last: it imports torch, and a child's ru_maxrss starts at its parent's.
    from _timing import print_table

    n = arguments.readers
    header = ("form", "bank MiB", "build s", "peak - bank MiB", "reopen s", "processor s")
    print_table((*header, f"RSS of {n} / bank", f"PSS of {n} / bank", f"PSS of {n}, all MiB"), rows)


if __name__ == "__main__":
    main()
