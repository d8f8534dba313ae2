"""Numpy's files: what numpy writes is read, and no more than a file can hold is believed."""

import io
import zipfile

import numpy as np
import pytest

from guided.readers.arrays import map_npy, read_array, read_npz

RNG = np.random.default_rng(0)
ARRAYS = {
    "float": RNG.normal(size=(4, 3)),
    "by column": np.asfortranarray(RNG.normal(size=(4, 3))),
    "half": RNG.normal(size=7).astype(np.float16),
    "other byte order": np.arange(6, dtype=">u2").reshape(2, 3),
    "bool": np.array([True, False]),
    "text": np.array(["a", "é𝄞"]),
    "bytes": np.array([b"ab", b"c"]),
    "complex": np.array([1j, 2]),
    "no dimensions": np.array(3),
    "empty": np.zeros((0, 3)),
}


def same(one, two):
    return one.dtype == two.dtype and one.shape == two.shape and np.array_equal(one, two)


def written(array):
    made = io.BytesIO()
    np.save(made, array)
    return made.getvalue()


@pytest.mark.parametrize("name", ARRAYS)
def test_what_numpy_writes(name, tmp_path):
    content = written(ARRAYS[name])
    assert same(read_array(io.BytesIO(content)), ARRAYS[name])
    (tmp_path / "x.npy").write_bytes(content)
    assert same(np.asarray(map_npy(tmp_path / "x.npy")), ARRAYS[name])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_archives(save, tmp_path):
    save(tmp_path / "x.npz", **ARRAYS)
    found = read_npz(tmp_path / "x.npz")
    assert list(found) == list(ARRAYS)
    assert all(same(found[name], ARRAYS[name]) for name in ARRAYS)


def header(kind="'<f8'", shape="(2, 3)", order="False", version=1):
    text = f"{{'descr': {kind}, 'fortran_order': {order}, 'shape': {shape}, }}\n".encode()
    width = 2 if version == 1 else 4
    return b"\x93NUMPY" + bytes([version, 0]) + len(text).to_bytes(width, "little") + text


def test_headers_of_other_programs():
    content = header('"<f8"', "(2L, 3L)", version=2) + bytes(48)
    assert read_array(io.BytesIO(content)).shape == (2, 3)


REFUSED = {
    "no array in numpy's format": b"<html></html>",
    "within its header": header()[:20],
    "a header of 4294967295 bytes": b"\x93NUMPY\x02\x00" + b"\xff" * 4,
    "its header says": header(shape="(-2, 3)"),
    "Python objects": header("'|O'"),
    "its values are |V8": header("'|V8'"),
    "its values are <U0": header("'<U0'", "(99999999999,)"),
    "an array of shape": header(shape="(1, 999999999999999999)"),
    "expected an array of numbers or text": header("[('a', '<f8')]"),
    'numbers or text, its header says "': header(shape=f"({'1' * 600}x)"),
    "invalid literal": header(shape="(1 1)"),
    "bytes, more than 536,870,912": header(shape="(99999999999,)"),
    "8 bytes, its header says 48": header() + bytes(8),
    "more bytes than the 48 of its header": header() + bytes(49),
    "characters that do not exist": header("'<U1'", "(1,)") + b"\xff" * 4,
}


@pytest.mark.parametrize("message", REFUSED)
def test_hostile_headers(message):
    with pytest.raises(ValueError, match=message.replace("|", r"\|")):
        read_array(io.BytesIO(REFUSED[message]))


def test_small_archives_do_not_become_large(tmp_path):
    path = tmp_path / "x.npz"
    for kind, message in ((8, "a: an array of 600,000,000 bytes, more"), (14, "another method")):
        with zipfile.ZipFile(path, "w", kind) as archive:
            archive.writestr("a.npy", header(shape="(75000000,)") + bytes(10**6))
        with pytest.raises(ValueError, match=message):
            read_npz(path)


def test_a_map_has_the_size_of_its_file(tmp_path):
    path = tmp_path / "x.npy"
    path.write_bytes(header() + bytes(47))
    with pytest.raises(ValueError, match="47 bytes of values, its header says 48"):
        map_npy(path)
