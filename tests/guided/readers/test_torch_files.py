"""Files of torch.save: weights pass, whatever states more than it holds does not."""

import io
import os
import pickle
import zipfile

import pytest
import torch
from torch import nn

from guided.errors import InputError
from guided.readers.torch_files import check_torch_file

MODULE = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(4, 3))
OPTIMIZER = torch.optim.AdamW(MODULE.parameters())
for parameter in MODULE.parameters():
    parameter.grad = torch.ones_like(parameter)
OPTIMIZER.step()
WEIGHTS = {
    "state dict": MODULE.state_dict(),
    "checkpoint": {"model": MODULE.state_dict(), "epoch": 3, "lr": 1e-3, "names": ("a", None)},
    "optimizer": OPTIMIZER.state_dict(),
    "parameter": nn.Parameter(torch.zeros(3)),
    "half": [torch.zeros(2).half(), torch.zeros(2).bfloat16(), torch.zeros(2).bool()],
    "views": {"a": (rows := torch.arange(12).reshape(3, 4)), "b": rows.T, "c": rows[1:, 2]},
    "empty": torch.zeros(0, 5),
    "sizes": {"shape": 3, "dtype": torch.float16},
}
FORMS = {"zip": {}, "legacy": {"_use_new_zipfile_serialization": False}}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_pass(name, form, tmp_path):
    torch.save(WEIGHTS[name], tmp_path / "x.pt", **FORMS[form])
    check_torch_file(tmp_path / "x.pt")


class Attack:
    def __reduce__(self):
        return os.system, ("touch attacked",)


REFUSED = {
    "names posix.system": Attack(),
    "makes a tensor of more values": torch.zeros(1).expand(2**40),
    "names torch._utils._rebuild_sparse": torch.zeros(2, 2).to_sparse(),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("message", REFUSED)
def test_more_than_weights_is_refused(message, form, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(REFUSED[message], "x.pt", **FORMS[form])
    with pytest.raises(InputError, match=message):
        check_torch_file(tmp_path / "x.pt")
    assert not (tmp_path / "attacked").exists()


def changed(path, change):
    """Write a file of two weights, with its pickle changed."""
    torch.save({"a": torch.zeros(3, 5), "b": torch.zeros(2)}, path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    kind = zipfile.ZIP_DEFLATED if change is None else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, part in parts.items():
            changes = change and name.endswith("data.pkl")
            archive.writestr(name, change(part) if changes else part)


CHANGES = {
    "states a storage of 1,020 bytes, where 60": lambda p: p.replace(b"K\x0f", b"K\xff", 1),
    "makes a tensor of more values": lambda p: p.replace(b"K\x03K\x05", b"K\x03K\x06", 1),
    "impossible shape": lambda p: p.replace(b"K\x03K\x05", b"J\xff\xff\xff\xffK\x05", 1),
    "key of type tuple": lambda p: b"\x80\x02})" + b"2\x86" * 60 + b"K\x01s.",
    "no storage's": lambda p: b"\x80\x02K\x01Q.",
    "is compressed": None,
    "not a complete file": lambda p: p[: len(p) // 2],
}


@pytest.mark.parametrize("message", CHANGES)
def test_sizes_are_those_of_the_file(message, tmp_path):
    changed(tmp_path / "x.pt", CHANGES[message])
    with pytest.raises(InputError, match=message) as caught:
        check_torch_file(tmp_path / "x.pt")
    assert "\n" not in str(caught.value)


def test_a_legacy_file_that_states_more_than_it_has(tmp_path):
    made = io.BytesIO()
    torch.save(torch.zeros(200), made, _use_new_zipfile_serialization=False)
    content = made.getvalue().replace(b"K\xc8", b"J\xc8\x00\x00\x7f")
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(InputError, match="states storages of more bytes than it has"):
        check_torch_file(tmp_path / "x.pt")


def test_other_files(tmp_path):
    for content in (b"", b"PK\x03\x04", b"<html></html>", pickle.dumps({"a": 1})):
        (tmp_path / "x.pt").write_bytes(content)
        with pytest.raises(InputError, match=r"not a complete file of torch\.save"):
            check_torch_file(tmp_path / "x.pt")
