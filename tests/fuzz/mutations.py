"""Changes to valid files, drawn from a seed: bytes, numbers, whole parts, and what is inside."""

import gzip
import io
import random
import re
import struct
import zipfile

SIZES = [0, 1, -1, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40]
SIZES += [2**62, 2**63 - 1, -(2**31), -(2**63)]
TEXTS = [b"-1", b"0", b"1e400", b"NaN", b"99999999999999999999", b"4611686018427387904", b"[]"]
TEXTS += [b"{}", b"null", b'""', b"true", b"../../x", b"\x1b[2J", b"\xff\xfe", b"\\ud800", b"&a *a"]
TEXTS += [b"[" * 200, b"{" * 200, b'{"a":' * 200, b"- " * 100, b"posix\nsystem\n", b"|O", b"V8"]
# Instructions of pickles that make much of little.
TEXTS += [b"\x85" * 300, b"2\x86" * 60, b"r\xff\xff\xff\x7f", b"\x8e" + b"\xff" * 8, b"(" * 300]


def mutated(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """A file with one to six changes; half of archives and compressed files are changed inside."""
    inside = rng.random() < 0.6 and _inside(content, others, rng)
    if inside:
        return inside
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        rng.choice(CHANGES)(changed, others, rng)
    return bytes(changed[: 2**20])


def _inside(content: bytes, others: list[bytes], rng: random.Random) -> bytes | None:
    """The same file with a part of it changed, and its sizes and checksums right again."""
    try:
        if content[:2] == b"PK":
            return _zip(content, others, rng)
        if content[:2] == b"\x1f\x8b":
            return gzip.compress(mutated(gzip.decompress(content), others, rng), 1)
        length = int.from_bytes(content[:8], "little")
        if 8 < length < len(content) and content[8:9] == b"{":  # safetensors
            header = bytearray(content[8 : 8 + length])
            rng.choice((_number, _text, _replace, _cut, _repeat))(header, others, rng)
            return struct.pack("<Q", len(header)) + header + content[8 + length :]
    except Exception:  # what was changed before may not be what it was
        return None
    return None


def _zip(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = [(entry, archive.read(entry)) for entry in archive.infolist()]
    chosen = rng.randrange(len(parts))
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for i, (entry, part) in enumerate(parts):
            changed = mutated(part, others, rng) if i == chosen else part
            kind = rng.choice((0, 8, 8, 12, 14)) if rng.random() < 0.02 else entry.compress_type
            archive.writestr(entry.filename, changed, kind)
    return made.getvalue()


def _flip(content: bytearray, others: list[bytes], rng: random.Random) -> None:
    if content:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)


def _byte(content: bytearray, others: list[bytes], rng: random.Random) -> None:
    if content:
        content[rng.randrange(len(content))] = rng.randrange(256)


def _size(content: bytearray, others: list[bytes], rng: random.Random) -> None:
    """A number of 1 to 8 bytes over what is there, of either byte order."""
    width = rng.choice((1, 2, 4, 8))
    value = rng.choice(SIZES) % 2 ** (8 * width)
    at = _near_start(content, rng)
    content[at : at + width] = value.to_bytes(width, rng.choice(("little", "big")))


def _number(content: bytearray, others: list[bytes], rng: random.Random) -> None:
    """A number that is written as text becomes another one."""
    found = list(re.finditer(rb"-?[0-9]+", content))
    if found:
        start, stop = rng.choice(found).span()
        content[start:stop] = str(rng.choice(SIZES)).encode()


def _text(content: bytearray, others: list[bytes], rng: random.Random) -> None:
    at = _near_start(content, rng)
    content[at:at] = rng.choice(TEXTS)


def _replace(content: bytearray, others: list[bytes], rng: random.Random) -> None:
    """A value of JSON, YAML or a list becomes another one."""
    found = list(re.finditer(rb'"[^"\n]{0,40}"|\[[^\[\]]{0,60}\]|true|null|[0-9.]+', content))
    if found:
        start, stop = rng.choice(found).span()
        content[start:stop] = rng.choice([*TEXTS, content[slice(*rng.choice(found).span())]])


def _cut(content: bytearray, others: list[bytes], rng: random.Random) -> None:
    at = _near_start(content, rng)
    del content[at : at + rng.choice((1, 1, 2, 4, 8, 64, 1024, 2**20))]


def _repeat(content: bytearray, others: list[bytes], rng: random.Random) -> None:
    at = _near_start(content, rng)
    part = content[at : at + rng.choice((1, 2, 4, 16, 64, 512))]
    content[at:at] = part * rng.choice((1, 1, 2, 8, 100))


def _splice(content: bytearray, others: list[bytes], rng: random.Random) -> None:
    other = rng.choice(others)
    start = rng.randrange(len(other) + 1)
    at = _near_start(content, rng)
    content[at : at + rng.choice((0, 0, 8, 64))] = other[start : start + rng.choice((4, 32, 256))]


def _near_start(content: bytearray, rng: random.Random) -> int:
    """A place: headers come first, and decide most."""
    most = len(content) if rng.random() < 0.5 else min(len(content), 128)
    return rng.randrange(most + 1)


CHANGES = [_flip, _byte, _size, _size, _number, _text, _replace, _cut, _repeat, _splice]
