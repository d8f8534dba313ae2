"""Whatever bit of a file is flipped: it is refused in one line, or read as it was."""

import json
import random

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from guided.backbones import Conv4
from guided.encoder import Encoder
from guided.errors import InputError
from guided.latents import LatentLayout
from guided.storage.checksums import DamageError, check_archive, file_checksum, is_damaged
from guided.storage.files import read_arrays, read_json, read_weights, write_arrays, write_json
from guided.training.state import ResumableState

VALUE = {"error": 1.25, "names": ["ä", None, True], "history": [{"step": 2, "score": 1e-7}]}
ARRAYS = {"3w1s": np.arange(40, dtype=np.uint8).reshape(2, 20), "x": np.linspace(0, 1, 7)}


def trained():
    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    return ResumableState({"model": model, "optimizer": optimizer})


def read_state(path):
    state = trained()
    for value in state.parts["model"].state_dict().values():
        value.fill_(9)
    state.restore(path)
    weights = [value.tolist() for value in state.parts["model"].state_dict().values()]
    return weights, str(state.parts["optimizer"].state_dict()), vars(state.progress)


def encoder():
    torch.manual_seed(0)
    return Encoder(Conv4((1, 8, 8), width=2), LatentLayout({"class": (0, 1), "rest": (1, 3)}))


def read_encoder(path):
    read = Encoder.load(path)
    return read.description(), [value.tolist() for value in read.state_dict().values()]


KINDS = {
    "cell.json": (lambda path: write_json(path, VALUE), read_json),
    "wrong.npz": (
        lambda path: write_arrays(path, ARRAYS),
        lambda path: {name: (a.dtype, a.tolist()) for name, a in read_arrays(path).items()},
    ),
    "state.pt": (lambda path: trained().save(path), read_state),
    "encoder.safetensors": (lambda path: encoder().save(path, seed=3), read_encoder),
}


@pytest.fixture(params=KINDS)
def kind(request, tmp_path):
    """A file of each kind, and the function that reads it."""
    write, read = KINDS[request.param]
    path = tmp_path / request.param
    write(path)
    return path, read


def test_any_flipped_bit_is_noticed_or_harmless(kind):
    path, read = kind
    right, content = read(path), path.read_bytes()
    rng, noticed = random.Random(0), 0
    for _ in range(150):
        damaged = bytearray(content)
        damaged[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            found = read(path)
        except InputError as error:
            noticed += 1
            assert str(path) in str(error) and "\n" not in str(error)
        else:
            # A key "checksum" that is none any more is one of a file that states none.
            found = {k: found[k] for k in VALUE} if path.suffix == ".json" else found
            assert found == right, "read as if nothing were wrong"
    assert noticed > 100


@pytest.mark.parametrize(
    "damage",
    [lambda c: b"", lambda c: c[: len(c) // 2], lambda c: c[:-1], lambda c: bytes(len(c))],
    ids=["empty", "half", "a byte less", "zeros"],
)
def test_other_damage_is_one_line(kind, damage):
    path, read = kind
    content = path.read_bytes().rstrip(b"\n")  # without which JSON is as good
    path.write_bytes(damage(content))
    with pytest.raises(InputError) as caught:
        read(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    path.unlink()
    with pytest.raises(InputError):
        read(path)


def test_files_of_other_programs_state_no_checksum_and_are_read(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(VALUE))
    assert read_json(tmp_path / "a.json") == VALUE
    np.savez(tmp_path / "a.npz", **ARRAYS)
    assert read_arrays(tmp_path / "a.npz").keys() == ARRAYS.keys()
    save_file({"x": torch.ones(2)}, tmp_path / "a.safetensors", {"made": "elsewhere"})
    assert read_weights(tmp_path / "a.safetensors")[1] == {"made": "elsewhere"}
    torch.save({"x": torch.ones(2)}, tmp_path / "a.pt")
    check_archive(tmp_path / "a.pt")


def test_archives_of_other_programs_are_compared_with_the_checksums_of_their_parts(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, **ARRAYS)
    content = bytearray(path.read_bytes())
    content[content.index(ARRAYS["3w1s"].tobytes()) + 3] ^= 1
    path.write_bytes(content)
    assert is_damaged(path)
    with pytest.raises(DamageError):
        read_arrays(path)


def test_weights_of_every_kind_keep_their_checksum(tmp_path):
    weights = {
        "half": torch.ones(3, dtype=torch.bfloat16),
        "scalar": torch.tensor(2.5),
        "none": torch.ones(0, 4),
        "flags": torch.tensor([True, False]),
        "strided": torch.arange(6.0).reshape(2, 3).T,
    }
    from guided.storage.files import write_weights

    write_weights(tmp_path / "weights", weights, {"b": "2", "a": "ä"})
    read, texts = read_weights(tmp_path / "weights")
    assert texts == {"a": "ä", "b": "2"}
    assert all(torch.equal(read[name], value) for name, value in weights.items())


def test_checksum_of_a_file_is_crc_32(tmp_path):
    (tmp_path / "file").write_bytes(b"123456789")
    assert file_checksum(tmp_path / "file") == "cbf43926"  # the check value of CRC-32/ISO-HDLC
