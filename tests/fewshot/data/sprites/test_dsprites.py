"""dSprites from a small file of the same form."""

import math

import numpy as np
import pytest
import torch

from fewshot.cli import main
from fewshot.data import DSprites
from fewshot.data.sprites import dataset, dsprites
from fewshot.data.sprites.factors import FACTORS
from guided.errors import InputError

N = 1200
RNG = np.random.default_rng(0)
SIZES = (1, 3, 6, 40, 32, 32)
SHOWN = RNG.choice(np.prod(SIZES), N, replace=False)
LEVELS = np.stack(np.unravel_index(SHOWN, SIZES), 1)
VALUES = LEVELS / np.array([1, 1, 10, 39 / (2 * math.pi), 31, 31]) + [1, 1, 0.5, 0, 0, 0]
PIXELS = RNG.integers(0, 2, (N, 64, 64)).astype(np.uint8)
CONTENT = {"imgs": PIXELS, "latents_classes": LEVELS, "latents_values": VALUES}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "data" / dsprites.FILE
    path.parent.mkdir(parents=True)
    return path


@pytest.fixture
def root(path, attack):
    """With the authors' pickled ``metadata``, which must not be loaded."""
    np.savez_compressed(path, **CONTENT, metadata=np.array(attack, dtype=object))
    return path.parents[1]


@pytest.mark.parametrize("size", [32, 64])
def test_images_and_factors_are_those_of_the_file(root, size, monkeypatch, tmp_path):
    monkeypatch.setattr(dsprites, "CHUNK", 500)  # so that images come in several pieces
    monkeypatch.chdir(tmp_path)
    splits = DSprites(root, images=1000, size=size).splits()
    assert not (tmp_path / "attacked").exists()
    rows = {tuple(level): row for row, level in enumerate(LEVELS[:, 1:].tolist())}
    assert len(rows) == N
    seen = set()
    for bank in vars(splits).values():
        levels = torch.stack([bank.attributes[name] for name in FACTORS], 1).tolist()
        found = [rows[tuple(level)] for level in levels]
        seen |= set(found)
        pixels = 255 * PIXELS[found].astype(float)
        if size == 32:
            pixels = pixels.reshape(-1, 32, 2, 32, 2).mean((2, 4))
        assert np.abs(bank.images[:, 0].numpy() - pixels).max() <= 0.5
        assert torch.equal(bank.factors["shape"], bank.attributes["shape"])
        values = np.stack([bank.factors[name] for name in FACTORS[1:]], 1)
        np.testing.assert_allclose(values, VALUES[found][:, 2:], rtol=1e-6)
        for name, level in zip(
            [bank.class_names[k] for k in bank.labels.tolist()], levels, strict=True
        ):
            assert name.startswith(("square", "ellipse", "heart")[level[0]])
    assert len(seen) == 1000


def test_it_is_read_once_and_listed(root, path, same, listed, monkeypatch):
    made = DSprites(root, images=1000, size=32, split="images")
    first = made.splits()
    with monkeypatch.context() as patch:
        patch.setattr(dsprites, "_opened", None)
        assert same(made.splits(), first)
    listed(made, path.parent, 84, N)
    with pytest.raises(InputError, match="at most the 1,200 there are, got 1201"):
        DSprites(root, images=1201).splits()


def test_missing(tmp_path, refused, capsys):
    roots = [tmp_path / "one", tmp_path / "two"]
    how = f"put its npz file from {dsprites.URL} into {roots[0] / 'dsprites'}"
    refused(DSprites(roots), f"dsprites: {dsprites.FILE} not found in {roots[0]}, {roots[1]}", how)
    listing = DSprites(roots).listing()
    assert (listing.found, listing.how_to_get) == (False, how)
    assert main(["data", "--download", "dsprites", "--data-root", str(roots[0])]) == 2
    assert f"dsprites: cannot be downloaded; {how}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"imgs": PIXELS[:, :32]}, "it has imgs of uint8 [1200, 32, 64]"),
        ({"imgs": PIXELS.astype(np.int16)}, "it has imgs of int16"),
        ({"imgs": np.asfortranarray(PIXELS)}, "it has imgs of uint8"),
        ({"imgs": 255 * PIXELS}, "pixels other than 0 and 1"),
        ({"imgs": PIXELS[:1100]}, "1100 images and 1200 rows of latents"),
        ({"latents_values": VALUES[:, :5]}, "latents of shapes"),
        ({"latents_classes": LEVELS + 1}, "latents_classes out of range"),
        ({"latents_classes": LEVELS.astype(object)}, "cannot be read (it holds Python objects"),
    ],
)
def test_files_of_something_else(path, change, message, refused):
    np.savez(path, **{**CONTENT, **change})
    refused(DSprites(path.parents[1], images=dataset.LEAST), f"{path}: expected dSprites", message)


def test_damaged_files(root, path, refused):
    content = path.read_bytes()
    for kept in (0, 9, 1000, len(content) - 9):
        path.write_bytes(content[:kept])
        refused(DSprites(root), f"{path}: expected dSprites", "get it again", listing=True)
    path.write_bytes(content[:5000] + bytes(100) + content[5100:])
    refused(DSprites(root, images=1000), f"{path}: expected dSprites", "cannot be read")
