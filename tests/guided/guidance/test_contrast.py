"""Scores of pairs, against density ratios that are known."""

import math

import pytest
import torch

from guided.guidance.contrast import LabelScores, PairScores, ParallelMLP, logistic_loss, other_rows


def noise(seed=0):
    return torch.Generator().manual_seed(seed)


def fitted(scores, x, u, steps, negatives=1):
    """Scores trained on one-dimensional x, in the same order in every step, and other rows' u."""
    optimizer = torch.optim.Adam(scores.parameters(), 0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        features = scores.features(x[:, None])
        rolled = [scores.score(features, u.roll(1 + step + 7 * k)) for k in range(negatives)]
        loss = logistic_loss(scores.score(features, u), torch.stack(rolled))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return scores


DEVIATIONS = torch.tensor([1.0, 2.0])


def log_densities(x):
    """Of N(0, 1) and N(0, 4), ``[2, n]``."""
    return torch.distributions.Normal(0, DEVIATIONS[:, None]).log_prob(x)


def two_segments(n=600):
    """The quantiles of both, in random order: samples without their noise."""
    order = torch.randperm(n, generator=noise(2))
    u = torch.arange(2).repeat(n // 2)[order]
    levels = ((torch.arange(n // 2) + 0.5) / (n // 2)).repeat_interleave(2)[order]
    return DEVIATIONS[u] * torch.distributions.Normal(0, 1).icdf(levels), u


@pytest.mark.parametrize("negatives", [1, 2])
def test_scores_are_the_log_ratio_of_densities_less_the_log_of_the_negatives(negatives):
    x, u = two_segments()
    torch.manual_seed(0)
    scores = fitted(LabelScores(1, 2), x, u, 200, negatives)
    grid = torch.linspace(-4, 4, 801)
    densities = log_densities(grid)
    marginal = densities.logsumexp(0) - math.log(2)
    ratios = densities - marginal - math.log(negatives)
    with torch.no_grad():
        features = scores.features(grid[:, None])
        found = torch.stack([scores.score(features, torch.full((801,), v)) for v in (0, 1)])
    step = float(grid[1] - grid[0])
    # Under the densities: x within 4 standard deviations of the narrower.
    error = ((found - ratios).square() * densities.exp()).sum(1) * step
    assert error.mean().sqrt() < 0.05

    def expected(r):
        true = (torch.nn.functional.softplus(-r) * densities.exp()).sum(1).mean()
        other = (torch.nn.functional.softplus(r) * marginal.exp()).sum(1).mean()
        return float(true + negatives * other) * step

    assert expected(ratios) <= expected(found) < expected(ratios) + 0.002


def test_a_variable_that_says_nothing_leaves_the_loss_at_chance():
    x, u = two_segments()
    torch.manual_seed(0)
    u = u[torch.randperm(len(u), generator=noise(3))]
    scores = fitted(LabelScores(1, 2), x, u, 50)
    with torch.no_grad():
        features = scores.features(x[:, None])
        loss = logistic_loss(scores.score(features, u), scores.score(features, u.roll(1))[None])
    assert float(loss) == pytest.approx(2 * math.log(2), abs=0.01)


def test_negatives_are_other_rows_of_the_group_by_a_plain_loop():
    groups = torch.tensor([0, 2, 0, -1, 1, 0, 2, 2, -1, 0])
    rows, enough = other_rows(groups, 2)
    for i, group in enumerate(groups.tolist()):
        mine = [j for j, other in enumerate(groups.tolist()) if other == group]
        assert bool(enough[i]) == (group >= 0 and len(mine) > 2)
        if enough[i]:
            at = mine.index(i)
            assert rows[:, i].tolist() == [mine[(at + k) % len(mine)] for k in (1, 2)]


def test_the_loss_of_known_pairs_by_hand():
    positive, negative = torch.tensor([1.0, -2.0, 9.0]), torch.tensor([[0.5, 0.0, 9.0]] * 2)
    known = torch.tensor([True, True, False])
    terms = [math.log1p(math.exp(-p)) + 2 * math.log1p(math.exp(n)) for p, n in ((1, 0.5), (-2, 0))]
    assert float(logistic_loss(positive, negative, known)) == pytest.approx(sum(terms) / 2)
    assert float(logistic_loss(positive, negative, ~known | known)) > sum(terms) / 2
    assert float(logistic_loss(positive, negative, torch.zeros(3, dtype=torch.bool))) == 0


def test_components_do_not_see_each_other():
    torch.manual_seed(0)
    mlp, y = ParallelMLP(3, 2, 5, 1), torch.randn(7, 3, 2, generator=noise())
    by_hand = [
        torch.nn.functional.silu(y[:, i] @ mlp.weights[0][i] + mlp.biases[0][i]) @ mlp.weights[1][i]
        + mlp.biases[1][i]
        for i in range(3)
    ]
    assert torch.allclose(mlp(y), torch.stack(by_hand, 1), atol=1e-6)
    pairs = PairScores(3, 4)
    a, b = y[..., 0], y[..., 1]
    moved = [a.clone() for _ in range(2)]
    moved[0][:, 0] += 1  # the marginal aside, latents act one by one
    moved[1][:, 1] += 1
    both = a.clone()
    both[:, :2] += 1

    def component(first):
        return pairs(first, b) - pairs.marginal(first)[:, 0]

    effects = [component(one) - component(a) for one in (*moved, both)]
    assert torch.allclose(effects[0] + effects[1], effects[2], atol=1e-5)


def test_a_linear_score_is_an_inner_product():
    torch.manual_seed(0)
    scores, y = LabelScores(3, 4, hidden=0), torch.randn(6, 3, generator=noise())
    u = torch.tensor([0, 1, 2, 3, 0, 1])
    by_hand = (scores.vectors[:, :, 0][u] * y).sum(1) + scores.offsets[u]
    assert torch.allclose(scores.score(scores.features(y), u), by_hand, atol=1e-6)
