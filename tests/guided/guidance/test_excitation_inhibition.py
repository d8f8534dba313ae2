"""Excitation and inhibition by hand: cross-entropies, and who gets which gradient."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from guided import DeformablePCA, ExcitationInhibition, GuidanceContext, InputError, Posterior
from guided.latents import LatentAllocator, attributes_in

CATEGORIES = {"class": 5, "drawer": 3, "hand.left": 2}
LATENT_DIM = 9
DRAWER = "drawer within alphabet"
WITHIN = {"alphabet": 3, "drawer": 4}


def build(attributes, categories=CATEGORIES, allocator=None, **settings):
    torch.manual_seed(0)
    context = GuidanceContext((1, 8, 8), allocator or LatentAllocator(LATENT_DIM), categories)
    return ExcitationInhibition(attributes=attributes, hidden=6, **settings).build(context).double()


def test_labels_are_the_attributes_whose_meaning_is_used():
    assert DeformablePCA().labels == ()
    several = ExcitationInhibition(attributes={"class": 4, DRAWER: 2, "alphabet": 2})
    assert several.labels == ("class", "drawer", "alphabet"), "each once"


def batch(categories=CATEGORIES, rows=12):
    rng = torch.Generator().manual_seed(1)
    z = torch.randn(rows, LATENT_DIM, generator=rng, dtype=torch.float64).requires_grad_()
    return z, {n: torch.randint(0, k, (rows,), generator=rng) for n, k in categories.items()}


def losses(guidance, z, targets):
    return guidance.losses(torch.zeros(len(z), 1, 8, 8), Posterior(z, z), z, targets)


def adversary_logits(guidance, name, others):
    """Three linear layers with leaky ReLUs in between."""
    modules = guidance.adversaries[f"of {name}"].modules()
    *layers, last = [module for module in modules if isinstance(module, nn.Linear)]
    for layer in layers:
        others = F.leaky_relu(layer(others), 0.2)
    return last(others)


def test_excitation_is_the_cross_entropy_by_hand():
    guidance = build({"class": 4})
    z, targets = batch()
    classifier = guidance.classifiers["of class"]
    p = F.linear(z[:, :4], classifier.weight, classifier.bias).softmax(1).detach()
    excitation = losses(guidance, z, targets)["excitation/class"]
    expected = -p[torch.arange(12), targets["class"]].log().mean()
    torch.testing.assert_close(excitation, expected)
    # Gradient of the mean cross-entropy: (p - onehot) W / B on the slice, nothing elsewhere.
    (gradient,) = torch.autograd.grad(excitation, z)
    by_hand = (p - F.one_hot(targets["class"], 5)) @ classifier.weight.detach() / 12
    torch.testing.assert_close(gradient, F.pad(by_hand, (0, 5)))


def test_cosine_excitation_depends_on_directions_alone():
    guidance = build({"class": 4}, cosine=True, cosine_scale=7.0)
    z, targets = batch()
    cosines = F.cosine_similarity(z[:, None, :4], guidance.classifiers["of class"].weight, dim=2)
    torch.testing.assert_close(guidance.predict("class", z), 7 * cosines)
    expected = F.cross_entropy(7 * cosines, targets["class"])
    torch.testing.assert_close(losses(guidance, z, targets)["excitation/class"], expected)


def test_encoder_and_adversary_pull_apart_and_never_move_each_other():
    guidance = build({"drawer": 2, "class": 4})
    z, targets = batch()
    logits = adversary_logits(guidance, "class", torch.cat([z[:, :2], z[:, 6:]], 1)).detach()
    inhibition = losses(guidance, z, targets)["inhibition/class"]
    divergence = (0.2 * (0.2 / logits.softmax(1)).log()).sum(1).mean()  # from uniform over 5
    torch.testing.assert_close(inhibition, divergence)
    inhibition.backward()
    assert all(p.grad is None for p in guidance.parameters())
    assert not z.grad[:, 2:6].any()  # the attribute's own slice is free to know it
    assert z.grad[:, :2].all() and z.grad[:, 6:].all()
    z.grad = None
    terms = guidance.adversary_losses(z, targets)
    assert set(terms) == {"adversary/drawer", "adversary/class"}
    expected = F.cross_entropy(logits, targets["class"])
    torch.testing.assert_close(terms["adversary/class"], expected)
    sum(terms.values()).backward()
    assert z.grad is None
    assert all(p.grad is not None and p.grad.any() for p in guidance.adversary_parameters())
    assert all(p.grad is None for p in guidance.classifiers.parameters())


def test_attributes_take_slices_in_order_and_of_their_width():
    latents = LatentAllocator(LATENT_DIM)
    guidance = build({"drawer": 2, "hand.left": 1, "class": 3}, allocator=latents)
    slices = {"drawer": (0, 2), "hand.left": (2, 3), "class": (3, 6), "content": (6, 9)}
    assert latents.layout().slices == slices
    assert guidance.attributes == guidance.slices == ("drawer", "hand.left", "class")
    z, _ = batch(rows=2)
    for name in guidance.attributes:
        logits = guidance.predict(name, z)
        assert logits.shape == (2, CATEGORIES[name])
        (gradient,) = torch.autograd.grad(logits.square().sum(), z)
        assert gradient.all(0).nonzero().flatten().tolist() == list(range(*slices[name]))
        assert gradient.any(0).sum() == gradient.all(0).sum()


@pytest.mark.parametrize(
    ("attributes", "inhibition"), [({"drawer": 2, "class": 1}, 2.0), ({"class": LATENT_DIM}, 0.0)]
)
def test_weights_cover_exactly_the_terms(attributes, inhibition):
    """Without inhibition an attribute may take every latent."""
    guidance = build(attributes, excitation=3.0, inhibition=inhibition)
    z, targets = batch()
    assert set(guidance.weights) == set(losses(guidance, z, targets))
    assert guidance.weights["excitation/class"] == 3.0
    assert guidance.weights.get("inhibition/class", 0.0) == inhibition
    assert bool(guidance.adversary_losses(z, targets)) == bool(inhibition)
    assert bool(list(guidance.adversary_parameters())) == bool(inhibition)


def test_names_that_differ_in_punctuation_or_belong_to_torch_are_kept_apart():
    names = ["a.b", "a_b", "type", "train", "keys"]
    guidance = build(dict.fromkeys(names, 1), {name: 2 + i for i, name in enumerate(names)})
    z, _ = batch()
    assert [guidance.predict(name, z).shape[1] for name in names] == [2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("attributes", "categories", "message"),
    [
        ({"alphabet": 2}, CATEGORIES, r"no 'alphabet'; there are class, drawer, hand\.left"),
        ({"class": 2}, {}, "no 'class'; there are none"),
        ({"class": LATENT_DIM}, CATEGORIES, "'class' takes every latent; inhibition needs others"),
        ({"drawer within script": 2}, WITHIN, "no 'script'; there are alphabet, drawer"),
        ({"hand within alphabet": 2}, WITHIN, "no 'hand'"),
        ({"drawer within alphabet within alphabet": 2}, WITHIN, "no 'alphabet within alphabet'"),
    ],
)
def test_what_the_data_lack_is_named(attributes, categories, message):
    with pytest.raises(InputError, match=message):
        build(attributes, categories)


@pytest.mark.parametrize(
    ("name", "lacking"), [("drawer", "drawer"), (DRAWER, "drawer"), (DRAWER, "alphabet")]
)
def test_unknown_attributes_excite_nothing(name, lacking):
    """Nor does a known drawer of an unknown alphabet."""
    guidance = build({name: 4}, WITHIN)
    z, targets = batch(WITHIN)
    part = targets | {lacking: targets[lacking].masked_fill(torch.arange(12) >= 5, -1)}
    few = {n: values[:5] for n, values in targets.items()}
    found = losses(guidance, z, part)[f"excitation/{name}"]
    torch.testing.assert_close(found, losses(guidance, z[:5], few)[f"excitation/{name}"])
    torch.testing.assert_close(
        guidance.adversary_losses(z, part), guidance.adversary_losses(z[:5], few)
    )
    (gradient,) = torch.autograd.grad(found, z)
    assert gradient[:5, :4].all()
    assert not gradient[5:].any()
    nobody = targets | {lacking: torch.full((12,), -1)}
    term = losses(guidance, z, nobody)[f"excitation/{name}"]
    assert float(term.detach()) == 0
    assert not torch.autograd.grad(term, z)[0].any()


def test_only_drawers_of_the_same_alphabet_compete():
    guidance = build({DRAWER: 4}, WITHIN)
    z, targets = batch(WITHIN)

    def each_alphabet(logits):
        """Logits of its own drawers, and the drawers, of each alphabet's images: by a loop."""
        for alphabet in range(3):
            rows = targets["alphabet"] == alphabet
            yield logits[rows][:, 4 * alphabet : 4 * alphabet + 4], targets["drawer"][rows]

    def cross_entropy(logits):
        parts = [F.cross_entropy(*part, reduction="sum") for part in each_alphabet(logits)]
        return sum(parts) / 12

    logits, terms = guidance.predict(DRAWER, z), losses(guidance, z, targets)
    assert logits.shape == (12, 3 * 4)
    torch.testing.assert_close(terms[f"excitation/{DRAWER}"], cross_entropy(logits))
    others = guidance.adversaries[f"of {DRAWER}"](z[:, 4:])
    adversary = guidance.adversary_losses(z, targets)[f"adversary/{DRAWER}"]
    torch.testing.assert_close(adversary, cross_entropy(others))
    p = torch.cat([of_one.softmax(1) for of_one, _ in each_alphabet(others)])
    divergence = (0.25 * (0.25 / p).log()).sum(1).mean()
    torch.testing.assert_close(terms[f"inhibition/{DRAWER}"], divergence)


def test_both_attributes_are_needed_and_one_slice_is_taken():
    guidance = build({"alphabet": 2, DRAWER: 3}, WITHIN)
    assert guidance.attributes == ("alphabet", "drawer")
    assert guidance.slices == ("alphabet", DRAWER)
    assert set(guidance.weights) == set(losses(guidance, *batch(WITHIN)))
    assert attributes_in("5_o_Clock_Shadow") == ("5_o_Clock_Shadow",)


def direction(guidance, name, weights):
    guidance.classifiers[f"of {name}"].weight.data.copy_(weights)
    return guidance.direction(name)


@pytest.mark.parametrize("cosine", [False, True])
@pytest.mark.parametrize("categories", [2, 4])
def test_categories_differ_most_along_the_first_principal_component(categories, cosine):
    weights = torch.randn(categories, 3, generator=torch.Generator().manual_seed(0)).double()
    guidance = build({"drawer": 3}, {"drawer": categories}, cosine=cosine)
    rows = weights.numpy() / (np.linalg.norm(weights, axis=1, keepdims=True) if cosine else 1)
    main = np.linalg.eigh(np.cov(rows.T))[1][:, 2]
    towards_last = main * np.sign((rows[-1] - rows[0]) @ main)
    np.testing.assert_allclose(direction(guidance, "drawer", weights), towards_last, atol=1e-9)


def test_differences_between_alphabets_are_none_between_their_drawers():
    drawers = torch.tensor([[0, -1.0], [0, 1], [0, -2], [0, 2]])
    offsets = torch.tensor([[-50.0, 0], [0, 0], [50, 0]])
    weights = (offsets[:, None] + drawers).flatten(0, 1)
    found = direction(build({DRAWER: 2}, WITHIN), DRAWER, weights)
    np.testing.assert_allclose(found.abs(), [0, 1], atol=1e-9)
