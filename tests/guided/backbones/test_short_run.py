"""Inference of latents through a decoder: closed forms, and what a latent may depend on."""

from functools import partial

import pytest
import torch
from torch import nn

from guided import (
    VAE,
    Backbone,
    Bernoulli,
    Conv4,
    Encoder,
    Gaussian,
    InputError,
    Langevin,
    LatentLayout,
    Pixels,
    ShortRunInference,
    semi_amortised,
)
from guided.decoder import Decoder

SHAPE = (1, 2, 3)


class Line(Backbone):
    """Pixels, and a linear decoder of them."""

    def __init__(self, input_shape):
        super().__init__(input_shape)
        self.feature_dim = 6

    def forward(self, images):
        return images.flatten(1)

    def decoder(self, latent_dim):
        return nn.Sequential(nn.Linear(latent_dim, 6), nn.Unflatten(1, SHAPE))


def posterior(decoder, images, scale):
    """Mean and precision of p(z|x) for a linear decoder."""
    weight, bias = decoder.network[0].weight.detach(), decoder.network[0].bias.detach()
    precision = torch.eye(weight.shape[1]) + weight.T @ weight / scale**2
    return (images.flatten(1) - bias) @ weight @ precision.inverse() / scale**2, precision


def images_of(n, *shape, seed=0):
    draws = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, *shape), generator=draws, dtype=torch.uint8)


def test_latents_from_an_encoder_are_the_closed_form(tmp_path):
    """z = m + A^K (μ - m), of the chosen slice, also from the file; the VAE is left as it was."""
    torch.manual_seed(0)
    layout = LatentLayout({"class": (0, 2), "content": (2, 4)})
    vae = VAE(Line(SHAPE), layout, Gaussian(scale=0.5)).eval()
    nn.init.normal_(vae.decoder[0].weight)
    images = images_of(5, *SHAPE)
    mean, precision = posterior(Decoder.from_vae(vae), images / 255, 0.5)
    a = torch.eye(4) - 0.5 * 0.2**2 * precision
    start = vae.encoder(images).detach()
    expected = mean + (start - mean) @ torch.linalg.matrix_power(a, 6)
    assert (expected - start).abs().max() > 0.1
    for latents in ("all", "content"):
        inferred = semi_amortised(
            vae.encoder.select(latents), Decoder.from_vae(vae), Langevin(6, 0.2)
        )
        assert inferred.out_dim == {"all": 4, "content": 2}[latents]
        with torch.no_grad():
            found = inferred(images)
        torch.testing.assert_close(found, expected[:, -inferred.out_dim :])
        inferred.save(tmp_path / "inferred.safetensors")
        again = Encoder.load(tmp_path / "inferred.safetensors")
        assert torch.equal(again(images), found)
    assert torch.equal(vae.encoder(images), start)
    assert all(p.requires_grad for p in vae.parameters())


@pytest.mark.parametrize("decoder_norm", ["batch", "none"])
def test_latents_depend_on_their_image_alone(decoder_norm):
    """With batch norm too, and whatever mode is asked for."""
    torch.manual_seed(0)
    body = Conv4((1, 16, 16), width=4, decoder_norm=decoder_norm)
    vae = VAE(body, LatentLayout({"content": (0, 5)}), Bernoulli())
    images = images_of(6, 1, 16, 16)
    vae.train().losses(images / 255, vae.posterior(images / 255), torch.randn(6, 5))
    plain = vae.eval().encoder(images)
    inferred = semi_amortised(vae.encoder, Decoder.from_vae(vae), Langevin(4, 0.6)).train()
    found = inferred(images)
    assert torch.equal(inferred(images), found)
    assert (found - plain).abs().max() > 0.05
    torch.testing.assert_close(inferred(images[2:3]), found[2:3], rtol=1e-4, atol=1e-5)
    assert not found.requires_grad


def line_inference(**settings):
    torch.manual_seed(1)
    network = ShortRunInference(
        SHAPE,
        backbone=f"{Line.__module__}.Line",
        backbone_settings={},
        latent_dim=3,
        likelihood="Gaussian",
        **settings,
    )
    nn.init.normal_(network.model.network[0].weight)
    return Encoder(network, None)


def test_chains_from_the_prior_are_averaged(tmp_path):
    """The mean of two chains, whose starts all images share: images differ by (I - A^K) m."""
    encoder = line_inference(inference=Langevin(3, 0.05), temperature=0.7, start="prior", chains=2)
    zero = line_inference(inference={"steps": 3, "step_size": 0.05})
    images = images_of(4, *SHAPE)
    mean, precision = posterior(encoder.backbone.model, images / 255, 0.1)
    a = torch.eye(3) - 0.5 * 0.05**2 * precision
    expected = mean @ (torch.eye(3) - torch.linalg.matrix_power(a, 3))
    torch.testing.assert_close(zero(images), expected, rtol=1e-4, atol=1e-5)
    offsets = encoder(images) - expected
    assert torch.equal(encoder(images) - expected, offsets), "the same draws every time"
    torch.testing.assert_close(offsets, offsets[:1].expand(4, 3), rtol=1e-3, atol=1e-4)
    assert offsets.abs().max() > 0.01
    encoder.save(tmp_path / "encoder.safetensors")
    assert torch.equal(Encoder.load(tmp_path / "encoder.safetensors")(images), encoder(images))


def test_a_latent_that_the_decoder_ignores_is_measured_as_collapsed():
    encoder = line_inference(sampler=Langevin(60, 0.04))
    with torch.no_grad():
        encoder.backbone.model.network[0].weight[:, 1] = 0
    images = images_of(600, *SHAPE)
    first, ignored, last = encoder.backbone.variance_ratios(images)
    assert min(first, last) > 1
    assert abs(ignored) < 0.1
    assert not line_inference().backbone.variance_ratios(images)
    assert not Pixels(SHAPE).variance_ratios(images)


def test_what_cannot_be_inferred_is_refused(make_images):
    decoder = Decoder(nn.Identity(), Bernoulli(), 2)
    for encoder in (
        Encoder(Pixels(SHAPE), None),
        Encoder(Line(SHAPE), LatentLayout({"content": (0, 2)}), "features"),
    ):
        with pytest.raises(InputError, match="this encoder returns features"):
            semi_amortised(encoder, decoder, Langevin())
    make = partial(ShortRunInference, SHAPE, backbone="Pixels", backbone_settings={}, latent_dim=2)
    with pytest.raises(InputError, match="Pixels: has no decoder"):
        make()
    for settings, message in (
        ({"chains": 0}, "chains: expected at least 1"),
        ({"chains": 2}, "chains: 2 from the same start and without noise would all be the same"),
        ({"likelihood": "Poisson"}, "likelihood: 'Poisson' is not one of Bernoulli, Gaussian"),
    ):
        with pytest.raises(InputError, match=message):
            make(**{"backbone": f"{Line.__module__}.Line", **settings})
