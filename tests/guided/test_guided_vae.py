"""A VAE and its guidances as one module."""

from functools import partial

import pytest
import torch

import guided

DPCA = guided.DeformablePCA(deformations=("rotation", "scale"), orthogonality_weight=0.1)
EXCITE = guided.ExcitationInhibition(attributes={"class": 3}, excitation=2.0, hidden=4)


@pytest.fixture
def build(build_model):
    return partial(build_model, likelihood=guided.Gaussian())


def batch():
    rng = torch.Generator().manual_seed(0)
    images = torch.rand(6, 1, 16, 16, generator=rng)
    return images, {"class": torch.randint(0, 4, (6,), generator=rng)}


def noise():
    return torch.Generator().manual_seed(7)


def test_guidances_reserve_slices_in_their_order(build):
    slices = {"rotation": (0, 1), "scale": (1, 2), "class": (2, 5), "content": (5, 8)}
    assert build(DPCA, EXCITE).vae.layout.slices == slices
    reverse = {"class": (0, 3), "rotation": (3, 4), "scale": (4, 5), "content": (5, 8)}
    assert build(EXCITE, DPCA).vae.layout.slices == reverse


def test_guidance_leaves_the_initial_weights_of_the_vae_alone(build):
    plain, excited, deformed = (build(*g).vae.state_dict() for g in ((), (EXCITE,), (DPCA,)))
    for name, weight in plain.items():
        assert torch.equal(weight, excited[name]), name
        if not name.startswith("encoder.head"):  # deformations start as the identity
            assert torch.equal(weight, deformed[name]), name


def test_a_plain_vae_has_two_terms_and_only_content(build):
    model = build()
    objective = model.objective(*batch(), generator=noise())
    assert set(objective.terms) == {"reconstruction", "kl"}
    assert model.vae.layout.slices == {"content": (0, 8)}
    assert not model.attributes and not model.adversary_losses(objective.z, {})


def test_the_objective_is_the_weighted_sum_of_the_terms_of_its_parts(build):
    model = build(DPCA, EXCITE, kl_weight=4.0)
    images, targets = batch()
    objective = model.objective(images, targets, kl_warmup=0.25, generator=noise())
    z = model.vae.posterior(images).sample(noise())
    torch.testing.assert_close(objective.z, z)
    expected = model.vae.losses(images, objective.posterior, z)
    for strategy in model.strategies:
        expected |= strategy.losses(images, objective.posterior, z, targets)
    torch.testing.assert_close(dict(objective.terms), expected)
    weights = {"reconstruction": 1.0, "kl": 4.0 * 0.25}
    weights |= {"deformable_pca": 1.0, "orthogonality": 0.1}
    weights |= {"excitation/class": 2.0, "inhibition/class": 1.0}
    assert set(weights) == set(expected)
    total = sum(weight * expected[name].item() for name, weight in weights.items())
    assert objective.total.item() == pytest.approx(total, rel=1e-6)


def test_main_and_adversary_losses_move_only_their_own_parameters(build):
    model = build(DPCA, EXCITE)
    main, adversary = model.main_parameters(), model.adversary_parameters()
    assert {id(p) for p in main} | {id(p) for p in adversary} == {id(p) for p in model.parameters()}
    assert len(main) + len(adversary) == len(list(model.parameters()))
    images, targets = batch()
    objective = model.objective(images, targets, generator=noise())
    objective.total.backward()
    assert all(p.grad is None for p in adversary)
    assert all(p.grad is not None for p in main)
    model.zero_grad()
    sum(model.adversary_losses(objective.z, targets).values()).backward()
    assert all(p.grad is not None for p in adversary)
    assert all(p.grad is None for p in main)


class Claiming(guided.Guidance):
    """Its module claims the name of one of the ELBO's terms."""

    def build(self, context):
        return ClaimingModule()


class ClaimingModule(guided.GuidanceModule):
    weights = {"kl": 1.0}  # noqa: RUF012

    def losses(self, images, posterior, z, targets):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("guidance", "message"),
    [
        ([DPCA, DPCA], "two strategies return a term called 'deformable_pca'"),
        ([EXCITE, EXCITE], "'class' is asked for twice"),
        ([Claiming()], "a term called 'kl'"),
        ([guided.DeformablePCA], r"guidance: expected settings such as DeformablePCA\(\)"),
        ([partial(guided.DeformablePCA)], r"guidance: expected settings such as DeformablePCA\(\)"),
        (["DeformablePCA"], r"guidance: expected settings such as DeformablePCA\(\)"),
    ],
)
def test_what_does_not_fit_is_refused(guidance, message, build):
    with pytest.raises(guided.InputError, match=message):
        build(*guidance)
