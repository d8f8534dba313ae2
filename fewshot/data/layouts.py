"""The layouts of image folders and archives, brought to one: split, class, image.

Accepted are class folders, alone or below folders of splits; around, between and below these may
be single folders, as archives from GitHub or Finder have, and folders called ``images``.
"""

import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from fewshot.data.dataset import SPLITS, SplitName
from fewshot.data.io.containers import BESIDE, check_usable, contents, is_archive, path_parts
from fewshot.data.io.images import SUFFIXES, ImageFile, SkippedImagesWarning, images_of
from guided.errors import InputError, some

SPLIT_FOLDERS: dict[str, SplitName] = {  # in small or capital letters
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
IMAGES = ("images", "image", "imgs", "img")
LAYOUT = "<class>/<image>, or train/, val/ and test/ with <class>/<image> in each"


class Found(NamedTuple):
    """The images of a folder, sorted by split (if it has splits), class and name.

    Attributes:
        files: N images.
        labels: N indices into ``class_names``.
        class_names: K names.
        class_splits: the split of each of the K classes; ``None`` without split folders.
    """

    files: list[ImageFile]
    labels: list[int]
    class_names: list[str]
    class_splits: list[SplitName] | None


@dataclass(slots=True)
class _Placed:
    """An image, and the folders above it that count.

    Attributes:
        file: the image.
        folder: parts of the path of the folder that it is in, from the container on.
        split: the folder of its split, or ``""``.
        parts: what remains, a class and a file if the layout is known.
    """

    file: ImageFile
    folder: tuple[str, ...]
    split: str
    parts: list[str]


class Source(NamedTuple):
    """The place that is read: a folder or archive, or a folder in an archive.

    Attributes:
        container: the folder or archive.
        below: parts of the path in an archive; empty for all of it.
    """

    container: Path
    below: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "/".join([str(self.container), *self.below])


def locate(path: Path) -> Source | None:
    """The folder or archive at a path, which may lead into an archive; None: there is none.

    Raises:
        InputError: the system cannot look there, or there is neither a folder nor a file.
    """
    try:
        for place in (path, *path.parents):
            if place.is_file() or (place == path and place.is_dir()):
                return Source(place, path.relative_to(place).parts)
            if place == path and place.exists():
                raise InputError(f"{path}: expected a folder or an archive, found a device or pipe")
    except OSError as error:
        raise InputError(f"{path}: cannot be opened ({error.strerror})") from error
    return None


def find_classes(source: Source | Path, *, merge: bool | None = None) -> Found:
    """Find the images of a folder, an archive or a folder of archives.

    Args:
        source: where.
        merge: put the images of a class that is in several split folders together, and take no
            class to be in a split; None: the same as False, and the message does not offer it.

    Raises:
        InputError: the layout is a different one, a class is empty or in two splits, or something
            cannot be read. Says what was found and what to write instead.
    """
    source = Source(source) if isinstance(source, Path) else source
    placed: list[_Placed] = []
    empty: list[str] = []
    others: Counter[str] = Counter()
    for container, split in _containers(source.container):
        found = contents(container)
        check_usable(container, found)
        inside = _placed(images_of(container, found), source.below, split)
        others.update(Path(name).suffix or Path(name).name for name in found.files)
        empty += _empty_folders(container, found.folders, inside)
        placed += inside
    if not placed:
        seen = some([f"{n} {suffix}" for suffix, n in others.most_common()])
        raise InputError(
            f"{source}: expected images in {LAYOUT}; found none{f', but {seen}' * bool(seen)}"
        )
    in_splits = any(image.split for image in placed)
    _check_layout(source, placed, in_splits)
    if empty:
        them = "the folder" if len(empty) == 1 else "the folders"
        raise InputError(
            f"{some(empty)}: expected the images of a class, found none; remove {them}"
        )
    if not merge:
        _check_splits(source, placed, merge is not None)
    homes = {image.parts[0]: "" if merge else image.split for image in placed}
    splits = {name: SPLIT_FOLDERS[home.lower()] for name, home in homes.items() if home}
    order = {split: i for i, split in enumerate(SPLITS)}
    names = sorted(homes, key=lambda name: (order[splits[name]] if splits else 0, name))
    position = {name: i for i, name in enumerate(names)}
    placed.sort(key=lambda image: (position[image.parts[0]], image.parts[1]))
    return Found(
        [image.file for image in placed],
        [position[image.parts[0]] for image in placed],
        names,
        [splits[name] for name in names] if splits else None,
    )


def _containers(path: Path) -> list[tuple[Path, str]]:
    """The path itself, or the archives in a folder that has no folders; and the split of each,
    if all are called after one (``train.zip``).

    Warns:
        SkippedImagesWarning: archives lie beside folders, and are not read; names some.
    """
    if path.is_file():
        return [(path, "")]
    try:
        visible = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise InputError(f"{path}: cannot be opened ({error.strerror})") from error
    archives = [entry for entry in visible if is_archive(entry) and entry.is_file()]
    if not archives:
        return [(path, "")]
    named = some([archive.name for archive in archives])
    if any(entry.is_dir() and entry.name not in BESIDE for entry in visible):
        told = f"{path}: left out, because they lie beside folders: {named}; unpack or remove them"
        warnings.warn(told, SkippedImagesWarning, stacklevel=3)
        return [(path, "")]
    if loose := [entry.name for entry in visible if entry.suffix.lower() in SUFFIXES]:
        raise InputError(f"{path}: images beside archives ({named}): {some(loose)}; remove them")
    names = [archive.name.partition(".")[0] for archive in archives]
    if not all(_is_split(name) for name in names):
        names = [""] * len(names)
    return list(zip(archives, names, strict=True))


def _is_split(name: str) -> bool:
    return name.lower() in SPLIT_FOLDERS


def _is_plain(name: str) -> bool:
    return name.lower() in IMAGES


def _placed(files: Iterable[ImageFile], below: Sequence[str], split: str) -> list[_Placed]:
    """The images of a container, without the folders that say nothing.

    Args:
        files: the images.
        below: the path of a folder; images elsewhere are left out.
        split: of all of them, if the container's name tells it.
    """
    start = len(below)
    images = [
        _Placed(file, tuple(parts[:-1]), split, parts[start:])
        for file in files
        if (parts := file.parts)[:start] == list(below) and len(parts) > start
    ]
    if not split:
        _drop_outer(images)
        for image in images:
            if len(image.parts) > 2 and _is_split(image.parts[0]):
                image.split = image.parts.pop(0)
    for folder in {image.split for image in images} - {""}:
        _drop_outer([image for image in images if image.split == folder], of_split=True)
    for image in images:
        if len(image.parts) == 3 and _is_plain(image.parts[1]):
            del image.parts[1]
    return images


def _drop_outer(images: Sequence[_Placed], *, of_split: bool = False) -> None:
    """Drop the folders that all images share: not a class, and no split unless inside one."""
    while (
        len({image.parts[0] for image in images}) == 1
        and all(len(image.parts) > 2 for image in images)
        and (of_split or not _is_split(images[0].parts[0]))
        # images/ may be below the only class
        and not all(len(image.parts) == 3 and _is_plain(image.parts[1]) for image in images)
    ):
        for image in images:
            del image.parts[0]


def _empty_folders(container: Path, folders: Iterable[str], images: Iterable[_Placed]) -> list[str]:
    """The folders beside those of classes, or with the name of an image, that hold no image."""
    used = {image.folder for image in images}
    beside = {_class_folder(folder)[:-1] for folder in used}
    used |= {folder[:n] for folder in used for n in range(len(folder))}
    return [
        f"{container}/{name}"
        for name in sorted(folders)
        if (parts := tuple(path_parts(name))) not in used
        and (parts[:-1] in beside or parts[-1].lower().endswith(SUFFIXES))
    ]


def _class_folder(folder: tuple[str, ...]) -> tuple[str, ...]:
    """The folder of the class of the images in a folder."""
    return folder[:-1] if len(folder) > 1 and _is_plain(folder[-1]) else folder


def _check_layout(source: Source, placed: Sequence[_Placed], in_splits: bool) -> None:
    """Raise unless every image is in a class folder; says which are not, and what to write."""
    of_split: dict[str, set[str]] = {}
    for image in placed:
        of_split.setdefault(image.split, set()).add(image.parts[0])
    # Images directly in train/ or in train/images/ are of no class.
    no_class = {
        split: all(_is_plain(name) or (not split and _is_split(name)) for name in names)
        for split, names in of_split.items()
    }
    wrong = [
        image
        for image in placed
        if len(image.parts) != 2 or bool(image.split) != in_splits or no_class[image.split]
    ]
    if wrong:
        names = some(["/".join(image.file.parts) for image in wrong])
        number = "1 image" if len(wrong) == 1 else f"{len(wrong)} images"
        raise InputError(
            f"{source}: expected {LAYOUT}; found {number} elsewhere: {names}; "
            f"{_what_to_write(source, placed, wrong)}"
        )


def _what_to_write(source: Source, placed: Sequence[_Placed], wrong: Sequence[_Placed]) -> str:
    """The path of the folder with most class folders; what to do if that is the source."""
    classes: dict[tuple[Path, tuple[str, ...]], set[str]] = {}
    for image in placed:
        folder = _class_folder(image.folder)
        if folder and not (_is_split(folder[-1]) or _is_plain(folder[-1])):
            classes.setdefault((image.file.container, folder[:-1]), set()).add(folder[-1])
    best = max(classes, key=lambda place: len(classes[place]), default=None)
    if best is None or len(classes[best]) == 1:
        return "put the images of each class into a folder of its own"
    container, folder = best
    if folder and _is_split(folder[-1]) and not any(image.split for image in wrong):
        folder = folder[:-1]
    if container / Path(*folder) == source.container / Path(*source.below):
        return "move or remove them"
    return f"to read the classes below {'/'.join(folder)}, write path: {container / Path(*folder)}"


def _check_splits(source: Source, placed: Sequence[_Placed], may_merge: bool) -> None:
    """Raise if classes are in several splits."""
    homes: dict[str, dict[SplitName, _Placed]] = {}
    for image in placed:
        if image.split:
            home = homes.setdefault(image.parts[0], {})
            home.setdefault(SPLIT_FOLDERS[image.split.lower()], image)
    shared = {name: home for name, home in sorted(homes.items()) if len(home) > 1}
    if not shared:
        return
    where = [
        f"{name} is in {' and in '.join(f'{image.split}/' for image in home.values())}"
        for name, home in shared.items()
    ]
    number = "the class" if len(where) == 1 else f"{len(where)} classes are in several splits:"
    message = f"{source}: {number} {some(where)}; expected each class in one split"
    if may_merge:
        home = next(iter(shared.values()))
        one = home[min(home, key=SPLITS.index)]
        parts = one.file.parts
        below = parts[: parts.index(one.split) + 1] if one.split in parts else []
        message += (
            ": set merge_splits: true to put the images of each class together and divide the "
            f"classes by chance, or use one folder alone, path: {one.file.container / Path(*below)}"
        )
    raise InputError(message)
