"""Restricted unpickling: what numpy and Python write is read, everything else is refused."""

import copyreg
import io
import os
import pickle

import numpy as np
import pytest

from fewshot.data.io.pickles import load_pickle
from guided.errors import InputError

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
RNG = np.random.default_rng(0)


def loaded(content):
    return load_pickle(io.BytesIO(content), "x.pkl")


def refused(content, *words):
    with pytest.raises(InputError, match=r"\Ax\.pkl: [^\n]*\Z") as caught:
        loaded(content)
    assert [word for word in words if word not in str(caught.value)] == [], str(caught.value)


def same(one, two):
    """Of equal types and values, all the way down."""
    if type(one) is not type(two):
        return False
    if isinstance(one, np.ndarray):
        return one.dtype == two.dtype.newbyteorder("=") and np.array_equal(one, two)
    if isinstance(one, dict):
        return list(one) == list(two) and all(same(one[key], two[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(same, one, two))
    return one == two


ARRAYS = {
    "uint8": RNG.integers(0, 256, (3, 4, 5), np.uint8),
    "large": RNG.integers(0, 256, (60, 84, 84, 3), np.uint8),
    "large, another order": np.asfortranarray(RNG.integers(0, 256, (1500, 1000), np.uint8)),
    "float": RNG.normal(size=(2, 3)),
    "half": RNG.normal(size=7).astype(np.float16),
    "other byte order": np.arange(6, dtype=">u2").reshape(2, 3),
    "bool": np.array([True, False]),
    "no dimensions": np.array(3),
}
PLAIN = {
    "numbers": [0, -1, 255, 2**15, -(2**31), 2**100, 0.5, -1e300, True, False, None],
    "text": ["", "a", "ü€𝄞\n'\\", "x" * 300],
    "containers": ([], (), {}, (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), {"a": {1: [2]}}),
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", [*ARRAYS, *PLAIN])
def test_loads_what_pickle_loads(name, protocol):
    value = {**ARRAYS, **PLAIN}[name]
    content = pickle.dumps({"a": value, "b": [value]}, protocol=protocol)
    assert same(loaded(content), pickle.loads(content))


def test_bytes():
    value = [b"", b"a\xff", b"ab" * 2**20]
    for protocol in PROTOCOLS[3:]:  # earlier ones pickle bytes as calls
        assert same(loaded(pickle.dumps(value, protocol=protocol)), value)


def test_shared_objects_are_copied_once():
    shared = [ARRAYS["uint8"]]
    for _ in range(60):  # 2^60 leaves
        shared = [shared, shared]
    copied = loaded(pickle.dumps(shared) + b"\n\xff")  # what follows the end does not matter
    assert copied[0] is copied[1]


def python2(array):
    """A dict as Python 2 pickled it with protocol 2: arrays' contents are strings of 8 bits."""
    content = array.tobytes()
    parts = [
        b"\x80\x02}(U\x04datacnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02",
        b"K\x00\x85U\x01b\x87R(K\x01",
        *(b"M" + n.to_bytes(2, "little") for n in array.shape),
        {2: b"\x86", 3: b"\x87"}[array.ndim],
        b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R",
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89",
        b"T" + len(content).to_bytes(4, "little") + content,
        b"tbU\x06labels](K\x05K\x06eU\x04nameU\x02a\xfcu.",
    ]
    return b"".join(parts)


@pytest.mark.parametrize("shape", [(3, 4, 5), (900, 3072)])
def test_python_2(shape):
    array = RNG.integers(0, 256, shape, np.uint8)
    expected = {"data": array, "labels": [5, 6], "name": "aü"}
    assert same(pickle.loads(python2(array), encoding="latin1"), expected), "the test's own pickle"
    assert same(loaded(python2(array)), expected)


class Reading(io.BytesIO):
    """Counts the bytes that are read."""

    n_bytes = 0

    def read(self, size=-1):
        content = super().read(size)
        self.n_bytes += len(content)
        return content


@pytest.mark.parametrize("protocol", PROTOCOLS[1:])
def test_without_arrays_their_content_is_not_read(protocol):
    value = {"image_data": ARRAYS["large"], "class_dict": {"a": [0, 1]}, "few": ARRAYS["uint8"]}
    file = Reading(pickle.dumps(value, protocol=protocol))
    seen = load_pickle(file, "x.pkl", arrays=False)
    assert file.n_bytes < 2000
    assert seen["class_dict"] == {"a": [0, 1]}
    assert [len(seen[key]) for key in ("image_data", "few")] == [0, 0]


class Calls:
    """Pickled as a call of ``function``."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("inside", ["alone", "nested", "key", "state", "array of objects"])
def test_a_call_is_refused_and_not_made(protocol, inside, tmp_path):
    attack = Calls(os.system, f"touch {tmp_path / 'done'}")
    array = np.empty(1, object)
    array[0] = attack
    content, named = {
        "alone": (attack, "posix.system"),
        "nested": ({"image_data": ARRAYS["uint8"], "a": [(1, [attack])]}, "posix.system"),
        "key": ({attack: 1}, "posix.system"),
        "state": (Calls(np.frombuffer, attack), "numpy"),
        "array of objects": (array, "numpy.dtype('O8')"),
    }[inside]
    refused(pickle.dumps(content, protocol=protocol), named)
    assert not (tmp_path / "done").exists()


LOOKALIKES = [
    *(("builtins", name) for name in ("eval", "exec", "getattr", "__import__", "object")),
    *(("numpy.core.multiarray", "fromfile"), ("numpy.core.multiarrays", "_reconstruct")),
    *(("numpy.core", "multiarray._reconstruct"), ("numpy.core.multiarray ", "_reconstruct")),
    ("numpy.core.multiarray", "_reconstruct.__globals__"),
    ("numpy.core.multiarray", "_reconstruct\n"),
    *(("Numpy", "ndarray"), ("numpy", "ndarray.__class__"), ("numpy", "memmap")),
    ("numpy.testing._private.utils", "runstring"),
    *(("numpy.f2py.crackfortran", "myeval"), ("codecs", "encode"), ("_codecs", "decode")),
    ("os\n\x1b[2J", "system" * 99),
]


@pytest.mark.parametrize(("module", "name"), LOOKALIKES)
def test_lookalikes_are_refused(module, name):
    texts = [text.encode() for text in (module, name)]
    pushed = [b"X" + len(text).to_bytes(4, "little") + text for text in texts]
    refused(b"\x80\x04" + pushed[0] + pushed[1] + b"\x93.", "names ", module.split("\n")[0].strip())
    if "\n" not in module + name:
        refused(b"c" + texts[0] + b"\n" + texts[1] + b"\n.", "names ")
        refused(b"(i" + texts[0] + b"\n" + texts[1] + b"\n.", "names ")


NDARRAY, DTYPE = b"cnumpy\nndarray\n", b"cnumpy\ndtype\n"
RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n"
FROMBUFFER, ENCODE = b"cnumpy.core.numeric\n_frombuffer\n", b"c_codecs\nencode\n"
EMPTY = RECONSTRUCT + NDARRAY + b"K\x00\x85U\x01b\x87R"
U1 = DTYPE + b"U\x02u1K\x00K\x01\x87R"
FRAMED = FROMBUFFER + b"(C\x02ab"
# What is bent: what the message says, and ways to bend it.
BENT = [
    # Calls
    (DTYPE, "numpy.dtype('O')", b"U\x01OK\x00K\x01\x87R"),
    (DTYPE, "numpy.dtype('V10')", b"U\x03V10K\x00K\x01\x87R"),
    (DTYPE, "numpy.dtype('u1')", b"U\x02u1\x85R"),
    (DTYPE, "calls numpy.dtype", b"](U\x01aU\x01O\x86eK\x00K\x01\x87R", b")R"),
    (DTYPE, "", b"NR"),
    (NDARRAY, "calls numpy.ndarray", b"K\x05\x85\x85R"),
    (RECONSTRUCT, "_reconstruct", b"NNN\x87R", DTYPE + b"K\x00\x85U\x01b\x87R"),
    (RECONSTRUCT + NDARRAY, "_reconstruct", b"K\x05\x85U\x01b\x87R", b"K\x00\x85U\x01O\x87R"),
    (b"(", "calls numpy.ndarray", NDARRAY + b"o"),
    (b"(", "numpy.dtype('O')", DTYPE + b"U\x01OK\x00K\x01o"),
    (ENCODE, "_codecs.encode", b"U\x01xU\x05rot13\x86R", b"U\x01xU\x06latin1U\x06ignore\x87R"),
    (ENCODE, "_codecs.encode", NDARRAY + b"U\x06latin1\x86R"),
    (b"", "not callable", b"U\x01x)R", b"})R", EMPTY + b")R", U1 + b")R"),
    (FROMBUFFER, "_frombuffer", b"(C\x02abU\x01OK\x02\x85U\x01CtR", b"(NNNNtR"),
    (FRAMED + U1, "_frombuffer", b"K\x02\x85U\x01KtR"),
    (FRAMED + U1, "3 bytes by its shape but 2", b"K\x03\x85U\x01CtR"),
    (FROMBUFFER, "without content", b"(]" + U1 + b"K\x00\x85U\x01CtR"),
    # States
    (NDARRAY, "sets attributes of numpy.ndarray", b"}U\x01aK\x01sb"),
    (RECONSTRUCT, "sets attributes of numpy", b"N}U\x08__call__K\x01s\x86b"),
    (U1, "changes a numpy.dtype", b"}U\x05dtypeU\x01Osb", b"N}U\x05dtypeU\x01Os\x86b"),
    (U1, "changes", b"(K\x03U\x01|](U\x01aeNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"),
    (U1, "changes", b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x3ftb"),
    (U1, "changes", b"(K\x04U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00}tb"),
    (b"", "list", b"]}U\x01aK\x01sb"),
    (b"", "dict", b"}}U\x01aK\x01sb"),
    (EMPTY, "fills an array", b"}U\x04dataK\x01sb", b"N}U\x05shapeK\x01s\x86b"),
    (EMPTY, "fills an array", b"(K\x01K\x02\x85U\x01O\x89U\x02abtb"),
    (EMPTY, "without content", b"", b"(K\x01K\x02\x85" + U1 + b"\x89](NNetb"),
    (EMPTY, "2 bytes by its shape but 3", b"(K\x01K\x02\x85" + U1 + b"\x89U\x03abctb"),
    (EMPTY, "shape", b"(K\x01K\x02" + U1 + b"\x89U\x02abtb"),
    (EMPTY + b"(K\x01J\xff\xff\xff\xffJ\xfe\xff\xff\xff\x86", "shape", U1 + b"\x89U\x02abtb"),
    (EMPTY, "", b"K\x00K\x01s", b"K\x00a", b"(K\x00\x90"),
    # What is left over
    (b"", "holds _Number", U1),
    (b"", "holds numpy.ndarray", NDARRAY),
    (b"}", "", U1 + b"K\x01s"),
    (b"}", "a key of type _Global", NDARRAY + b"K\x01s"),
    (b"}", "a key of type tuple", b")K\x01s"),
    (b"", "holds set", b"\x8f"),
    (b"", "holds frozenset", b"(\x91"),
    (b"\x96" + bytes(8), "holds bytearray", b""),
    (b"\x96" + bytes(8), "holds memoryview", b"\x98"),
    # Instructions
    (b"", "persistent id", b"Pos.system\n", b"U\x01xQ"),
    (b"", "extension", b"\x82\x01", b"\x83\x01\x00", b"\x84\x01\x00\x00\x00"),
    (b"", "", NDARRAY + b")\x81", NDARRAY + b")}\x92", b"\x97"),
]


@pytest.mark.parametrize(
    ("start", "word", "end"), [(s, w, e) for s, w, *ends in BENT for e in ends]
)
def test_what_is_allowed_cannot_be_bent(start, word, end):
    refused(start + end + b".", word)


@pytest.mark.parametrize("resolved", [False, True])
def test_an_extension_is_refused_even_if_it_is_known(resolved, monkeypatch):
    monkeypatch.setitem(copyreg._inverted_registry, 7, ("os", "system"))
    if resolved:
        assert pickle.loads(b"\x82\x07.") is os.system
    refused(b"\x82\x07U\x04true\x85R.", "extension")


DAMAGED = [
    *(b"", b"\n", b"<!DOCTYPE html><html></html>", b"\x80\x63.", b".", b"0.", b"]h\x09."),
    *(b"X\xff\xff\xff\xffabc.", b"\x8d" + b"\xff" * 8 + b"abc."),
    *(b"\x8e" + (2**45).to_bytes(8, "little") + b"abc.", b"T\xff\xff\xff\xffabc."),
    b"\x8b\xff\xff\xff\x7f.",
]


def test_damaged():
    for content in DAMAGED:
        refused(content, "not a complete pickle")
    whole = pickle.dumps({"image_data": ARRAYS["uint8"], "class_dict": {"a": [1]}}, protocol=2)
    for length in range(1, len(whole), 7):
        refused(whole[:length])


def long_number(n):
    return b"\x8a\x0c" + n.to_bytes(12, "little")


SHARED = RECONSTRUCT + NDARRAY + b"K\x00\x85U\x01b\x87R(K\x01M\x00\x10\x85" + U1
HOSTILE = {
    # Python's unpickler: overflows the stack, hangs, hangs, takes 16 GB, 3 GB, hangs.
    "the hash of a deep key": ("a key of type tuple", b"})" + b"\x85" * 50_000 + b"K\x01s."),
    "the hash of a wide key": ("a key of type tuple", b"})" + b"2\x86" * 60 + b"K\x01s."),
    "keys of one hash": (
        "over 60 bits",
        b"}(" + b"".join(long_number(i * (2**61 - 1)) + b"N" for i in range(1, 99)) + b"u.",
    ),
    "arrays of one content": (
        "more bytes than it has",
        b"]U\x01xq\x000X\x00\x10\x00\x00" + b"x" * 4096 + b"q\x010("
        + (SHARED + b"\x89h\x01tb") * 99 + b"e.",
    ),
    "texts of one content": (
        "more bytes than it has",
        b"](X\x00\x10\x00\x00" + b"x" * 4096 + b"q\x01"
        + (ENCODE + b"h\x01U\x06latin1\x86R") * 999 + b"e.",
    ),
    "many instructions": ("instructions", b"]" + b"(0" * 2**21),
    "a deep list": ("nested more than 100", b"]" + b"\x85" * 50_000 + b"."),
    "a list in itself": ("nested more than 100", b"]\x94h\x00a."),
    "a number of the memo": ("under a number of over 60 bits", b"Np%d\n." % 2**60),
    "a list as key": ("a key of type list", b"}]K\x01s."),
    "a number as key": ("a key of type float", b"}G" + bytes(8) + b"K\x01s."),
    "a long number": ("a number of 70 bytes", b"\x8a\x46" + bytes(70) + b"."),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_limits(name):
    word, content = HOSTILE[name]
    refused(content, word)


def test_a_place_far_away_takes_no_memory():
    assert loaded(b"K\x07r\xff\xff\xff\x7f0j\xff\xff\xff\x7f.") == 7
