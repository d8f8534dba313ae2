"""Encoders, and the files that hold one each."""

import importlib
import json
import os
import re
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from guided import Augmentation, Conv4, Encoder, InputError, LatentLayout, Pixels
from guided.encoder import FORMAT, digest, provenance

LAYOUT = LatentLayout(
    {"rotation": (0, 1), "class": (1, 4), "content": (4, 7)},
    {"rotation": "deformation", "class": "attribute"},
)


def make_encoder(backbone=None, layout=LAYOUT, latents="all", projection=0, seed=0):
    torch.manual_seed(seed)
    backbone = backbone or Conv4((1, 16, 16), width=4)
    encoder = Encoder(backbone, layout, latents, projection)
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):  # statistics that a fresh network would not have
            nn.init.uniform_(module.running_mean, -1, 1)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return encoder.eval()


@pytest.fixture
def images(make_images):
    return make_images(6)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "encoder.safetensors"


def test_moments_are_the_halves_of_the_head_for_bytes_and_floats(images):
    encoder, before = make_encoder(), images.clone()
    mean, logvar = encoder.moments(images)
    both = encoder.head(encoder.backbone(images.float() / 255))
    assert torch.equal(torch.cat([mean, logvar], 1), both)
    assert mean.shape == logvar.shape == (6, 7)
    for same in (images, images.float() / 255):
        assert torch.equal(encoder(same), mean)
    assert torch.equal(images, before)


@pytest.mark.parametrize("shape", [(2, 1, 28, 28), (2, 3, 16, 16), (1, 16, 16)])
def test_other_shapes_are_refused_with_both_named(shape):
    with pytest.raises(InputError) as caught:
        make_encoder()(torch.zeros(shape))
    assert str(shape[1:]) in str(caught.value)
    assert "(1, 16, 16)" in str(caught.value)


def test_an_average_is_over_an_image_and_its_copies_whatever_is_beside_it(images):
    encoder = make_encoder(Pixels((1, 16, 16)), None)
    views = Augmentation(rotation=30, elastic=0.2, views=3)
    found = encoder.averaged(images, views)
    for i, image in enumerate(images.split(1)):
        rng, one = torch.Generator().manual_seed(0), replace(views, views=1)
        copies = [one(image / 255, rng) for _ in range(3)]
        expected = encoder(torch.cat([image / 255, *copies])).mean(0)
        torch.testing.assert_close(found[i], expected)
    assert not torch.allclose(found, encoder(images), atol=0.01)


def test_select_slices_the_mean_and_shares_the_weights(images):
    encoder = make_encoder()
    whole = encoder(images)
    for name, (start, stop) in LAYOUT.slices.items():
        part = encoder.select(name)
        assert part.out_dim == stop - start
        assert torch.equal(part(images), whole[:, start:stop])
        assert torch.equal(part.select("all")(images), whole)
        assert {id(p) for p in part.parameters()} == {id(p) for p in encoder.parameters()}
    assert not part.training and encoder.train().select("class").training


def test_unknown_latents_are_refused_and_without_latents_there_are_features(images):
    with pytest.raises(InputError, match=r"'shear'.*rotation, class, content"):
        make_encoder().select("shear")
    with pytest.raises(InputError, match="class"):
        make_encoder(layout=None, latents="class")
    pixels = make_encoder(Pixels((1, 16, 16)), None)
    assert torch.equal(pixels(images), images.flatten(1).float() / 255)
    with pytest.raises(InputError, match="no latents"):
        pixels.moments(images)


def test_projection_is_a_linear_map_of_what_is_read(images):
    encoder = make_encoder(latents="content")
    projected = encoder.with_projection(2)
    weight, bias = projected.projection.weight, projected.projection.bias
    torch.testing.assert_close(projected(images), encoder(images) @ weight.T + bias)
    assert (encoder.out_dim, projected.out_dim, projected.width) == (3, 2, 3)
    assert projected.with_projection(0).out_dim == 3
    assert torch.equal(projected.select("content")(images), encoder(images))
    copied = {p.data_ptr() for p in projected.parameters()}
    assert copied.isdisjoint(p.data_ptr() for p in encoder.parameters())


ENCODERS = {
    "strided": {},
    "pooled": {"backbone": Conv4((1, 16, 16), width=8, downsample="pool")},
    "slice": {"latents": "class"},
    "features": {"latents": "features"},
    "projected": {"latents": "content", "projection": 5},
    "no latents": {"layout": None},
    "pixels": {"backbone": Pixels((1, 16, 16)), "layout": None},
}


@pytest.mark.parametrize("kind", ENCODERS)
def test_save_and_load_give_the_same_bits(kind, images, path):
    encoder = make_encoder(**ENCODERS[kind])
    facts = {"seed": 3, "config": {"steps": 10, "guidance": []}, "note": "é"}
    encoder.save(path, **facts)
    torch.manual_seed(99)
    loaded = Encoder.load(path)
    assert torch.equal(loaded(images), encoder(images))
    assert loaded.description() == encoder.description()
    assert loaded.layout == encoder.layout
    assert digest(loaded) == digest(encoder)
    assert not loaded.training
    assert provenance(path) == facts
    assert list(path.parent.iterdir()) == [path]


def test_digest_is_of_shape_and_weights_alone():
    changed = make_encoder()
    with torch.no_grad():
        changed.latent_head.bias[0] += 1e-6
    content = LatentLayout({"content": (0, 7)})
    others = [make_encoder(seed=1), make_encoder(latents="class"), make_encoder(layout=content)]
    encoders = [make_encoder(), make_encoder(), changed, *others]
    assert len({digest(encoder) for encoder in encoders}) == 5


def save_raw(path, without=None, description=(), **metadata):
    """Save an encoder with a changed description, changed metadata or a weight less."""
    encoder = make_encoder()
    weights = {k: v.contiguous() for k, v in encoder.state_dict().items() if k != without}
    described = json.dumps(encoder.description() | dict(description))
    facts = {"format": FORMAT, "encoder": described, "provenance": "{}"}
    save_file(weights, path, facts | metadata)


DAMAGE = {
    "missing": lambda path: path.unlink(),
    "folder": lambda path: path.unlink() or path.mkdir(),
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "header": lambda path: path.write_bytes(path.read_bytes().replace(b"F32", b"\0\0\0")),
    "html": lambda path: path.write_text("<!DOCTYPE html>\n<html>404 Not found</html>\n" * 20),
    "pickle": lambda path: torch.save({"a": torch.zeros(2)}, path),
    "other safetensors": lambda path: save_file({"a": torch.zeros(2)}, path),
    "no description": lambda path: save_file({"a": torch.zeros(2)}, path, {"format": FORMAT}),
    "not json": lambda path: save_raw(path, encoder="{half"),
    "a list": lambda path: save_raw(path, encoder="[1, 2]"),
    "missing weight": lambda path: save_raw(path, "head.bias"),
    "other width": lambda path: save_raw(path, description={"settings": {"width": 8}}),
    "unknown setting": lambda path: save_raw(path, description={"settings": {"breadth": 8}}),
    "two dimensions": lambda path: save_raw(path, description={"input_shape": [16, 16]}),
}
LARGE = 2**50
# What is said of a description that another program may have written.
HOSTILE = {
    "[C, H, W]": {"input_shape": [1, LARGE, 16]},
    "input_shape: expected": {"input_shape": [1, True, 16]},
    "layout: expected name": {"layout": {}},
    "layout: expected name -> [start, stop], or null, got [1]": {"layout": [1]},
    "layout: class: expected [0, stop]": {"layout": {"class": [], "content": [0, 7]}},
    "layout: b: expected [4, stop]": {"layout": {"a": [0, 4], "b": [3, 7]}},
    "from 1 to 1048576, got [0, 1125899906842624]": {"layout": {"a": [0, LARGE]}},
    "layout: expected printable names": {"layout": {"\x1b[2J": [0, 7]}},
    "roles: expected": {"roles": {"no slice": "deformation"}},
    "latents: expected each name once": {"latents": "class+class"},
    "latents: expected text, got 7": {"latents": 7},
    "projection: expected a width, got -1": {"projection": -1},
    "settings: expected a mapping": {"settings": "width"},
    "lacks weights: projection": {"projection": 5},
    "expected torch.float32 [16": {"layout": {"a": [0, 8]}, "roles": {}},
    "expected torch.float32 [1048576, 1, 3, 3]": {"settings": {"width": 2**20}},
    "damaged encoder checkpoint (Storage": {"settings": {"width": LARGE}},
    "damaged encoder checkpoint": {"settings": {"width": 2**62}},
    "expected [start, stop] within the 16 numbers": {
        "backbone": "Embedded",
        "settings": {"parts": {"a": [0, LARGE]}},
        "input_shape": [16, 1, 1],
        "layout": None,
        "roles": {},
        "latents": "a",
    },
    "names a backbone": {},
}


@pytest.mark.parametrize("message", HOSTILE)
def test_hostile_descriptions(message, path):
    if message == "names a backbone":
        message = "is not imported"
        chosen = {"network": "antigravity.Net", "weights": "random", "mean": [0], "std": [1]}
        inside = {"backbone": "Imported", "backbone_settings": chosen, "latent_dim": 7}
        save_raw(path, description={"backbone": "ShortRunInference", "settings": inside})
    else:
        save_raw(path, description=HOSTILE[message])
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        Encoder.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).isprintable()
    assert "antigravity" not in sys.modules


def test_weights_that_are_no_numbers_are_refused(path):
    encoder = make_encoder()
    with torch.no_grad():
        encoder.latent_head.bias[3] = float("nan")
    encoder.save(path)
    with pytest.raises(InputError, match=r"head\.bias: has weights that are NaN"):
        Encoder.load(path)


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_one_line_that_names_the_file(kind, path):
    make_encoder().save(path)
    DAMAGE[kind](path)
    with pytest.raises(InputError) as caught:
        Encoder.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Conv5", r"'Conv5' is not one of .*Conv4.*GuidedVAENet"),
        ("guided.latents.LatentLayout", r"was made by guided\.latents\.LatentLayout"),
        ("torch.nn.Linear", r"was made by torch\.nn\.Linear"),
    ],
)
def test_a_class_that_is_no_backbone_is_not_built(name, message, path):
    save_raw(path, description={"backbone": name})
    with pytest.raises(InputError, match=rf"encoder\.safetensors: .*{message}"):
        Encoder.load(path)


IN_A_FRESH_PROCESS = """
import sys
from guided import Encoder, InputError
try:
    Encoder.load(sys.argv[1])
except InputError as error:
    print(error)
import mine
print(type(Encoder.load(sys.argv[1]).backbone).__name__)
"""


def test_a_backbone_from_outside_is_found_only_once_it_is_imported(
    images, path, tmp_path, monkeypatch
):
    (tmp_path / "mine.py").write_text("from guided import Pixels\nclass Net(Pixels): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    mine = importlib.import_module("mine")
    encoder = make_encoder(mine.Net((1, 16, 16)))
    encoder.save(path)
    assert torch.equal(Encoder.load(path)(images), encoder(images))
    del sys.modules["mine"]
    done = subprocess.run(
        [sys.executable, "-c", IN_A_FRESH_PROCESS, path],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(tmp_path)])},
        capture_output=True,
        text=True,
        check=True,
    )
    refusal, name = done.stdout.splitlines()
    assert refusal.startswith(f"{path}: was made by mine.Net, which is not imported")
    assert "--imports '[mine]'" in refusal
    assert name == "Net"


def test_a_backbone_that_no_file_can_name_is_refused(path):
    class Local(Pixels):
        pass

    with pytest.raises(InputError, match="Local is defined inside a class or function"):
        make_encoder(Local((1, 16, 16))).save(path)
