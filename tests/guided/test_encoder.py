"""Encoders, and the files that hold one each."""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

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


def test_bytes_and_floats_give_the_same(images):
    encoder = make_encoder()
    before = images.clone()
    assert torch.equal(encoder(images), encoder(images.float() / 255))
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
    with torch.no_grad():
        found = encoder.averaged(images, views)
        for i, image in enumerate(images.split(1)):
            rng, one = torch.Generator().manual_seed(0), replace(views, views=1)
            copies = [one(image / 255, rng) for _ in range(3)]
            expected = encoder(torch.cat([image / 255, *copies])).mean(0)
            torch.testing.assert_close(found[i], expected)
    assert not torch.allclose(found, encoder(images), atol=0.01)


def test_moments_are_the_halves_of_the_head(images):
    encoder = make_encoder()
    assert encoder.head is not None
    mean, logvar = encoder.moments(images)
    both = encoder.head(encoder.backbone(images.float() / 255))
    assert torch.equal(torch.cat([mean, logvar], 1), both)
    assert mean.shape == logvar.shape == (6, 7)
    assert torch.equal(encoder(images), mean)


def test_select_slices_the_mean_and_shares_the_weights(images):
    encoder = make_encoder()
    whole = encoder(images)
    for name, (start, stop) in LAYOUT.slices.items():
        part = encoder.select(name)
        assert part.out_dim == stop - start
        assert torch.equal(part(images), whole[:, start:stop])
    part = encoder.select("class")
    assert {id(p) for p in part.parameters()} == {id(p) for p in encoder.parameters()}
    with torch.no_grad():
        encoder.latent_head.bias += 1
    assert torch.equal(part(images), encoder(images)[:, 1:4])
    assert torch.equal(part.select("all")(images), encoder(images))
    assert not part.training and encoder.train().select("class").training


def test_unknown_latents_are_refused():
    with pytest.raises(InputError, match=r"'shear'.*rotation, class, content"):
        make_encoder().select("shear")
    with pytest.raises(InputError, match="class"):
        make_encoder(layout=None, latents="class")


def test_an_encoder_without_latents_returns_features(images):
    encoder = make_encoder(Pixels((1, 16, 16)), None)
    assert encoder.out_dim == 256
    assert torch.equal(encoder(images), images.flatten(1).float() / 255)
    with pytest.raises(InputError, match="no latents"):
        encoder.moments(images)


def test_projection_is_a_linear_map_of_what_is_read(images):
    encoder = make_encoder(latents="content")
    projected = encoder.with_projection(2)
    assert projected.projection is not None
    weight, bias = projected.projection.weight, projected.projection.bias
    torch.testing.assert_close(projected(images), encoder(images) @ weight.T + bias)
    assert (encoder.out_dim, projected.out_dim, projected.width) == (3, 2, 3)
    assert encoder.projection is None
    assert projected.with_projection(0).out_dim == 3
    assert torch.equal(projected.select("content")(images), encoder(images))


def test_a_projected_copy_shares_no_weight():
    encoder = make_encoder()
    copied = {p.data_ptr() for p in encoder.with_projection(2).parameters()}
    assert copied.isdisjoint(p.data_ptr() for p in encoder.parameters())


ENCODERS: dict[str, Callable[[], Encoder]] = {
    "strided": make_encoder,
    "pooled": lambda: make_encoder(Conv4((1, 16, 16), width=8, downsample="pool")),
    "slice": lambda: make_encoder(latents="class"),
    "features": lambda: make_encoder(latents="features"),
    "projected": lambda: make_encoder(latents="content", projection=5),
    "no latents": lambda: make_encoder(layout=None),
    "pixels": lambda: make_encoder(Pixels((1, 16, 16)), None),
}


@pytest.mark.parametrize("kind", ENCODERS)
def test_save_and_load_give_the_same_bits(kind, images, tmp_path):
    encoder = ENCODERS[kind]()
    encoder.save(tmp_path / "encoder.safetensors")
    torch.manual_seed(99)
    loaded = Encoder.load(tmp_path / "encoder.safetensors")
    assert torch.equal(loaded(images), encoder(images))
    assert loaded.description() == encoder.description()
    assert loaded.layout == encoder.layout
    assert digest(loaded) == digest(encoder)
    assert not loaded.training
    assert [p.name for p in tmp_path.iterdir()] == ["encoder.safetensors"]


def test_provenance_round_trip(tmp_path):
    facts = {"seed": 3, "config": {"steps": 10, "guidance": []}, "arm": "guided", "note": "é"}
    make_encoder().save(tmp_path / "encoder", **facts)
    assert provenance(tmp_path / "encoder") == facts


def test_digest_is_of_shape_and_weights_alone():
    assert digest(make_encoder()) == digest(make_encoder())
    changed = make_encoder()
    with torch.no_grad():
        changed.latent_head.bias[0] += 1e-6
    digests = {
        digest(make_encoder()),
        digest(changed),
        digest(make_encoder(seed=1)),
        digest(make_encoder(latents="class")),
        digest(make_encoder(layout=LatentLayout({"content": (0, 7)}))),
    }
    assert len(digests) == 5


def saved_parts(path):
    encoder = make_encoder()
    metadata = {"format": FORMAT, "encoder": json.dumps(encoder.description()), "provenance": "{}"}
    encoder.save(path)
    return {k: v.contiguous() for k, v in encoder.state_dict().items()}, metadata


def _truncated(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _flipped_header(path):
    content = bytearray(path.read_bytes())
    content[8:40] = bytes(32)
    path.write_bytes(bytes(content))


def _with_description(**changes):
    def damage(path):
        weights, metadata = saved_parts(path)
        description = json.loads(metadata["encoder"]) | changes
        save_file(weights, path, {**metadata, "encoder": json.dumps(description)})

    return damage


def _with_metadata(**changes):
    def damage(path):
        weights, metadata = saved_parts(path)
        save_file(weights, path, metadata | changes)

    return damage


def _without_a_tensor(path):
    weights, metadata = saved_parts(path)
    del weights["head.bias"]
    save_file(weights, path, metadata)


def _folder_instead(path):
    path.unlink()
    path.mkdir()


DAMAGE: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: path.unlink(),
    "folder": _folder_instead,
    "empty": lambda path: path.write_bytes(b""),
    "truncated": _truncated,
    "header": _flipped_header,
    "random": lambda path: path.write_bytes(torch.randn(500).numpy().tobytes()),
    "html": lambda path: path.write_text("<!DOCTYPE html>\n<html>404 Not found</html>\n" * 20),
    "pickle": lambda path: torch.save({"a": torch.zeros(2)}, path),
    "other safetensors": lambda path: save_file({"a": torch.zeros(2)}, path),
    "no description": lambda path: save_file({"a": torch.zeros(2)}, path, {"format": FORMAT}),
    "not json": _with_metadata(encoder="{half"),
    "a list": _with_metadata(encoder="[1, 2]"),
    "missing weight": _without_a_tensor,
    "other width": _with_description(settings={"width": 8, "downsample": "stride"}),
    "unknown setting": _with_description(settings={"breadth": 8}),
    "two dimensions": _with_description(input_shape=[16, 16]),
    "unknown backbone": _with_description(backbone="Conv5"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_one_line_that_names_the_file(kind, tmp_path):
    path = tmp_path / "encoder.safetensors"
    make_encoder().save(path)
    DAMAGE[kind](path)
    with pytest.raises(InputError) as caught:
        Encoder.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_backbone_is_named_with_the_known_ones(tmp_path):
    path = tmp_path / "encoder"
    _with_description(backbone="Conv5")(path)
    with pytest.raises(InputError, match=r"'Conv5' is not one of .*Conv4.*GuidedVAENet"):
        Encoder.load(path)


MINE = """
from guided import Pixels

class Net(Pixels):
    pass
"""

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


def test_a_backbone_from_outside_is_found_only_once_it_is_imported(images, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    mine = importlib.import_module("mine")
    del sys.modules["mine"]
    path = tmp_path / "encoder.safetensors"
    encoder = make_encoder(mine.Net((1, 16, 16)))
    encoder.save(path)
    refusal = (
        f"{path}: was made by mine.Net, which is not imported: import it first, "
        "or name its module with --imports '[mine]'"
    )
    with pytest.raises(InputError) as caught:
        Encoder.load(path)
    assert str(caught.value) == refusal
    monkeypatch.setitem(sys.modules, "mine", mine)
    assert torch.equal(Encoder.load(path)(images), encoder(images))
    done = subprocess.run(
        [sys.executable, "-c", IN_A_FRESH_PROCESS, path],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(tmp_path)])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [refusal, "Net"]


@pytest.mark.parametrize("name", ["guided.latents.LatentLayout", "torch.nn.Linear"])
def test_a_class_that_is_no_backbone_is_not_built(name, tmp_path):
    _with_description(backbone=name)(tmp_path / "encoder")
    with pytest.raises(InputError, match=f"was made by {name}"):
        Encoder.load(tmp_path / "encoder")


def test_a_backbone_that_no_file_can_name_is_refused(tmp_path):
    class Local(Pixels):
        pass

    with pytest.raises(InputError, match="Local is defined inside a class or function"):
        make_encoder(Local((1, 16, 16))).save(tmp_path / "encoder")
