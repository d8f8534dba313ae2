"""Batches of row numbers."""

import torch

from guided.training.data import Batches


def test_each_epoch_is_a_permutation_in_whole_batches():
    batches = Batches(23, 5, seed=1, device=torch.device("cpu"))
    epochs = [torch.cat([batches[4 * e + i] for i in range(4)]) for e in range(5)]
    for epoch in epochs:
        assert len(epoch.unique()) == len(epoch) == 20
        assert 0 <= epoch.min() <= epoch.max() < 23
    assert len({tuple(epoch.tolist()) for epoch in epochs}) == 5
    assert set(torch.cat(epochs).tolist()) == set(range(23))  # the rest of an epoch comes later


def test_a_batch_is_a_function_of_seed_and_step_alone():
    def fresh(seed=1):
        return Batches(23, 5, seed, torch.device("cpu"))

    used = fresh()
    for step in (17, 0, 5, 16, 4, 5):
        assert torch.equal(used[step], fresh()[step])
    assert not torch.equal(fresh(1)[0], fresh(2)[0])
