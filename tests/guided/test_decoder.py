"""Decoders: draws of the prior, and their files."""

import pytest
import torch

from guided import Conv4, Decoder, Encoder, Gaussian, InputError, LatentLayout


def test_samples_are_decoded_draws_of_the_prior(build_model):
    vae = build_model().vae
    decoder = Decoder.from_vae(vae)
    found = decoder.sample(5, seed=3)
    assert found.shape == (5, 1, 16, 16)
    torch.testing.assert_close(decoder.sample(5, seed=3, batch_size=2), found)
    assert not torch.equal(decoder.sample(5, seed=4), found)
    network = torch.nn.Sequential(torch.nn.Linear(8, 256), torch.nn.Unflatten(1, (1, 16, 16)))
    torch.nn.init.eye_(network[0].weight)  # it writes its latents into the corner
    torch.nn.init.zeros_(network[0].bias)
    codes = Decoder(network, vae.likelihood, 8).sample(4000).logit()[:, 0, 0, :8]
    # 32,000 draws: three standard errors.
    assert abs(float(codes.mean())) < 0.017
    assert float(codes.std()) == pytest.approx(1, abs=0.012)
    assert float(codes.T.corrcoef().fill_diagonal_(0).abs().max()) < 0.08


def test_samples_of_an_unbounded_decoder_stay_within_the_image(build_model):
    vae = build_model(likelihood=Gaussian()).vae
    vae.decoder[-1].weight.data.mul_(1000)
    found = Decoder.from_vae(vae).sample(20)
    assert (found.min(), found.max()) == (0, 1)


def test_a_decoder_survives_its_file(build_model, tmp_path):
    vae = build_model(likelihood=Gaussian(scale=0.3)).vae
    Decoder.from_vae(vae).save(tmp_path / "decoder.safetensors")
    loaded = Decoder.load(tmp_path / "decoder.safetensors", vae.encoder)
    z = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(loaded(z), vae.decode(z))
    assert torch.equal(loaded.sample(3), Decoder.from_vae(vae).sample(3))
    assert torch.equal(loaded.likelihood.log_scale, vae.likelihood.log_scale)


CONTENT = LatentLayout({"content": (0, 8)})


@pytest.mark.parametrize(
    ("name", "layout", "message"),
    [
        ("decoder", CONTENT, r"decoder\.safetensors: damaged, or another VAE's"),
        ("none", CONTENT, "no such file; pretrain the encoder again"),
        ("encoder", CONTENT, "is not a decoder's file"),
        ("decoder", None, "an encoder without latents has no decoder"),
    ],
)
def test_another_file_or_encoder_is_refused(name, layout, message, build_model, tmp_path):
    vae = build_model().vae
    Decoder.from_vae(vae).save(tmp_path / "decoder.safetensors")
    vae.encoder.save(tmp_path / "encoder.safetensors")
    with pytest.raises(InputError, match=message):
        Decoder.load(tmp_path / f"{name}.safetensors", Encoder(Conv4((1, 16, 16), width=8), layout))
