"""Excitation and inhibition by hand: cross-entropies, and who gets which gradient."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from guided import ExcitationInhibition, GuidanceContext, InputError, Posterior
from guided.latents import LatentAllocator, attributes_in

CATEGORIES = {"class": 5, "drawer": 3, "hand.left": 2}
LATENT_DIM = 9
DRAWER = "drawer within alphabet"
WITHIN = {"alphabet": 3, "drawer": 4}


def build(attributes, categories=CATEGORIES, **settings):
    torch.manual_seed(0)
    context = GuidanceContext((1, 8, 8), LatentAllocator(LATENT_DIM), categories)
    return ExcitationInhibition(attributes=attributes, hidden=6, **settings).build(context).double()


def batch(categories=CATEGORIES, rows=12):
    rng = torch.Generator().manual_seed(1)
    z = torch.randn(rows, LATENT_DIM, generator=rng, dtype=torch.float64).requires_grad_()
    return z, {n: torch.randint(0, k, (rows,), generator=rng) for n, k in categories.items()}


def losses(guidance, z, targets):
    return guidance.losses(torch.zeros(len(z), 1, 8, 8), Posterior(z, z), z, targets)


def softmax(logits):
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    return exponentials / exponentials.sum(1, keepdims=True)


def adversary_logits(guidance, name, others):
    """Three linear layers with leaky ReLUs in between, in numpy."""
    adversary = guidance.adversaries[f"of {name}"]
    layers = [m for m in adversary.modules() if isinstance(m, nn.Linear)]
    x = others.detach().numpy()
    for layer in layers:
        x = x @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
        if layer is not layers[-1]:
            x = np.where(x > 0, x, 0.2 * x)
    return x


def test_excitation_is_the_cross_entropy_by_hand():
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


def test_cosine_excitation_depends_on_directions_alone():
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


def test_inhibition_is_the_divergence_from_uniform_by_hand():
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


def test_inhibition_moves_the_other_latents_and_never_the_adversary():
    guidance = build({"drawer": 2, "class": 4})
    z, targets = batch()
    losses(guidance, z, targets)["inhibition/class"].backward()
    assert all(p.grad is None for p in guidance.parameters())
    assert z.grad is not None
    assert not z.grad[:, 2:6].any()  # the attribute's own slice is free to know it
    assert z.grad[:, :2].all()
    assert z.grad[:, 6:].all()


def test_the_adversary_learns_from_the_other_latents_and_never_moves_them():
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


def test_attributes_take_slices_in_order_and_of_their_width():
    torch.manual_seed(0)
    latents = LatentAllocator(LATENT_DIM)
    context = GuidanceContext((1, 8, 8), latents, CATEGORIES)
    guidance = ExcitationInhibition(attributes={"drawer": 2, "hand.left": 1, "class": 3}).build(
        context
    )
    slices = {"drawer": (0, 2), "hand.left": (2, 3), "class": (3, 6), "content": (6, 9)}
    assert latents.layout().slices == slices
    assert guidance.attributes == ("drawer", "hand.left", "class")
    z, _ = batch(rows=2)
    for name in guidance.attributes:
        (gradient,) = torch.autograd.grad(guidance.predict(name, z.float()).square().sum(), z)
        start, stop = slices[name]
        assert gradient[:, start:stop].all()
        assert not gradient[:, :start].any()
        assert not gradient[:, stop:].any()
        assert guidance.predict(name, z.float()).shape == (2, CATEGORIES[name])


@pytest.mark.parametrize("inhibition", [0.0, 2.0])
def test_weights_cover_exactly_the_terms(inhibition):
    guidance = build({"drawer": 2, "hand.left": 1}, excitation=3.0, inhibition=inhibition)
    z, targets = batch()
    terms = losses(guidance, z, targets)
    assert set(guidance.weights) == set(terms)
    assert guidance.weights["excitation/hand.left"] == 3.0
    assert guidance.weights.get("inhibition/drawer", 0.0) == inhibition
    assert bool(guidance.adversary_losses(z, targets)) == bool(inhibition)


def test_names_that_differ_in_punctuation_or_belong_to_torch_are_kept_apart():
    names = ["a.b", "a_b", "type", "train", "keys"]
    guidance = build(dict.fromkeys(names, 1), {name: 2 + i for i, name in enumerate(names)})
    z, _ = batch()
    shapes = [guidance.predict(name, z).shape[1] for name in names]
    assert shapes == [2, 3, 4, 5, 6]


def test_an_attribute_that_the_data_lack_is_named_with_those_they_have():
    with pytest.raises(InputError, match=r"no 'alphabet'; there are class, drawer, hand\.left"):
        build({"alphabet": 2})
    with pytest.raises(InputError, match="there are none"):
        build({"class": 2}, {})


def test_inhibition_needs_other_latents_and_excitation_alone_does_not():
    with pytest.raises(InputError, match="'class' takes every latent; inhibition needs others"):
        build({"class": LATENT_DIM})
    guidance = build({"class": LATENT_DIM}, inhibition=0.0)
    assert set(losses(guidance, *batch())) == {"excitation/class"}
    assert list(guidance.adversary_parameters()) == []


def test_unknown_attributes_excite_nothing():
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


def each_alphabet(logits, targets):
    """Logits of its own drawers, and the drawers, of each alphabet's images: by a loop."""
    found = []
    for alphabet in range(3):
        rows = targets["alphabet"] == alphabet
        found.append((logits[rows][:, 4 * alphabet : 4 * alphabet + 4], targets["drawer"][rows]))
    return found


def test_only_drawers_of_the_same_alphabet_compete():
    guidance = build({DRAWER: 4}, WITHIN)
    z, targets = batch(WITHIN)
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


def test_both_attributes_are_needed_and_one_slice_is_taken():
    guidance = build({"alphabet": 2, DRAWER: 3}, WITHIN)
    assert guidance.attributes == ("alphabet", "drawer")
    assert guidance.slices == ("alphabet", DRAWER)
    z, targets = batch(WITHIN)
    assert set(guidance.weights) == set(losses(guidance, z, targets))
    assert attributes_in(DRAWER) == ("drawer", "alphabet")
    assert attributes_in("5_o_Clock_Shadow") == ("5_o_Clock_Shadow",)


def test_in_an_unknown_alphabet_nothing_is_excited():
    guidance = build({DRAWER: 4}, WITHIN)
    z, targets = batch(WITHIN)
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
def test_what_the_data_lack_is_named(name):
    lacking = (set(attributes_in(name)) - set(WITHIN)).pop()
    with pytest.raises(InputError, match=f"have no '{lacking}'; there are alphabet, drawer"):
        build({name: 2}, WITHIN)


def set_weights(guidance, name, weights):
    classifier = guidance.classifiers[f"of {name}"]
    assert isinstance(classifier, nn.Linear)
    with torch.no_grad():
        classifier.weight.copy_(weights)


def test_two_categories_differ_along_their_weights_difference():
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


@pytest.mark.parametrize("cosine", [False, True])
def test_many_categories_differ_most_along_the_first_principal_component(cosine):
    guidance = build({"drawer": 3}, WITHIN, cosine=cosine)
    weights = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).double()
    set_weights(guidance, "drawer", weights)
    rows = weights.numpy() / (np.linalg.norm(weights, axis=1, keepdims=True) if cosine else 1)
    values, vectors = np.linalg.eigh(np.cov(rows.T))
    found = guidance.direction("drawer").numpy()
    np.testing.assert_allclose(np.abs(found @ vectors), [0, 0, 1], atol=1e-9)
    assert values[2] > values[1]
    assert (rows[-1] - rows[0]) @ found > 0


def test_differences_between_alphabets_are_none_between_their_drawers():
    guidance = build({DRAWER: 2}, WITHIN)
    drawers = torch.tensor([[0, -1.0], [0, 1], [0, -2], [0, 2]]).double()
    offsets = torch.tensor([[-50.0, 0], [0, 0], [50, 0]]).double()
    set_weights(guidance, DRAWER, (offsets[:, None] + drawers).flatten(0, 1))
    np.testing.assert_allclose(guidance.direction(DRAWER).abs(), [0, 1], atol=1e-9)
