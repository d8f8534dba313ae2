"""Excitation and inhibition by hand: cross-entropies, and who gets which gradient."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from guided.errors import InputError
from guided.guidance.base import GuidanceContext
from guided.guidance.excitation_inhibition import ExcitationInhibition, ExcitationInhibitionModule
from guided.latents import LatentAllocator
from guided.vae import Posterior

CATEGORIES = {"class": 5, "drawer": 3, "hand.left": 2}
LATENT_DIM = 9


def build(
    attributes: dict[str, int], categories: dict[str, int] = CATEGORIES, **settings: Any
) -> ExcitationInhibitionModule:
    torch.manual_seed(0)
    context = GuidanceContext((1, 8, 8), LatentAllocator(LATENT_DIM), categories)
    return ExcitationInhibition(attributes=attributes, hidden=6, **settings).build(context).double()


def batch(rows: int = 12) -> tuple[Tensor, dict[str, Tensor]]:
    rng = torch.Generator().manual_seed(1)
    z = torch.randn(rows, LATENT_DIM, generator=rng, dtype=torch.float64).requires_grad_()
    targets = {n: torch.randint(0, k, (rows,), generator=rng) for n, k in CATEGORIES.items()}
    return z, targets


def losses(guidance: ExcitationInhibitionModule, z: Tensor, targets: dict[str, Tensor]) -> Any:
    return guidance.losses(torch.zeros(len(z), 1, 8, 8), Posterior(z, z), z, targets)


def softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    return exponentials / exponentials.sum(1, keepdims=True)


def adversary_logits(guidance: ExcitationInhibitionModule, name: str, others: Tensor) -> np.ndarray:
    """Three linear layers with leaky ReLUs in between, in numpy."""
    adversary = guidance.adversaries[f"of {name}"]
    layers = [m for m in adversary.modules() if isinstance(m, nn.Linear)]
    x = others.detach().numpy()
    for layer in layers:
        x = x @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
        if layer is not layers[-1]:
            x = np.where(x > 0, x, 0.2 * x)
    return x


def test_excitation_is_the_cross_entropy_by_hand() -> None:
    guidance = build({"class": 4})
    z, targets = batch()
    classifier = guidance.classifiers["of class"]
    weight, bias = (p.detach().numpy() for p in (classifier.weight, classifier.bias))
    p = softmax(z.detach().numpy()[:, :4] @ weight.T + bias)
    expected = -np.log(p[np.arange(len(z)), targets["class"]]).mean()
    excitation = losses(guidance, z, targets)["excitation/class"]
    assert excitation.item() == pytest.approx(expected, rel=1e-12)
    # Gradient of the mean cross-entropy: (p - onehot) W / B on the slice, nothing elsewhere.
    (gradient,) = torch.autograd.grad(excitation, z)
    onehot = np.eye(5)[targets["class"]]
    np.testing.assert_allclose(gradient[:, :4], (p - onehot) @ weight / len(z), atol=1e-12)
    assert not gradient[:, 4:].any()


def test_cosine_excitation_depends_on_directions_alone() -> None:
    guidance = build({"class": 4}, cosine=True, cosine_scale=7.0)
    z, targets = batch()
    inside = z.detach().numpy()[:, :4]
    weight = guidance.classifiers["of class"].weight.detach().numpy()
    norms = np.linalg.norm(inside, axis=1)[:, None] * np.linalg.norm(weight, axis=1)
    np.testing.assert_allclose(
        guidance.predict("class", z).detach(), 7 * (inside @ weight.T) / norms, rtol=1e-12
    )
    assert guidance.classifiers["of class"].bias is None
    terms, scaled = losses(guidance, z, targets), losses(guidance, 3 * z, targets)
    assert terms["excitation/class"].item() == pytest.approx(scaled["excitation/class"].item())


def test_inhibition_is_the_divergence_from_uniform_by_hand() -> None:
    guidance = build({"class": 4})
    z, targets = batch()
    p = softmax(adversary_logits(guidance, "class", z[:, 4:]))
    uniform = np.full(5, 1 / 5)
    divergence = (uniform * np.log(uniform / p)).sum(1).mean()
    inhibition = losses(guidance, z, targets)["inhibition/class"].item()
    assert inhibition == pytest.approx(divergence, rel=1e-9)
    cross_entropy = -(uniform * np.log(p)).sum(1).mean()
    assert inhibition == pytest.approx(cross_entropy - math.log(5), rel=1e-9)
    assert inhibition > 0


def test_inhibition_is_zero_when_the_adversary_knows_nothing() -> None:
    guidance = build({"class": 4})
    last = guidance.adversaries["of class"][-1]  # type: ignore[index]
    nn.init.zeros_(last.weight)
    nn.init.constant_(last.bias, 3.0)  # the same logit for every category
    z, targets = batch()
    assert losses(guidance, z, targets)["inhibition/class"].item() == pytest.approx(0, abs=1e-12)


def test_inhibition_moves_the_other_latents_and_never_the_adversary() -> None:
    guidance = build({"drawer": 2, "class": 4})
    z, targets = batch()
    losses(guidance, z, targets)["inhibition/class"].backward()
    assert all(p.grad is None for p in guidance.parameters())
    assert z.grad is not None
    assert not z.grad[:, 2:6].any()  # the attribute's own slice is free to know it
    assert z.grad[:, :2].all()
    assert z.grad[:, 6:].all()


def test_inhibition_gradient_is_that_through_an_ordinary_adversary() -> None:
    guidance = build({"class": 4})
    z, targets = batch()
    (gradient,) = torch.autograd.grad(losses(guidance, z, targets)["inhibition/class"], z)
    logits = guidance.adversaries["of class"](z[:, 4:])
    # d/dlogits of the mean cross-entropy against uniform: (softmax - 1/K) / B.
    logits.backward((logits.softmax(1) - 1 / 5).detach() / len(z))
    torch.testing.assert_close(gradient, z.grad)


def test_the_adversary_learns_from_the_other_latents_and_never_moves_them() -> None:
    guidance = build({"drawer": 2, "class": 4})
    z, targets = batch()
    terms = guidance.adversary_losses(z, targets)
    assert set(terms) == {"adversary/drawer", "adversary/class"}
    others = torch.cat([z[:, :2], z[:, 6:]], 1)
    p = softmax(adversary_logits(guidance, "class", others))
    expected = -np.log(p[np.arange(len(z)), targets["class"]]).mean()
    assert terms["adversary/class"].item() == pytest.approx(expected, rel=1e-12)
    torch.stack(list(terms.values())).sum().backward()
    assert z.grad is None
    assert all(p.grad is not None and p.grad.any() for p in guidance.adversary_parameters())
    assert all(p.grad is None for p in guidance.classifiers.parameters())


def test_adversary_parameters_are_the_adversaries() -> None:
    guidance = build({"drawer": 2, "class": 4})
    held = {id(p) for p in guidance.adversary_parameters()}
    assert held == {id(p) for p in guidance.adversaries.parameters()}
    assert held.isdisjoint(id(p) for p in guidance.classifiers.parameters())


def test_attributes_take_slices_in_order_and_of_their_width() -> None:
    torch.manual_seed(0)
    latents = LatentAllocator(LATENT_DIM)
    context = GuidanceContext((1, 8, 8), latents, CATEGORIES)
    guidance = ExcitationInhibition(attributes={"drawer": 2, "hand.left": 1, "class": 3}).build(
        context
    )
    slices = {"drawer": (0, 2), "hand.left": (2, 3), "class": (3, 6), "content": (6, 9)}
    assert latents.layout().slices == slices
    assert guidance.attributes == ("drawer", "hand.left", "class")
    z, _ = batch(2)
    for name in guidance.attributes:
        (gradient,) = torch.autograd.grad(guidance.predict(name, z.float()).square().sum(), z)
        start, stop = slices[name]
        assert gradient[:, start:stop].all()
        assert not gradient[:, :start].any()
        assert not gradient[:, stop:].any()
        assert guidance.predict(name, z.float()).shape == (2, CATEGORIES[name])


@pytest.mark.parametrize("inhibition", [0.0, 2.0])
def test_weights_cover_exactly_the_terms(inhibition: float) -> None:
    guidance = build({"drawer": 2, "hand.left": 1}, excitation=3.0, inhibition=inhibition)
    z, targets = batch()
    terms = losses(guidance, z, targets)
    assert set(guidance.weights) == set(terms)
    assert guidance.weights["excitation/hand.left"] == 3.0
    assert guidance.weights.get("inhibition/drawer", 0.0) == inhibition
    assert bool(guidance.adversary_losses(z, targets)) == bool(inhibition)


def test_names_that_differ_in_punctuation_or_belong_to_torch_are_kept_apart() -> None:
    names = ["a.b", "a_b", "type", "train", "keys"]
    guidance = build(dict.fromkeys(names, 1), {name: 2 + i for i, name in enumerate(names)})
    z, _ = batch()
    shapes = [guidance.predict(name, z).shape[1] for name in names]
    assert shapes == [2, 3, 4, 5, 6]


def test_an_attribute_that_the_data_lack_is_named_with_those_they_have() -> None:
    with pytest.raises(InputError, match=r"no 'alphabet'; there are class, drawer, hand\.left"):
        build({"alphabet": 2})
    with pytest.raises(InputError, match="there are none"):
        build({"class": 2}, {})


def test_too_wide_a_slice_is_refused() -> None:
    with pytest.raises(InputError, match="'class' asks for 8 latents, 7 of latent_dim 9"):
        build({"drawer": 2, "class": 8})


def test_inhibition_needs_other_latents_and_excitation_alone_does_not() -> None:
    with pytest.raises(InputError, match="'class' takes every latent; inhibition needs others"):
        build({"class": LATENT_DIM})
    guidance = build({"class": LATENT_DIM}, inhibition=0.0)
    assert set(losses(guidance, *batch())) == {"excitation/class"}
    assert list(guidance.adversary_parameters()) == []


def test_unknown_attributes_excite_nothing() -> None:
    guidance = build({"class": 3})
    z, targets = batch()
    part = targets | {"class": targets["class"].masked_fill(torch.arange(12) >= 5, -1)}
    few = {"class": targets["class"][:5]}
    found, expected = losses(guidance, z, part), losses(guidance, z[:5], few)
    torch.testing.assert_close(found["excitation/class"], expected["excitation/class"])
    torch.testing.assert_close(
        guidance.adversary_losses(z, part)["adversary/class"],
        guidance.adversary_losses(z[:5], few)["adversary/class"],
    )
    gradient = torch.autograd.grad(found["excitation/class"], z)[0]
    assert gradient[:5].abs().sum() > 0
    assert not gradient[5:].any()
    nobody = {"class": torch.full((12,), -1)}
    term = losses(guidance, z, nobody)["excitation/class"]
    assert float(term.detach()) == 0
    assert not torch.autograd.grad(term, z)[0].any()
