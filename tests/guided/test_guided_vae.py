"""A VAE and its guidances as one module."""

from functools import partial

import pytest
import torch

from guided import (
    Conv4,
    DeformablePCA,
    ExcitationInhibition,
    Gaussian,
    Guidance,
    GuidanceModule,
    GuidedVAE,
    InputError,
)

DPCA = DeformablePCA(deformations=("rotation", "scale"), orthogonality_weight=0.1)
EXCITE = ExcitationInhibition(attributes={"class": 3}, excitation=2.0, hidden=4)


def build(*guidance, kl_weight=1.0):
    torch.manual_seed(0)
    return GuidedVAE(
        backbone=partial(Conv4, width=4),
        likelihood=Gaussian(),
        latent_dim=8,
        guidance=guidance,
        input_shape=(1, 16, 16),
        categories={"class": 4, "drawer": 2},
        kl_weight=kl_weight,
    )


def batch():
    rng = torch.Generator().manual_seed(0)
    images = torch.rand(6, 1, 16, 16, generator=rng)
    return images, {"class": torch.randint(0, 4, (6,), generator=rng)}


def noise():
    return torch.Generator().manual_seed(7)


def test_guidances_reserve_slices_in_their_order():
    layout = build(DPCA, EXCITE).vae.encoder.layout
    assert layout is not None
    slices = {"rotation": (0, 1), "scale": (1, 2), "class": (2, 5), "content": (5, 8)}
    assert layout.slices == slices
    layout = build(EXCITE, DPCA).vae.encoder.layout
    assert layout is not None
    assert list(layout.slices.items())[:2] == [("class", (0, 3)), ("rotation", (3, 4))]


def test_guidance_leaves_the_initial_weights_of_the_vae_alone():
    plain, excited, deformed = build().vae, build(EXCITE).vae, build(DPCA).vae
    for name, weight in plain.state_dict().items():
        assert torch.equal(weight, excited.state_dict()[name]), name
        if not name.startswith("encoder.head"):  # deformations start as the identity
            assert torch.equal(weight, deformed.state_dict()[name]), name


def test_plain_vae_has_two_terms_and_only_content():
    model = build()
    objective = model.objective(*batch(), generator=noise())
    assert set(objective.terms) == {"reconstruction", "kl"}
    assert model.vae.encoder.layout is not None
    assert model.vae.encoder.layout.slices == {"content": (0, 8)}
    assert model.attributes == set()
    assert model.adversary_parameters() == []
    assert model.adversary_losses(objective.z, {}) == {}


def test_terms_of_the_objective_are_those_of_its_parts():
    model = build(DPCA, EXCITE)
    images, targets = batch()
    objective = model.objective(images, targets, generator=noise())
    z = model.vae.posterior(images).sample(noise())
    torch.testing.assert_close(objective.z, z)
    expected = model.vae.losses(images, objective.posterior, objective.z)
    for strategy in model.strategies:
        expected |= strategy.losses(images, objective.posterior, objective.z, targets)
    assert set(objective.terms) == {
        "reconstruction",
        "kl",
        "deformable_pca",
        "orthogonality",
        "excitation/class",
        "inhibition/class",
    }
    assert set(expected) == set(objective.terms) == set(objective.weights)
    for name, term in expected.items():
        torch.testing.assert_close(objective.terms[name], term)


def test_total_is_the_weighted_sum():
    model = build(DPCA, EXCITE, kl_weight=4.0)
    objective = model.objective(*batch(), kl_warmup=0.25, generator=noise())
    terms = {name: term.item() for name, term in objective.terms.items()}
    expected = (
        terms["reconstruction"]
        + 4.0 * 0.25 * terms["kl"]
        + terms["deformable_pca"]
        + 0.1 * terms["orthogonality"]
        + 2.0 * terms["excitation/class"]
        + terms["inhibition/class"]
    )
    assert objective.total.item() == pytest.approx(expected, rel=1e-6)


def test_parameters_are_split_between_the_two_optimizers():
    model = build(DPCA, EXCITE)
    main = {id(p) for p in model.main_parameters()}
    adversary = {id(p) for p in model.adversary_parameters()}
    assert main.isdisjoint(adversary)
    assert main | adversary == {id(p) for p in model.parameters()}
    assert adversary
    assert id(model.vae.likelihood.log_scale) in main


def test_main_and_adversary_losses_move_only_their_own_parameters():
    model = build(DPCA, EXCITE)
    images, targets = batch()
    objective = model.objective(images, targets, generator=noise())
    objective.total.backward()
    assert all(p.grad is None for p in model.adversary_parameters())
    assert all(p.grad is not None for p in model.main_parameters())
    model.zero_grad()
    sum(model.adversary_losses(objective.z, targets).values(), torch.zeros(())).backward()
    assert all(p.grad is not None for p in model.adversary_parameters())
    assert all(p.grad is None for p in model.main_parameters())


def test_two_guidances_of_one_kind_are_refused():
    with pytest.raises(InputError, match="two strategies return a term called 'deformable_pca'"):
        build(DPCA, DPCA)
    with pytest.raises(InputError, match="'class' is asked for twice"):
        build(EXCITE, EXCITE)


class Claiming(Guidance):
    """Its module claims the name of one of the ELBO's terms."""

    def build(self, context):
        return ClaimingModule()


class ClaimingModule(GuidanceModule):
    @property
    def weights(self):
        return {"kl": 1.0}

    def losses(self, images, posterior, z, targets):
        return {"kl": z.sum()}


def test_a_term_cannot_hide_one_of_the_elbo():
    with pytest.raises(InputError, match="a term called 'kl'"):
        build(Claiming())


@pytest.mark.parametrize("entry", [DeformablePCA, partial(DeformablePCA), "DeformablePCA"])
def test_what_is_no_guidance_is_refused(entry):
    with pytest.raises(InputError, match=r"guidance: expected settings such as DeformablePCA\(\)"):
        build(entry)
