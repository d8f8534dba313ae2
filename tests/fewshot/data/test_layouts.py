"""Layouts of image folders as they are distributed: split, class and image are found by name."""

import io
import os
import tarfile
import zipfile
from collections import Counter

import pytest

from fewshot.data.io.images import SkippedImagesWarning
from fewshot.data.layouts import Source, find_classes, locate
from guided.errors import InputError


def paths(layout):
    """``"a b/{c,d}/2"``: two images in each of three folders, their names all different."""
    files = []
    for word in layout.split():
        folder, n = word.rsplit("/", 1)
        begin, _, rest = folder.partition("{")
        inside, _, end = rest.partition("}")
        for name in inside.split(",") if rest else [""]:
            place = begin + name + end
            files += [f"{place}/{len(files) + i}.png".lstrip("/") for i in range(int(n))]
    return files


def in_folder(place, files):
    for name in files:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(b"")
    return place


def in_zip(place, files, backslashes=False):
    place = place.with_name(f"{place.name}{backslashes}.zip")
    with zipfile.ZipFile(place, "w") as archive:
        for name in files:
            archive.writestr(name.replace("/", "\\") if backslashes else name, b"")
    return place


def in_tar(place, files, suffix):
    place = place.with_name(place.name + suffix)
    with tarfile.open(place, f"w:{suffix.rpartition('.')[2].replace('tgz', 'gz')}") as archive:
        for name in files:
            archive.addfile(tarfile.TarInfo(f"./{name}"))
    return place


def sizes(found):
    """Split (or none) and class -> number of images; the labels must be in order."""
    splits = found.class_splits or [None] * len(found.class_names)
    assert found.labels == sorted(found.labels)
    assert len(found.files) == len(found.labels)
    named = list(zip(splits, found.class_names, strict=True))
    return dict(Counter(named[label] for label in found.labels))


PLAIN = {(None, "a"): 2, (None, "b"): 2}
DIVIDED = {("train", "a"): 2, ("train", "b"): 2, ("validation", "c"): 2, ("test", "d"): 2}
LAYOUTS = {
    "{a,b}/2": PLAIN,
    "repository-main/{a,b}/2": PLAIN,
    "outer/inner/{a,b}/2": PLAIN,
    "images/{a,b}/2": PLAIN,
    "{a,b}/images/2": PLAIN,
    "outer/{a,b}/Images/2": PLAIN,
    "a/images/2": {(None, "a"): 2},
    "{a,b}/2 __MACOSX/a/1 @eaDir/b/1 a/@eaDir/1 .cache/1": PLAIN,
    "own/{a,b}/2 __MACOSX/own/a/1": PLAIN,
    # Classes may have names of splits, or of folders of images, beside others.
    "{train,a}/2": {(None, "a"): 2, (None, "train"): 2},
    "{images,a}/2": {(None, "a"): 2, (None, "images"): 2},
    "train/{a,b}/2 val/c/2 test/d/2": DIVIDED,
    "Train/{a,b}/2 Val/c/2 TEST/d/2": DIVIDED,
    "training/{a,b}/2 valid/c/2 testing/d/2": DIVIDED,
    "outer/train/{a,b}/2 outer/validation/c/2 outer/test/d/2": DIVIDED,
    "images/train/{a,b}/2 images/val/c/2 images/test/d/2": DIVIDED,
    "train/images/{a,b}/2 val/images/c/2 test/d/2": DIVIDED,
    "train/{a,b}/images/2 val/c/images/2 test/d/2": DIVIDED,
    "train/train/{a,b}/2 val/c/2 test/d/2": DIVIDED,
    "test/{a,b}/2": {("test", "a"): 2, ("test", "b"): 2},
    "train/{train,test}/2 test/c/1": {
        **{("train", "test"): 2, ("train", "train"): 2, ("test", "c"): 1}
    },
}


@pytest.mark.parametrize(("layout", "expected"), LAYOUTS.items(), ids=LAYOUTS)
def test_layouts_as_they_are_distributed(layout, expected, tmp_path):
    files = paths(layout)
    place = tmp_path / "own"
    for made in (
        in_folder(place, files),
        in_zip(place, files),
        in_zip(place, files, backslashes=True),
        *(in_tar(place, files, suffix) for suffix in (".tar", ".tgz", ".tar.xz")),
    ):
        assert sizes(find_classes(made)) == expected, made


def test_a_path_inside_an_archive(tmp_path):
    files = paths("repository/data/{a,b}/2 repository/docs/figures/1 repository/1")
    for archive in (in_zip(tmp_path / "own", files), in_tar(tmp_path / "own", files, ".tgz")):
        source = locate(archive / "repository" / "data")
        assert source == Source(archive, ("repository", "data"))
        assert sizes(find_classes(source)) == PLAIN
        with pytest.raises(InputError, match=rf"{archive}/repository/dat: .* found none"):
            find_classes(locate(archive / "repository" / "dat"))
        # The whole archive is refused, and the message says what to write.
        with pytest.raises(InputError, match=rf"write path: {archive}/repository/data$"):
            find_classes(archive)
    assert locate(tmp_path / "gone.zip" / "repository") is None


def test_folders_of_archives(tmp_path):
    for name, layout in (("part-0", "outer/{a,b}/1"), ("part-1", "{a,b}/1")):
        (tmp_path / "parts" / "__MACOSX").mkdir(parents=True, exist_ok=True)
        in_tar(tmp_path / "parts" / name, paths(layout), ".tar")
    assert sizes(find_classes(tmp_path / "parts")) == PLAIN
    (tmp_path / "splits").mkdir()
    for name, layout in (("Train", "{a,b}/2"), ("val", "val/c/2"), ("test", "outer/d/2")):
        in_zip(tmp_path / "splits" / name, paths(layout))
        made = tmp_path / "splits" / f"{name}False.zip"
        made.rename(made.with_name(f"{name}.zip"))
    assert sizes(find_classes(tmp_path / "splits")) == DIVIDED


def test_archives_beside_folders_and_images_beside_archives(tmp_path):
    mixed = tmp_path / "mixed"
    for name in ("a", "b"):
        (mixed / name).mkdir(parents=True)
        (mixed / name / "1.png").write_bytes(b"")
    in_tar(mixed / "elm", paths("elm/1"), ".tar")
    with pytest.warns(SkippedImagesWarning, match=r"mixed: left out, .* beside folders: elm\.tar"):
        assert find_classes(mixed).class_names == ["a", "b"]
    archives = tmp_path / "archives"
    archives.mkdir()
    in_tar(archives / "elm", paths("elm/1"), ".tar")
    (archives / "1.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"archives: images beside archives \(elm\.tar\): 1\.png"):
        find_classes(archives)


REFUSED = {
    "{a,b}/2 /1": "found 1 image elsewhere: 4.png; move or remove them",
    "{a,b}/2 a/b/1": "found 1 image elsewhere: a/b/4.png; move or remove them",
    "project/{a,b}/2 logo/1": "to read the classes below project, write path: PATH/project",
    "repo/data/train/{a,b}/1 repo/data/test/c/1 repo/1": "write path: PATH/repo/data",
    "/3": "found 3 images elsewhere: 0.png, 1.png, 2.png; put the images of each class into",
    "{train,val}/3": "found 6 images elsewhere: .* and 3 more; put the images of each class into",
    "{train,val}/images/3": "found 6 images elsewhere: train/images/0.png.*; put the images of",
    "images/3": "put the images of each class into a folder of its own",
    # Tiny ImageNet as it is distributed: only its training images are in class folders.
    "train/{a,b}/images/2 {val,test}/images/2": "below train, write path: PATH/train",
    "train/{a,b}/2 stray/2": "found 2 images elsewhere: stray/4.png, stray/5.png; move or remove",
}


@pytest.mark.parametrize(("layout", "message"), REFUSED.items(), ids=REFUSED)
def test_what_is_refused_says_what_was_found_and_what_to_write(layout, message, tmp_path):
    for place in (
        in_folder(tmp_path / "own", paths(layout)),
        in_zip(tmp_path / "x", paths(layout)),
    ):
        with pytest.raises(InputError, match=message.replace("PATH", str(place))) as caught:
            find_classes(place)
        assert str(caught.value).startswith(f"{place}: expected <class>/<image>, or train/")


def test_nothing_to_read(tmp_path):
    with pytest.raises(InputError, match=r"own: expected images in <class>.* found none$"):
        find_classes(in_folder(tmp_path / "own", ["a/.hidden.png"]))
    with pytest.raises(InputError, match=r"found none, but 2 \.npy, 1 README$"):
        find_classes(in_folder(tmp_path / "own", ["a/1.npy", "a/2.npy", "README"]))


def test_empty_class_folders_are_counted(tmp_path):
    own = in_folder(
        tmp_path / "own", [*paths("outer/{a,b}/1"), *(f"outer/e{i}/x.txt" for i in "123")]
    )
    (own / "notes").mkdir()  # not beside the classes
    with pytest.raises(InputError, match=rf"{own}/outer/e1, .*: expected the images of a class"):
        find_classes(own)
    with zipfile.ZipFile(tmp_path / "own.zip", "w") as archive:
        for name in ("a/0.png", "a/1.png/", "b/"):
            archive.writestr(name, b"")
    with pytest.raises(InputError, match=r"own.zip/a/1.png/, .*own.zip/b/: expected the images"):
        find_classes(tmp_path / "own.zip")


def test_the_same_classes_in_several_splits(tmp_path):
    files = paths("outer/train/{a,b,c,d,e}/2 outer/test/{a,b,c,d}/1")
    for own in (in_folder(tmp_path / "own", files), in_zip(tmp_path / "own", files)):
        with pytest.raises(InputError) as caught:
            find_classes(own, merge=False)
        assert str(caught.value) == (
            f"{own}: 4 classes are in several splits: a is in test/ and in train/, b is in test/ "
            "and in train/, c is in test/ and in train/ and 1 more; expected each class in one "
            "split: set merge_splits: true to put the images of each class together and divide "
            f"the classes by chance, or use one folder alone, path: {own}/outer/train"
        )
        merged = {(None, name): 3 for name in "abcd"} | {(None, "e"): 2}
        assert sizes(find_classes(own, merge=True)) == merged
        assert sizes(find_classes(locate(own / "outer" / "test"))) == {
            (None, name): 1 for name in "abcd"
        }


def test_links_pipes_and_circles(tmp_path):
    own = in_folder(tmp_path / "own", paths("{a,b}/2"))
    (tmp_path / "elsewhere").mkdir()
    os.link(own / "a" / "0.png", tmp_path / "elsewhere" / "0.png")
    (own / "c").symlink_to(tmp_path / "elsewhere")
    assert sizes(find_classes(own)) == PLAIN | {(None, "c"): 1}
    (own / "a" / "loop").symlink_to(own)
    (own / "a" / "gone.png").symlink_to(tmp_path / "gone")
    (own / "a" / "self.png").symlink_to(own / "a" / "self.png")
    os.mkfifo(own / "b" / "pipe.png")
    with pytest.raises(InputError) as caught:
        find_classes(own)
    assert str(caught.value) == (
        f"{own}: expected files and folders, found a/gone.png (a link that leads nowhere), a/loop "
        "(a link to a folder that it is in), a/self.png (a link that leads nowhere) and 1 more; "
        "remove them"
    )
    for name in ("a/loop", "a/gone.png", "a/self.png"):
        (own / name).unlink()
    with pytest.raises(InputError, match=r"found b/pipe.png \(no file but a pipe.*; remove it"):
        find_classes(own)
    with pytest.raises(InputError, match=r"pipe.png: expected a folder or an archive"):
        locate(own / "b" / "pipe.png")


def test_a_link_in_a_tar_archive_stands_for_no_image(tmp_path):
    with tarfile.open(tmp_path / "own.tar", "w") as archive:
        for name, kind in (("a/0.png", tarfile.REGTYPE), ("a/1.png", tarfile.LNKTYPE)):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "a/0.png"
            archive.addfile(entry, io.BytesIO())
    with pytest.raises(InputError, match=r"found a/1.png \(a link or a device\); remove it"):
        find_classes(tmp_path / "own.tar")
