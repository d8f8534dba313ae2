"""An attribute within another one, and the direction that a classifier reads."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from guided.errors import InputError
from guided.guidance.base import GuidanceContext
from guided.guidance.excitation_inhibition import (
    ExcitationInhibition,
    ExcitationInhibitionModule,
)
from guided.latents import LatentAllocator, attributes_in
from guided.vae import Posterior

DRAWER = "drawer within alphabet"
CATEGORIES = {"alphabet": 3, "drawer": 4}
LATENT_DIM = 9


def build(attributes: dict[str, int], **settings: Any) -> ExcitationInhibitionModule:
    torch.manual_seed(0)
    context = GuidanceContext((1, 8, 8), LatentAllocator(LATENT_DIM), CATEGORIES)
    return ExcitationInhibition(attributes=attributes, hidden=6, **settings).build(context).double()


def batch(rows: int = 12) -> tuple[Tensor, dict[str, Tensor]]:
    rng = torch.Generator().manual_seed(1)
    z = torch.randn(rows, LATENT_DIM, generator=rng, dtype=torch.float64).requires_grad_()
    return z, {n: torch.randint(0, k, (rows,), generator=rng) for n, k in CATEGORIES.items()}


def losses(guidance: ExcitationInhibitionModule, z: Tensor, targets: dict[str, Tensor]) -> Any:
    return guidance.losses(torch.zeros(len(z), 1, 8, 8), Posterior(z, z), z, targets)


def each_alphabet(logits: Tensor, targets: dict[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Logits of its own drawers, and the drawers, of each alphabet's images: by a loop."""
    found = []
    for alphabet in range(3):
        rows = targets["alphabet"] == alphabet
        found.append((logits[rows][:, 4 * alphabet : 4 * alphabet + 4], targets["drawer"][rows]))
    return found


def test_only_drawers_of_the_same_alphabet_compete() -> None:
    guidance = build({DRAWER: 4})
    z, targets = batch()
    logits = guidance.predict(DRAWER, z)
    assert logits.shape == (12, 3 * 4)
    expected = sum(
        F.cross_entropy(of_one, drawer, reduction="sum")
        for of_one, drawer in each_alphabet(logits, targets)
    )
    terms = losses(guidance, z, targets)
    torch.testing.assert_close(terms[f"excitation/{DRAWER}"], expected / 12)
    others = guidance.adversaries[f"of {DRAWER}"](z[:, 4:])
    expected = sum(
        F.cross_entropy(of_one, drawer, reduction="sum")
        for of_one, drawer in each_alphabet(others, targets)
    )
    torch.testing.assert_close(
        guidance.adversary_losses(z, targets)[f"adversary/{DRAWER}"], expected / 12
    )
    p = torch.cat([of_one.softmax(1) for of_one, _ in each_alphabet(others, targets)])
    divergence = (0.25 * (0.25 / p).log()).sum(1).mean()
    torch.testing.assert_close(terms[f"inhibition/{DRAWER}"], divergence)


def test_both_attributes_are_needed_and_one_slice_is_taken() -> None:
    guidance = build({"alphabet": 2, DRAWER: 3})
    assert guidance.attributes == ("alphabet", "drawer")
    assert guidance.slices == ("alphabet", DRAWER)
    z, targets = batch()
    assert set(guidance.weights) == set(losses(guidance, z, targets))
    assert attributes_in(DRAWER) == ("drawer", "alphabet")
    assert attributes_in("5_o_Clock_Shadow") == ("5_o_Clock_Shadow",)


def test_in_an_unknown_alphabet_nothing_is_excited() -> None:
    guidance = build({DRAWER: 4})
    z, targets = batch()
    part = targets | {"alphabet": targets["alphabet"].masked_fill(torch.arange(12) >= 5, -1)}
    few = {name: values[:5] for name, values in targets.items()}
    term = losses(guidance, z, part)[f"excitation/{DRAWER}"]
    torch.testing.assert_close(term, losses(guidance, z[:5], few)[f"excitation/{DRAWER}"])
    (gradient,) = torch.autograd.grad(term, z)
    assert gradient[:5, :4].all()
    assert not gradient[5:].any()


@pytest.mark.parametrize(
    "name",
    ["drawer within script", "hand within alphabet", "drawer within alphabet within alphabet"],
)
def test_what_the_data_lack_is_named(name: str) -> None:
    lacking = (set(attributes_in(name)) - set(CATEGORIES)).pop()
    with pytest.raises(InputError, match=f"have no '{lacking}'; there are alphabet, drawer"):
        build({name: 2})


def set_weights(guidance: ExcitationInhibitionModule, name: str, weights: Tensor) -> None:
    classifier = guidance.classifiers[f"of {name}"]
    assert isinstance(classifier, nn.Linear)
    with torch.no_grad():
        classifier.weight.copy_(weights)


def test_two_categories_differ_along_their_weights_difference() -> None:
    context = GuidanceContext((1, 8, 8), LatentAllocator(4), {"smile": 2})
    guidance = ExcitationInhibition(attributes={"smile": 3}).build(context)
    set_weights(guidance, "smile", torch.tensor([[1.0, 5, 2], [1, 2, 6]]))
    expected = torch.tensor([0, -0.6, 0.8])
    torch.testing.assert_close(guidance.direction("smile"), expected)
    set_weights(guidance, "smile", torch.tensor([[1.0, 2, 6], [1, 5, 2]]))
    torch.testing.assert_close(guidance.direction("smile"), -expected)
    # Towards the second category: its probability rises.
    steps = torch.zeros(3, 4)
    steps[:, :3] = torch.arange(3.0)[:, None] * guidance.direction("smile")
    probability = guidance.predict("smile", steps).softmax(1)[:, 1]
    assert (probability.diff() > 0).all()


def test_a_single_latent_points_where_the_last_category_is() -> None:
    context = GuidanceContext((1, 8, 8), LatentAllocator(4), {"slant": 2})
    guidance = ExcitationInhibition(attributes={"slant": 1}).build(context)
    for low, high in ((-1.0, 2.0), (3.0, 0.5)):
        set_weights(guidance, "slant", torch.tensor([[low], [high]]))
        assert guidance.direction("slant").tolist() == [1.0 if high > low else -1.0]


@pytest.mark.parametrize("cosine", [False, True])
def test_many_categories_differ_most_along_the_first_principal_component(cosine: bool) -> None:
    guidance = build({"drawer": 3}, cosine=cosine)
    weights = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).double()
    set_weights(guidance, "drawer", weights)
    rows = weights.numpy() / (np.linalg.norm(weights, axis=1, keepdims=True) if cosine else 1)
    values, vectors = np.linalg.eigh(np.cov(rows.T))
    found = guidance.direction("drawer").numpy()
    np.testing.assert_allclose(np.abs(found @ vectors), [0, 0, 1], atol=1e-9)
    assert values[2] > values[1]
    assert (rows[-1] - rows[0]) @ found > 0


def test_differences_between_alphabets_are_none_between_their_drawers() -> None:
    guidance = build({DRAWER: 2})
    drawers = torch.tensor([[0, -1.0], [0, 1], [0, -2], [0, 2]]).double()
    offsets = torch.tensor([[-50.0, 0], [0, 0], [50, 0]]).double()
    set_weights(guidance, DRAWER, (offsets[:, None] + drawers).flatten(0, 1))
    np.testing.assert_allclose(guidance.direction(DRAWER).abs(), [0, 1], atol=1e-9)
