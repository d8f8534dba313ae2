"""A plain autoencoder: the VAE's network and data without noise and KL."""

from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F

import guided
from guided.training.pretrain import build_model

CONFIG = guided.PretrainConfig(
    backbone=partial(guided.Conv4, width=4),
    latent_dim=6,
    steps=6,
    batch_size=8,
    validate_every=2,
    learning_rate=1e-2,
    autoencoder=True,
)
GUIDANCE = [
    guided.DeformablePCA(deformations=("rotation",)),
    guided.ExcitationInhibition(attributes={"class": 2}, hidden=4),
]


def logvar_weights(model):
    return {name: p.chunk(2)[1] for name, p in model.vae.encoder.head.named_parameters()}


def test_the_gradient_is_that_of_an_autoencoder_written_by_hand(data):
    """From the VAE's initial weights; none reaches the log variances."""
    images = data[0].images[:8].float() / 255
    model, vae = (build_model(replace(CONFIG, autoencoder=a), data[0], 0) for a in (True, False))
    objective = model.train().objective(images, {})
    objective.total.backward()
    encoder, decoder = vae.vae.encoder.train(), vae.vae.decoder
    head, features = encoder.head, encoder.backbone(images)
    codes = features @ head.weight[:6].T + head.bias[:6]
    loss = F.binary_cross_entropy_with_logits(decoder(codes), images, reduction="sum") / 8
    loss.backward()
    assert dict(objective.terms).keys() == {"reconstruction"}
    torch.testing.assert_close(objective.total, loss)
    theirs = {name: p.grad for name, p in vae.named_parameters()}
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, theirs[name], rtol=1e-4, atol=1e-5)
        assert parameter.grad.any()
        if "head" in name:
            assert not parameter.grad.chunk(2)[1].any()
    images = data[1].images
    posterior = model.eval().vae.posterior(images)
    torch.testing.assert_close(posterior.sample(), posterior.mean, rtol=0, atol=1e-3)


@pytest.mark.parametrize("guidance", [[], GUIDANCE], ids=["alone", "guided"])
def test_the_state_of_least_held_out_reconstruction_error_is_kept(
    data, guidance, read_scalars, tmp_path
):
    config = replace(CONFIG, guidance=guidance)
    before = logvar_weights(build_model(config, data[0], 1))
    trained = guided.pretrain(*data, config, seed=1, log_folder=tmp_path)
    for name, weight in logvar_weights(trained.model).items():
        assert torch.equal(weight, before[name]), name
    history = trained.progress.history
    assert [entry.keys() for entry in history] == [{"step", "reconstruction", "score"}] * 3
    best = min(entry["score"] for entry in history)
    images = data[1].images.float() / 255
    with torch.no_grad():
        decoded = trained.vae.decode(trained.encoder(images))
    error = F.binary_cross_entropy(decoded, images, reduction="sum") / len(images)
    assert float(error) == pytest.approx(best, rel=1e-4)
    assert read_scalars(tmp_path)["1_validation/reconstruction"][6] == pytest.approx(
        history[-1]["reconstruction"]
    )


def test_what_an_autoencoder_cannot_have(data):
    with pytest.raises(guided.InputError, match="autoencoder: decodes images; leave elbo true"):
        replace(CONFIG, elbo=False)
    for guidance in (guided.Capacity(), guided.TotalCorrelation(), guided.DIP()):
        name = type(guidance).__name__
        with pytest.raises(guided.InputError, match=f"autoencoder: {name} reads the posterior's"):
            guided.pretrain(*data, replace(CONFIG, guidance=[guidance]))
    build_model(replace(CONFIG, guidance=[guided.DIP(variant="I")]), data[0], 0)
