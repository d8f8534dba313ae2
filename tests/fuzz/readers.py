"""What is fuzzed: each reader of files, with a few valid ones to begin with."""

import gzip
import io
import json
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save

from fewshot.commands.report import command_of
from fewshot.config.files import read_file
from fewshot.data.embeddings.files import read_arrays as read_embeddings
from fewshot.data.io.containers import contents, read_each
from fewshot.data.io.pickles import load_pickle
from fewshot.data.io.pixels import UnusableImage, large_images, pixels_of
from fewshot.data.layouts import find_classes
from fewshot.data.mini_imagenet.sources import HEADER, _read_list
from fewshot.data.mnist import read_idx
from fewshot.data.sprites.dsprites import FILE as DSPRITES
from fewshot.data.sprites.dsprites import DSprites
from fewshot.learners import Prototypical
from fewshot.study.cell_index import FILE as INDEX
from fewshot.study.cell_index import CellIndex
from fewshot.study.counts import Counts
from fewshot.study.html.single.run import FinishedRun
from fewshot.study.recorded import recorded
from fewshot.study.result import StudyResult
from guided import Conv4, Encoder, LatentLayout, Pixels
from guided.backbones.foreign.weights import read_weights
from guided.decoder import Decoder
from guided.encoder import provenance
from guided.likelihoods import Bernoulli
from guided.storage.files import read_arrays
from guided.training.state import ResumableState

PUBLISHED = Path(__file__).parents[2] / "runs" / "published"
RNG = np.random.default_rng(0)


@dataclass(frozen=True)
class Reader:
    """A reader and what it is given.

    Attributes:
        file: name of the file in a folder of its own.
        read: reads it; raises InputError and nothing else.
        seeds: contents of valid files.
    """

    file: str
    read: Callable[[Path], object]
    seeds: list[bytes]


def _encoder() -> Encoder:
    torch.manual_seed(0)
    layout = LatentLayout({"class": (0, 2), "content": (2, 4)}, {"class": "attribute"})
    return Encoder(Conv4((1, 16, 16), width=2), layout, "class", 3)


def _file(write: Callable[[Path], object], name: str) -> bytes:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        write(Path(folder) / name)
        return (Path(folder) / name).read_bytes()


def _buffer(write: Callable[[io.BytesIO], object]) -> bytes:
    made = io.BytesIO()
    write(made)
    return made.getvalue()


def _pickles() -> list[bytes]:
    value = {
        "image_data": RNG.integers(0, 256, (2, 3, 3, 3), np.uint8),
        "class_dict": {"n01532829": [0], "n01558993": [1]},
    }
    more = {"a": [1.5, None, True, 2**70, b"x"], "b": (np.arange(3.0), "é")}
    return [pickle.dumps(v, p) for v in (value, more) for p in (0, 2, 4, 5)]


def _load_pickle(path: Path) -> None:
    with path.open("rb") as file:
        load_pickle(file, path.name)
    with path.open("rb") as file:
        load_pickle(file, path.name, arrays=False)


def _idx() -> bytes:
    return bytes([0, 0, 8, 3]) + np.array([2, 3, 4], ">i4").tobytes() + bytes(24)


def _dsprites() -> bytes:
    n = 12
    arrays = {
        "imgs": RNG.integers(0, 2, (n, 64, 64), np.uint8),
        "latents_classes": np.zeros((n, 6), np.int64),
        "latents_values": np.zeros((n, 6)),
    }
    return _buffer(lambda file: np.savez_compressed(file, **arrays))


def _read_dsprites(path: Path) -> None:
    dataset = DSprites(path.parents[1])
    dataset.listing()
    factors = dataset._factors()
    dataset._pixels(factors, torch.arange(min(3, len(factors))))


def _arrays() -> dict[str, np.ndarray]:
    return {
        "features": RNG.normal(size=(4, 3)).astype(np.float32),
        "labels": np.array(list("aabb")),
    }


def _torch_files() -> list[bytes]:
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    values = [module.state_dict(), {"state_dict": module.state_dict(), "epoch": 3}]
    values += [{"features": torch.zeros(4, 3), "labels": torch.arange(4)}]
    files = [_buffer(lambda file, v=value: torch.save(v, file)) for value in values]
    old = {"_use_new_zipfile_serialization": False}
    return [*files, _buffer(lambda file: torch.save(values[0], file, **old))]


def _state() -> tuple[ResumableState, bytes]:
    network = torch.nn.Linear(2, 3)
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.zeros(1, 2)).sum().backward()
    optimizer.step()
    state = ResumableState({"network": network, "optimizer": optimizer})
    state.progress.record({"score": 1.0})
    return state, _file(state.save, "state.pt")


def _images() -> list[bytes]:
    pixels = RNG.integers(0, 256, (9, 9, 3), np.uint8)
    colour, grey = Image.fromarray(pixels), Image.fromarray(pixels[..., 0])
    kinds = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000")
    made = [_buffer(lambda file, k=kind: colour.save(file, format=k)) for kind in kinds]
    others = ({"format": "TIFF", "compression": "tiff_lzw"}, {"format": "PNG"})
    return [*made, *(_buffer(lambda file, o=options: grey.save(file, **o)) for options in others)]


def _decode(path: Path) -> None:
    try:
        with large_images():
            pixels_of(path.read_bytes(), (8, 8), 3)
    except UnusableImage as refusal:
        if "\n" in str(refusal):
            raise ValueError("several lines") from refusal


def _zip() -> bytes:
    def write(file: io.BytesIO) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in ("train/a/0.png", "train/b/1.png", "test/c/2.png", "__MACOSX/x"):
                archive.writestr(name, b"abc" * 9)

    return _buffer(write)


def _tar(mode: str) -> bytes:
    def write(file: io.BytesIO) -> None:
        with tarfile.open(fileobj=file, mode=mode, format=tarfile.PAX_FORMAT) as archive:
            for name in ("train/a/0.png", "train/b/1.png", "é" * 80 + "/2.png"):
                member = tarfile.TarInfo(name)
                member.size = 27
                archive.addfile(member, io.BytesIO(b"abc" * 9))

    return _buffer(write)


def _archive(path: Path) -> None:
    found = contents(path)
    for _ in read_each(path, found.files[:50]):
        pass
    find_classes(path)


def _result() -> bytes:
    content = json.loads((PUBLISHED / "mini_imagenet_matching.json").read_text())
    content["rows"] = content["rows"][:2]
    return json.dumps(content).encode()


def _study(path: Path) -> None:
    with recorded(path):
        if command_of(path) == "compare":
            str(StudyResult.load(path).table)


def _one_run() -> bytes:
    facts = {"command": "evaluate", "config": {"seed": 0}, "settings": {}, "rows": []}
    return json.dumps(facts).encode()


def _index(path: Path) -> None:
    (path.parent / "cells").mkdir(exist_ok=True)
    found = CellIndex.load(path.parent)
    for cell in found.encoders if found else ():
        _ = cell.facts


def _yaml() -> list[bytes]:
    laughs = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b, {<<: {k: 1}}]\n"
    config = "study: s\narms:\n  one: {guidance: [{class_path: X, init_args: {a: 1e-3}}]}\n"
    return [laughs.encode(), config.encode()]


def _parquet() -> list[bytes]:
    try:
        import pandas
        import pyarrow  # noqa: F401
    except ImportError:
        return []
    frame = pandas.DataFrame({"features": [[1.0, 2.0], [3.0, 4.0]], "label": ["a", "b"]})
    return [_buffer(frame.to_parquet)]


def readers() -> dict[str, Reader]:
    """Name -> reader."""
    encoder = _encoder()
    decoder = Decoder(encoder.backbone.decoder(4), Bernoulli(), 4)
    learner = Prototypical(Encoder(Pixels((1, 2, 2)), None), learn_temperature=True)
    state, state_file = _state()
    embeddings = {"name": "embeddings", "read": read_embeddings}
    npz = _buffer(lambda file: np.savez(file, **_arrays()))
    packed = _buffer(lambda file: np.savez_compressed(file, **_arrays()))
    npy = _buffer(lambda file: np.save(file, _arrays()["features"]))
    counts = _file(Counts({("a", "b"): np.zeros((2, 3), np.uint8)}).save, "counts.npz")
    weights = [save({"a.weight": torch.zeros(2, 3), "b": torch.zeros(2)})]
    listed = ",".join(HEADER) + "\nn0.jpg,n0\nn1.jpg,n1\n"
    made = {
        "pickle": Reader("x.pkl", _load_pickle, _pickles()),
        "idx": Reader("x", read_idx, [_idx()]),
        "idx gzip": Reader("x.gz", read_idx, [gzip.compress(_idx())]),
        "dsprites": Reader(DSPRITES, _read_dsprites, [_dsprites()]),
        "npz": Reader("x.npz", read_arrays, [npz, packed, counts]),
        "counts": Reader("counts.npz", Counts.load, [counts]),
        "embeddings npz": Reader("x.npz", embeddings["read"], [npz, packed]),
        "embeddings npy": Reader("x.npy", embeddings["read"], [npy]),
        "embeddings pt": Reader("x.pt", embeddings["read"], _torch_files()),
        "embeddings parquet": Reader("x.parquet", embeddings["read"], _parquet()),
        "labels": Reader("x.txt", embeddings["read"], [b"a\nb\n"]),
        "encoder": Reader(
            "e.safetensors", lambda p: (Encoder.load(p), provenance(p)), [_file(encoder.save, "e")]
        ),
        "decoder": Reader(
            "d.safetensors", lambda p: Decoder.load(p, encoder), [_file(decoder.save, "d")]
        ),
        "learner": Reader("l.safetensors", learner.restore, [_file(learner.save, "l")]),
        "weights": Reader("w.pth", read_weights, [*_torch_files(), *weights]),
        "training state": Reader("state.pt", state.restore, [state_file]),
        "image": Reader("x.png", _decode, _images()),
        "zip": Reader("x.zip", _archive, [_zip()]),
        "tar": Reader("x.tar.gz", _archive, [_tar("w:gz"), _tar("w:bz2"), _tar("w")]),
        "list": Reader("train.csv", lambda p: list(_read_list(p)), [listed.encode()]),
        "study": Reader("results.json", _study, [_result()]),
        "run": Reader("results.json", FinishedRun.load, [_one_run()]),
        "cells": Reader(INDEX, _index, [b'{"encoders": [{"arm": "a", "seed": 0, "cell": "c"}], '
                                        b'"trainings": [], "examples": "x"}']),
        "yaml": Reader("x.yaml", read_file, _yaml()),
    }  # fmt: skip
    return {name: reader for name, reader in made.items() if reader.seeds}
