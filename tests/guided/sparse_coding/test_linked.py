"""Dictionaries: atoms that were planted are found; linked kinds tell of each other."""

import copy

import pytest
import torch
import torch.nn.functional as F

from guided import InputError
from guided.sparse_coding import LinkedDictionaries, encode

NAN = float("nan")


def learn(dictionaries, parts, passes, batch_size, sparsity_start=None, seed=0):
    """Atoms from examples, in order of the seed, at a rate that falls to 0."""
    rng = torch.Generator().manual_seed(seed)
    n = len(next(iter(parts.values())))
    chosen = torch.randperm(n, generator=rng)[: len(dictionaries.atoms)]
    every = torch.arange(len(dictionaries.atoms))
    dictionaries.replace(every, {kind: values[chosen] for kind, values in parts.items()})
    end, step, steps = dictionaries.sparsity, 0, passes * n // batch_size
    start = sparsity_start or end
    for _ in range(passes):
        for rows in torch.randperm(n, generator=rng).split(batch_size):
            done = step / steps
            batch = {kind: values[rows] for kind, values in parts.items()}
            dictionaries.learn(batch, 1 - done, sparsity=start + (end - start) * done)
            step += 1


def test_planted_atoms_are_found():
    """64 atoms in 32 dimensions, of which three make each of 5,000 points."""
    rng = torch.Generator().manual_seed(0)
    planted = F.normalize(torch.randn(64, 32, generator=rng))
    active = torch.rand(5000, 64, generator=rng).argsort(1)[:, :3]
    codes = torch.zeros(5000, 64).scatter_(1, active, 0.5 + torch.rand(5000, 3, generator=rng))
    dictionaries = LinkedDictionaries({"x": 32}, 64, sparsity=0.6, tolerance=1e-2, steps=40)
    learn(dictionaries, {"x": codes @ planted}, passes=15, batch_size=250, sparsity_start=0.1)
    torch.testing.assert_close(dictionaries.atoms.norm(dim=1), torch.ones(64))
    similarity = (planted @ dictionaries.atoms.T).amax(1)
    assert (similarity > 0.95).float().mean() >= 0.9


@pytest.fixture(scope="module")
def two_classes():
    """Points of two classes, each of three atoms of its own, and labels as unit vectors."""
    rng = torch.Generator().manual_seed(0)
    atoms = torch.linalg.qr(torch.randn(16, 16, generator=rng)).Q[:6]
    labels = torch.arange(600) % 2
    codes = torch.rand(600, 6, generator=rng)
    codes[torch.arange(600), 3 * labels + torch.randint(3, (600,), generator=rng)] += 1
    codes[:, :3][labels == 1] = 0
    codes[:, 3:][labels == 0] = 0
    x = F.normalize(codes @ atoms + 0.01 * torch.randn(600, 16, generator=rng))
    return x, labels, atoms


@pytest.fixture(scope="module")
def linked(two_classes):
    """Dictionaries of the first 400 points."""
    x, labels, _ = two_classes
    dictionaries = LinkedDictionaries(
        {"x": 16, "class": 2}, 8, weights={"class": 0.3}, sparsity=0.1, tolerance=1e-2
    )
    learn(dictionaries, {"x": x[:400], "class": F.one_hot(labels[:400], 2).float()}, 10, 100)
    dictionaries.options = {}
    return dictionaries


def test_linked_classes_are_told_and_drawn(two_classes, linked):
    x, labels, atoms = two_classes
    dictionaries = linked
    codes = dictionaries.code({"x": x[400:]})
    told = dictionaries.predict(codes, "class")
    assert (told.argmax(1) == labels[400:]).all()
    assert (told - F.one_hot(labels[400:], 2)).abs().mean() < 0.3
    drawn = dictionaries.predict(dictionaries.code({"class": torch.eye(2)}), "x") @ atoms.T
    assert (drawn[0, :3] > 0.1).any() and drawn[0, 3:].abs().max() < 0.05
    assert (drawn[1, 3:] > 0.1).any() and drawn[1, :3].abs().max() < 0.05
    both = dictionaries.code({"x": x[:400], "class": F.one_hot(labels[:400], 2).float()})
    assert F.cosine_similarity(dictionaries.code({"x": x[:400]}), both).min() > 0.9


def test_without_a_label_codes_are_those_of_the_rescaled_dictionary(two_classes, linked):
    """D / ‖D‖ for the image, W / (√γ ‖D‖) for the label, as in D-KSVD."""
    x = two_classes[0]
    image, label = linked.atoms[:, :16], linked.atoms[:, 16:]
    norms = image.norm(dim=1, keepdim=True)
    codes = encode(x, image / norms, 0.1, nonnegative=True)
    expected = codes @ (label / (0.3**0.5 * norms))
    found = linked.predict(linked.code({"x": x}), "class")
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_weight_of_0_is_no_link(two_classes, linked):
    x, labels, _ = two_classes
    alone = LinkedDictionaries({"x": 16}, 8, sparsity=0.1)
    learn(alone, {"x": x}, 1, 100)
    dictionaries = LinkedDictionaries({"x": 16, "class": 2}, 8, weights={"class": 0}, sparsity=0.1)
    learn(dictionaries, {"x": x, "class": F.one_hot(labels, 2).float()}, 1, 100)
    assert torch.equal(dictionaries.atoms, alone.atoms)
    assert torch.equal(dictionaries.code({"x": x}), alone.code({"x": x}))
    assert not torch.equal(linked.atoms[:, :16], alone.atoms)


def test_unknown_labels_teach_nothing_about_labels(two_classes, linked):
    """A row without a label moves the image's part as if it were coded from the image alone."""
    x, labels, _ = two_classes
    y = F.one_hot(labels, 2).float()
    dictionaries = copy.deepcopy(linked)
    before = dictionaries.atoms.clone()
    codes = dictionaries.learn({"x": x[:20], "class": y[:20].masked_fill(y[:20] >= 0, NAN)}, 0.5)
    moved = before.clone()
    energy = codes.square().sum(0)
    for k in range(8):
        pull = codes[:, k] @ (x[:20] - codes @ before[:, :16])
        moved[k, :16] += 0.5 * pull / (energy[k] + energy.mean())
    torch.testing.assert_close(dictionaries.atoms, F.normalize(moved))
    mixed = torch.where(torch.arange(20)[:, None] % 2 == 0, y[:20], NAN)
    codes = dictionaries.learn({"x": x[:20], "class": mixed}, 1e-9)
    torch.testing.assert_close(codes[1::2], dictionaries.code({"x": x[1:20:2]}))
    torch.testing.assert_close(codes[::2], dictionaries.code({"x": x[:20:2], "class": y[:20:2]}))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"class": -1}, r"weights\.class: expected at least 0"),
        ({"x": 0, "class": 0}, "weights: a kind"),
    ],
)
def test_weights_that_leave_nothing_are_refused(weights, message):
    with pytest.raises(InputError, match=message):
        LinkedDictionaries({"x": 4, "class": 2}, 8, weights=weights)
