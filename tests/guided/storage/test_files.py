"""Files appear whole or not at all."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from guided.errors import InputError
from guided.storage.files import (
    atomic_write,
    fingerprint,
    read_json,
    write_arrays,
    write_bytes,
    write_figure,
    write_json,
)


def test_write_makes_folders_and_replaces_the_file_at_the_end(tmp_path):
    path = tmp_path / "a" / "b" / "file"
    write_bytes(path, b"old, long")
    with atomic_write(path) as handle:
        handle.write(b"new")
        handle.flush()
        assert path.read_bytes() == b"old, long"
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_inside_leaves_the_old_file_and_no_other(tmp_path, error):
    path = tmp_path / "file"
    write_bytes(path, b"old")
    with pytest.raises(error), atomic_write(path) as handle:
        handle.write(b"half of the ne")
        raise error
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("below", ["file/new", "file/folder/new"])
def test_a_folder_that_cannot_be_written_is_an_input_error(tmp_path, below):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InputError, match=f"{below}: cannot be written") as caught:
        write_bytes(tmp_path / below, b"")
    assert "\n" not in str(caught.value)


def test_json_round_trip_and_refusal_of_nan(tmp_path):
    path = tmp_path / "file.json"
    value = {"error": 1.25, "names": ["ä", None, True]}
    write_json(path, value)
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"error": float("nan")})
    assert read_json(path) == value


def test_arrays_round_trip_without_pickles(tmp_path):
    arrays = {"a": np.arange(6, dtype=np.uint8).reshape(2, 3), "b": np.float32([0.5])}
    write_arrays(tmp_path / "file.npz", arrays)
    with np.load(tmp_path / "file.npz", allow_pickle=False) as read:
        assert set(read.files) == {"a", "b"}
        for name, array in arrays.items():
            np.testing.assert_array_equal(read[name], array, strict=True)
    with pytest.raises(ValueError, match="allow_pickle"):
        write_arrays(tmp_path / "other.npz", {"a": np.array([object()])})
    assert list(tmp_path.iterdir()) == [tmp_path / "file.npz"]


def test_figure_is_a_png_of_the_resolution_asked_for(tmp_path):
    write_figure(tmp_path / "figure", Figure(figsize=(2, 1)), dpi=50)
    with Image.open(tmp_path / "figure") as image:
        assert (image.format, image.size) == ("PNG", (100, 50))


def test_fingerprint_ignores_key_order_and_nothing_else():
    value = {"a": 1, "b": [1, 2], "c": {"d": "x"}}
    others = [{**value, "a": 2}, {**value, "b": [2, 1]}, {**value, "e": None}]
    digests = [fingerprint(v) for v in (value, dict(reversed(value.items())), *others)]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 4
    assert {len(digest) for digest in digests} == {16}
    assert len(fingerprint(value, length=8)) == 8
