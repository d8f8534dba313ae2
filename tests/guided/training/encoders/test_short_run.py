"""A generator trained by short chains: probabilistic PCA where it is linear, and resuming."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from guided import (
    Backbone,
    Bernoulli,
    Conv4,
    Dense,
    Encoder,
    Gaussian,
    InputError,
    LabelledImages,
    Langevin,
    ShortRun,
    train_encoder,
)

TINY = ShortRun(
    backbone=partial(Conv4, width=4, decoder_norm="none"),
    latent_dim=3,
    likelihood=partial(Gaussian, scale=0.3, learned=False),
    chain=Langevin(3, 0.1),
    steps=12,
    batch_size=8,
    validate_every=3,
    log_every=2,
)


class Line(Backbone):
    """A linear decoder of six pixels."""

    def __init__(self, input_shape):
        super().__init__(input_shape)

    def forward(self, images):
        raise NotImplementedError

    def decoder(self, latent_dim):
        layer = nn.Linear(latent_dim, 6)
        nn.init.normal_(layer.weight, std=0.05)  # of little curvature, for the first chains
        return nn.Sequential(layer, nn.Unflatten(1, (1, 2, 3)))


def test_a_linear_decoder_becomes_probabilistic_pca():
    """WWᵀ + σ² I approaches the sample covariance, whose principal directions are two."""
    torch.manual_seed(0)
    weight, scale = 0.15 * torch.randn(6, 2), 0.1
    noise = torch.randn(1000, 8)
    pixels = 0.5 + noise[:, :2] @ weight.T + scale * noise[:, 2:]
    images = LabelledImages((255 * pixels.clamp(0, 1)).round().byte().view(-1, 1, 2, 3))
    sizes = [0.35, 0.35, 0.3, 0.3, 0.3, 0.25, 0.25, 0.2, 0.2, 0.15, 0.1, 0.1]
    training = ShortRun(
        backbone=Line,
        latent_dim=2,
        likelihood=partial(Gaussian, scale=scale, learned=False),
        chain=Langevin(12, sizes),
        steps=150,
        batch_size=1000,
        learning_rate=0.02,
    )
    found = train_encoder(training, images).encoder.backbone.model.network[0].weight
    expected = torch.cov((images.images / 255).flatten(1).T)
    model = found @ found.T + scale**2 * torch.eye(6)
    # Chains without noise, whose latents spread too little, end at 3.1.
    assert (model - expected).norm() < 0.2 * expected.norm()


def spread(encoder):
    return float(encoder.backbone.model.network[0].weight.detach().sin().sum())


def crash(call):
    """The score, until the ``call``-th call, which fails."""
    calls = iter(range(1, call))

    def score(encoder):
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return spread(encoder)

    return score


def test_a_resumed_training_ends_with_the_same_bits(make_images, tmp_path, read_scalars):
    data = LabelledImages(make_images(20)), LabelledImages(make_images(6, seed=1))
    run = partial(train_encoder, TINY, *data, seed=3)
    whole = run(score=spread, log_folder=tmp_path / "log")
    for call in (3, 2):
        with pytest.raises(KeyboardInterrupt):
            run(score=crash(call), state_file=tmp_path / "state")
    resumed = run(score=spread, state_file=tmp_path / "state")
    assert resumed.history == whole.history
    for name, weights in whole.encoder.state_dict().items():
        assert torch.equal(weights, resumed.encoder.state_dict()[name]), name
    scores = [entry["score"] for entry in whole.history]
    assert [entry["step"] for entry in whole.history] == [3, 6, 9, 12]
    assert spread(whole.encoder) == min(scores), "the best state is kept"
    curve = read_scalars(tmp_path / "log")["1_validation/reconstruction"]
    assert curve == pytest.approx({e["step"]: e["reconstruction"] for e in whole.history})
    other = train_encoder(TINY, *data, seed=4, score=spread)
    assert other.history != whole.history


def test_training_fits_the_images_and_ends_with_fixed_weights(make_images, tmp_path):
    """Without a score the last state is kept; its embeddings are those of its file."""
    images = torch.zeros(24, 1, 16, 16, dtype=torch.uint8)
    images[:12, :, :, :8] = 255
    images[12:, :, 8:] = 255
    training = replace(TINY, likelihood=Bernoulli, steps=60, learning_rate=0.02, validate_every=20)
    trained = train_encoder(training, LabelledImages(images), LabelledImages(images))
    first, *_, last = (entry["reconstruction"] for entry in trained.history)
    assert last < 0.85 * first
    assert all(entry["negative_log_joint"] > entry["reconstruction"] for entry in trained.history)
    assert not any(p.requires_grad for p in trained.encoder.parameters())
    trained.encoder.save(tmp_path / "encoder.safetensors")
    again = Encoder.load(tmp_path / "encoder.safetensors")
    assert torch.equal(again(images), trained.encoder(images))
    assert again.out_dim == 3


def test_what_cannot_be_trained_is_refused(make_images):
    images = LabelledImages(make_images(7))
    with pytest.raises(InputError, match="decoder of Dense has batch norm"):
        train_encoder(replace(TINY, backbone=partial(Dense, widths=(4,))), images)
    with pytest.raises(InputError, match="decoder of Conv4 has batch norm"):
        train_encoder(replace(TINY, backbone=Conv4), images)
    with pytest.raises(InputError, match=r"ShortRun\.batch_size: 8 is more than the 7"):
        train_encoder(TINY, images)
    with pytest.raises(InputError, match=r"steps: expected at least 1, got 0"):
        replace(TINY, steps=0)
    with pytest.raises(InputError, match=r"temperature: expected at least 0, got -1"):
        replace(TINY, temperature=-1)
    with pytest.raises(InputError, match=r"learning_rate: expected > 0"):
        replace(TINY, learning_rate=0.0)
