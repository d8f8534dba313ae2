"""Files that ``torch.save`` wrote, from anyone: looked through before torch reads them.

Torch's own reader for weights alone runs no code, but hashes, allocates and believes whatever the
file says. Here its instructions are followed without torch: names, keys and sizes are compared
with what the file holds.
"""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from guided.errors import InputError, reason_of
from guided.readers.pickled import PickleReader, RefusedPickleError, refuse

LONGEST_PICKLE = 2**26  # bytes: names and shapes, no weights
BYTES = {
    **dict.fromkeys(("DoubleStorage", "LongStorage", "ComplexFloatStorage"), 8),
    **dict.fromkeys(("FloatStorage", "IntStorage"), 4),
    **dict.fromkeys(("HalfStorage", "BFloat16Storage", "ShortStorage"), 2),
    **dict.fromkeys(("ByteStorage", "CharStorage", "BoolStorage", "UntypedStorage"), 1),
    "ComplexDoubleStorage": 16,
}
DTYPES = ("float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8")
NAMES = {
    "collections.OrderedDict",
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_parameter",
    "torch.Size",
    *(f"torch.{name}" for name in (*BYTES, *DTYPES, "bool")),
    *(f"torch.storage.{name}" for name in BYTES),
}
LEGACY_PICKLES = 3  # before the one of the weights: a magic number, a version, the machine
LEGACY_BEGIN = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def check_torch_file(path: Path) -> None:
    """Raise unless a file holds tensors and plain values, of no more bytes than it has.

    Raises:
        InputError: it holds anything else, or is damaged.
        OSError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            legacy = file.read(len(LEGACY_BEGIN)) == LEGACY_BEGIN
            file.seek(0)
            if legacy:
                _check_legacy(file)
            else:
                _check_archive(file)
    except OSError:
        raise
    except RefusedPickleError as refusal:
        raise InputError(
            f"{path}: holds more than weights, and is not unpickled (it {refusal}); write the "
            "weights alone: torch.save(model.state_dict(), path)"
        ) from refusal
    except Exception as error:  # a damaged file raises one of many kinds
        raise InputError(
            f"{path}: not a complete file of torch.save ({reason_of(error)})"
        ) from error


class _Opaque:
    """Stands for anything that is not a plain value."""


class _Dict(dict[Any, Any]):
    """Stands for an OrderedDict, whose attributes a state dict sets."""

    def __setstate__(self, state: Any) -> None:
        if type(state) is not dict or set(state) - {"_metadata"}:
            refuse("sets attributes of an OrderedDict")


class _Name:
    """Stands for a name that torch's files may hold."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *arguments: Any) -> Any:
        if self.name == "collections.OrderedDict":
            if arguments:
                refuse("makes an OrderedDict of what it may not")
            return _Dict()
        if self.name == "torch._utils._rebuild_parameter":
            return _rebuilt_parameter(*arguments)
        if not self.name.startswith("torch._utils._rebuild_tensor"):
            refuse(f"calls {self.name}")
        return _rebuilt_tensor(*arguments)


def _rebuilt_parameter(tensor: Any = None, needs: Any = None, hooks: Any = None) -> _Opaque:
    if type(tensor) is not _Opaque or type(needs) is not bool or type(hooks) is not _Dict:
        refuse("makes a parameter of what is no tensor")
    return _Opaque()


def _rebuilt_tensor(
    storage: Any = None, offset: Any = None, size: Any = None, stride: Any = None, *others: Any
) -> _Opaque:
    """Check that a tensor lies within its storage, each value once."""
    if not isinstance(storage, int) or type(offset) is not int or len(others) > 3:
        refuse("makes a tensor of what is no storage")
    if type(size) is not tuple or type(stride) is not tuple or len(size) != len(stride):
        refuse("makes a tensor without a shape")
    if len(size) > 32 or not all(type(n) is int and 0 <= n < 2**48 for n in (*size, *stride)):
        refuse("makes a tensor of an impossible shape")
    count, last = 1, offset
    for n, step in zip(size, stride, strict=True):
        count *= n
        last += max(n - 1, 0) * step
    if offset < 0 or (count and (last >= storage or count > storage)):
        refuse("makes a tensor of more values than it stores")
    return _Opaque()


class _TorchReader(PickleReader):
    """A pickle of tensors.

    Args:
        file: of the pickle.
        stored: name of a storage -> its bytes; None if that is not known.
    """

    def __init__(self, file: BinaryIO, stored: Mapping[str, int] | None) -> None:
        super().__init__(file)
        self.stored = stored
        self.used: dict[str, int] = {}

    def find(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        return _Name(full) if full in NAMES else super().find(module, name)

    def refer(self, key: Any) -> int:
        """The number of values in a storage."""
        if type(key) is not tuple or not 5 <= len(key) <= 6 or key[0] != "storage":
            refuse("has a persistent id that is no storage's")
        kind, name, n = key[1], key[2], key[4]
        width = BYTES.get(kind.name.rpartition(".")[2]) if type(kind) is _Name else None
        if width is None or type(name) is not str or type(n) is not int or not 0 <= n < 2**48:
            refuse("has a storage of no known kind")
        if len(key) > 5 and key[5] is not None:
            refuse("has a storage within another one")
        there = n * width if self.stored is None else self.stored.get(name)
        if there != n * width:
            refuse(f"states a storage of {n * width:,} bytes, where {there or 0:,} are stored")
        self.used[name] = n * width
        if sum(self.used.values()) > self.size and self.stored is None:
            refuse("states storages of more bytes than it has itself")
        return n


def _check_archive(file: BinaryIO) -> None:
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            refuse("is compressed, which torch.save does not do")
        names = [entry.filename for entry in entries]
        pickles = [entry for entry in entries if entry.filename.rpartition("/")[2] == "data.pkl"]
        if len(pickles) != 1 or len(set(names)) < len(names):
            raise ValueError("it has no data.pkl, or several files of one name")
        top = pickles[0].filename.removesuffix("data.pkl")
        stored = {
            entry.filename.removeprefix(f"{top}data/"): entry.file_size
            for entry in entries
            if entry.filename.startswith(f"{top}data/")
        }
        if pickles[0].file_size > LONGEST_PICKLE:
            refuse(f"has a pickle of {pickles[0].file_size:,} bytes")
        if any(name == f"{top}constants.pkl" or name.startswith(f"{top}code/") for name in names):
            refuse("is a program of TorchScript")
        with archive.open(pickles[0]) as stream:
            _TorchReader(stream, stored).load()  # type: ignore[arg-type]


def _check_legacy(file: BinaryIO) -> None:
    """The form before version 1.6: several pickles, then the storages' bytes."""
    for _ in range(LEGACY_PICKLES):
        PickleReader(file).load()
    _TorchReader(file, None).load()
    if not isinstance(PickleReader(file).load(), list):
        raise ValueError("its list of storages is missing")
