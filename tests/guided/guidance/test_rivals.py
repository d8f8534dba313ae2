"""Rivals of guidance as guidance: beside the plain VAE, and together with deformable PCA."""

from functools import partial

import pytest
import torch

import guided

RIVALS = {
    "capacity": guided.Capacity(nats=2, steps=2),
    "stratified": guided.TotalCorrelation(),
    "weighted": guided.TotalCorrelation(estimator="weighted"),
    "factor_vae": guided.FactorVAE(hidden=8),
    "dip_i": guided.DIP(variant="I"),
    "dip_ii": guided.DIP(variant="II"),
    "traversal_contrast": guided.TraversalContrast(start=0, width=4, gap=0.5),
}
WITHOUT = {
    "capacity": guided.Capacity(weight=0),
    "stratified": guided.TotalCorrelation(weight=0),
    "weighted": guided.TotalCorrelation(weight=0, estimator="weighted"),
    "factor_vae": guided.FactorVAE(weight=0, hidden=8),
    "dip_i": guided.DIP(variant="I", off_diagonal=0, diagonal=0),
    "dip_ii": guided.DIP(variant="II", off_diagonal=0, diagonal=0),
    "traversal_contrast": guided.TraversalContrast(weight=0, start=0, width=4),
}
SHORT = guided.PretrainConfig(
    backbone=partial(guided.Conv4, width=4),
    latent_dim=6,
    steps=4,
    batch_size=8,
    validate_every=4,
    kl_warmup=0,
)


@pytest.fixture
def train(make_images):
    def run(*guidance, **settings):
        images = guided.LabelledImages(make_images(20))
        return guided.pretrain(images, config=SHORT, guidance=list(guidance), **settings).model

    return run


def moved(one, other):
    """The largest difference of two models' weights."""
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return max(float((a - b).detach().abs().max()) for a, b in pairs)


@pytest.mark.parametrize("name", RIVALS)
def test_without_weight_the_vae_is_the_plain_one_to_the_bit(name, train):
    """Its terms draw no random numbers of the others'."""
    plain, without, with_it = (train(*g).vae for g in ((), (WITHOUT[name],), (RIVALS[name],)))
    assert without.layout.slices == with_it.layout.slices == {"content": (0, 6)}
    same = [
        torch.equal(value, without.state_dict()[key]) for key, value in plain.state_dict().items()
    ]
    assert all(same)
    assert moved(plain, with_it) > 1e-6


@pytest.mark.parametrize("name", RIVALS)
def test_it_adds_to_deformable_pca(name, train):
    views = guided.Augmentation(rotation=20, views=2)
    light = guided.DeformablePCA(deformations=("rotation",), exchange=True)
    model = train(light, RIVALS[name], augmentation=views)
    assert model.vae.layout.slices == {"rotation": (0, 1), "content": (1, 6)}
    images = torch.rand(16, 1, 16, 16)
    objective = model.objective(images, {})
    assert {"deformable_pca", *model.strategies[1].weights} <= set(objective.terms)
    assert objective.total.isfinite()
    assert moved(train(light, augmentation=views).vae, model.vae) > 1e-6


@pytest.mark.parametrize("name", RIVALS)
def test_bfloat16_does_not_round_its_arithmetic(name, build_model):
    """Of codes that a forward pass in bfloat16 gave; a discriminator is such a pass itself."""
    strategy = build_model(RIVALS[name], n_images=50).strategies[0]
    z, mean, logvar = torch.randn(3, 16, 8, generator=torch.Generator().manual_seed(0)).bfloat16()

    def terms(*codes):
        draw, mean, logvar = codes
        return strategy.losses(torch.empty(0), guided.Posterior(mean, logvar), draw, {})

    with torch.autocast("cpu", torch.bfloat16):
        rounded = terms(z, mean, logvar)
    tolerance = 0.02 if name == "factor_vae" else 1e-3
    for term, value in terms(z.float(), mean.float(), logvar.float()).items():
        torch.testing.assert_close(
            rounded[term].float(), value, rtol=tolerance, atol=tolerance, msg=term
        )
