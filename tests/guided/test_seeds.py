"""Seeds derived from one root seed."""

import itertools

import pytest
import torch
from torch import nn

from guided.errors import InputError
from guided.seeds import derive_seed, seeded_initialisation


def test_derived_seeds_are_what_they_were():
    """Pinned: another value would silently change every published number."""
    assert derive_seed(0) == 7896617691693857887
    assert derive_seed(7, "pretrain", "noise", 3) == 4335014630444908652
    with pytest.raises(InputError, match="seed: expected >= 0, got -1"):
        derive_seed(-1, "a")


def test_derived_seeds_differ_by_root_purpose_and_order():
    purposes = [(), ("a",), ("b",), ("ab",), ("a", "b"), ("b", "a")]
    purposes += [("a", 0), ("a", 1), (0, "a"), ("a", 1, 2), ("a", 2, 1), ("a", 12)]
    seeds = [derive_seed(root, *p) for root, p in itertools.product((0, 1, 2**40), purposes)]
    assert len(set(seeds)) == len(seeds) == 3 * 12
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_initialisation_is_a_function_of_the_seed_and_restores_the_global_state(monkeypatch):
    def refuse(seed):
        raise AssertionError("a GPU's state was changed and is not put back")

    monkeypatch.setattr(torch.cuda, "manual_seed_all", refuse)

    def weights(root):
        with seeded_initialisation(root, "weights"):
            return nn.Linear(3, 3).weight.detach()

    before = torch.get_rng_state()
    first = weights(4)
    assert torch.equal(before, torch.get_rng_state())
    with pytest.raises(RuntimeError, match="inside"), seeded_initialisation(0):
        raise RuntimeError("inside")
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(1)
    assert torch.equal(first, weights(4))
    assert not torch.equal(first, weights(5))
