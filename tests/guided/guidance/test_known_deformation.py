"""Guidance that knows the deformation: its terms by hand, with its neighbours, in training."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

import guided
from guided.guidance.known_deformation import UNITS
from guided.latents import LatentAllocator
from guided.training.pretrain import build_model

KNOWN = ("rotation", "scale", "shear")


def build(latent_dim=6, views=2, **settings):
    context = guided.GuidanceContext((1, 8, 8), LatentAllocator(latent_dim), {}, views, KNOWN)
    return guided.KnownDeformation(**settings).build(context).double()


def terms(guidance, mean, **amounts):
    posterior = guided.Posterior(mean, torch.zeros_like(mean))
    targets = {f"applied {name}": values for name, values in amounts.items()}
    return guidance.losses(torch.empty(0), posterior, mean, targets)


def test_agreement_is_the_cross_entropy_of_finding_the_other_view():
    """Chen et al. (2020), equation 1, pair by pair, of the content alone."""
    guidance = build(7, deformations=("rotation", "shear"), temperature=0.3)
    mean = torch.randn(8, 7, dtype=torch.float64)
    unit = mean[:, 2:].numpy() / np.linalg.norm(mean[:, 2:], axis=1, keepdims=True)
    losses = []
    for i in range(8):
        scores = {k: np.exp(unit[i] @ unit[k] / 0.3) for k in range(8) if k != i}
        losses.append(-np.log(scores[(i + 4) % 8] / sum(scores.values())))
    found = terms(guidance, mean, rotation=mean[:, 0], shear=mean[:, 0])
    assert set(found) == set(guidance.weights) == {"agreement", "equivariance"}
    assert float(found["agreement"]) == pytest.approx(np.mean(losses), rel=1e-10)
    alone = terms(build(5, deformations=(), temperature=0.3), mean[:, 2:])
    assert alone == {"agreement": found["agreement"]}


def test_bfloat16_does_not_round_its_terms():
    """Of codes that a forward pass in bfloat16 gave."""
    guidance, mean = build(7, deformations=("rotation",)).float(), torch.randn(8, 7).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        rounded = terms(guidance, mean, rotation=torch.ones(8))
    whole = terms(guidance, mean.float(), rotation=torch.ones(8))
    torch.testing.assert_close(rounded, whole, rtol=1e-6, atol=1e-6)


def test_equivariance_is_zero_where_differences_are_told_truly():
    guidance = build(6, deformations=("shear", "rotation"))
    amounts = {name: torch.randn(8, dtype=torch.float64) for name in ("shear", "rotation")}
    own = torch.randn(4, 2, dtype=torch.float64).repeat(2, 1)  # how each drawing was, unknown
    mean = torch.randn(8, 6, dtype=torch.float64)
    for latent, name in enumerate(amounts):
        mean[:, latent] = own[:, latent] + amounts[name] / UNITS[name]
    assert float(terms(guidance, mean, **amounts)["equivariance"].detach()) == pytest.approx(0)
    mean[0, 1] += 0.5  # one of four pairs, half a unit
    told = terms(guidance, mean, **amounts)["equivariance"]
    assert float(told.detach()) == pytest.approx(0.5 * 0.25 / 4)


def test_gradients_of_means_and_gains_numerically():
    guidance = build(6, deformations=("rotation",))
    mean = torch.randn(8, 6, dtype=torch.float64, requires_grad=True)
    amount = torch.randn(8, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda m, _: tuple(terms(guidance, m, rotation=amount).values()), (mean, guidance.gains)
    )


def test_it_means_by_rotation_the_latent_that_deformable_pca_means():
    allocator = LatentAllocator(12)
    context = guided.GuidanceContext((1, 8, 8), allocator, {"class": 3}, views=2, known=KNOWN)
    light = guided.DeformablePCA(deformations=("rotation", "scale"), exchange=True).build(context)
    guided.ExcitationInhibition(attributes={"class": 4}).build(context)
    known = guided.KnownDeformation(deformations=("scale", "shear")).build(context)
    assert known.latents.tolist() == [light.latent_of["scale"], 6]
    assert list(allocator.layout().slices) == ["rotation", "scale", "class", "shear", "content"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"deformations": ("rotation", "rotation")}, "'rotation' is asked for twice"),
        (
            {"deformations": ("tilt",)},
            "draws no 'tilt', or flip may reverse it; known: rotation, scale",
        ),
        ({"temperature": 0.0}, r"KnownDeformation\.temperature: expected > 0, got 0"),
        ({"latent_dim": 3}, "no latent is left for the content"),
        ({"views": 1}, r"KnownDeformation: needs augmentation\.views 2, got 1"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(guided.InputError, match=message):
        build(**settings)


SHORT = guided.PretrainConfig(
    backbone=partial(guided.Conv4, width=8),
    latent_dim=8,
    guidance=[guided.KnownDeformation(deformations=("rotation",), equivariance=300.0)],
    augmentation=guided.Augmentation(rotation=30, elastic=0.05, views=2),
    steps=300,
    batch_size=32,
    validate_every=300,
    learning_rate=3e-3,
    log_every=10,
)


@pytest.fixture(scope="module")
def strokes():
    """One or two thick lines an image, at places of their own."""
    rng = torch.Generator().manual_seed(3)
    axis = (torch.arange(16) + 0.5) / 8 - 1
    x, y = axis.expand(16, 16), axis[:, None].expand(16, 16)
    angle, offset = torch.rand(2, 128, 2, 1, 1, generator=rng) * 2 - 1
    distance = (x * (3 * angle).cos() + y * (3 * angle).sin() - 0.6 * offset).abs()
    ink = (1.2 - distance / 0.15).clamp(0, 1).amax(1, keepdim=True)
    return guided.LabelledImages((255 * ink).to(torch.uint8))


def test_training_makes_latents_follow_and_content_agree(strokes, tmp_path, read_scalars):
    guided.pretrain(strokes, strokes, SHORT, seed=0, log_folder=tmp_path)
    logged = read_scalars(tmp_path)
    followed = logged["4_measured/correlation of differences, rotation"]
    assert followed[10] < 0.4 and followed[300] > 0.7
    same = logged["4_measured/content cosine of two views"]
    other = logged["4_measured/content cosine of two images"]
    assert same[300] - other[300] > 0.3
    assert logged["3_loss/agreement"][300] < 0.5 * logged["3_loss/agreement"][10]


def test_without_the_elbo_nothing_is_decoded(strokes):
    alone = replace(SHORT, elbo=False, steps=2, validate_every=2)
    with pytest.raises(guided.InputError, match="elbo: without it, states cannot be told apart"):
        guided.pretrain(strokes, strokes, alone, seed=0)
    before = build_model(alone, strokes, 0)
    after = guided.pretrain(strokes, strokes, alone, seed=0, score=lambda encoder: 0.0).model
    for name, value in before.vae.decoder.state_dict().items():
        # Held-out reconstruction is still measured, in evaluation mode.
        assert torch.equal(value, after.vae.decoder.state_dict()[name]), name
    moved = after.vae.encoder.latent_head.weight - before.vae.encoder.latent_head.weight
    assert moved.abs().max() > 0
    with pytest.raises(guided.InputError, match="elbo: without it and without guidance"):
        build_model(replace(alone, guidance=[]), strokes, 0)
