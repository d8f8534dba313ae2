"""Flows along a graph of causes, against autograd and models whose answers are known."""

import pytest
import torch
from torch.autograd.functional import jacobian

from guided.errors import InputError
from guided.guidance.flows import CausalFlow, causal_order

# Not in causal order; d causes b and c, b causes a, e stands alone.
GRAPH = {"a": ["b"], "b": ["d"], "c": ["d"], "d": [], "e": []}
WIDTH = 2


@pytest.fixture(params=["symmetric", "positive"])
def flow(request):
    """In double precision, with random weights."""
    torch.manual_seed(0)
    made = CausalFlow(GRAPH, WIDTH, hidden=8, bounds=request.param).double()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return made


def draws(n, seed=0):
    numbers = torch.Generator().manual_seed(seed)
    return torch.randn(n, len(GRAPH) * WIDTH, generator=numbers, dtype=torch.float64)


def test_noise_and_log_determinant_are_those_of_autograd(flow):
    noise = draws(3)
    z = flow(noise)
    back, log_determinant = flow.noise(z)
    torch.testing.assert_close(back, noise, rtol=0, atol=1e-10)
    for row, total in zip(noise, log_determinant, strict=True):
        matrix = jacobian(lambda e: flow(e[None])[0], row)
        sign, size = torch.linalg.slogdet(matrix)
        assert sign == 1
        assert total.item() == pytest.approx(size.item(), abs=1e-10)
        blocks = matrix.reshape(5, WIDTH, 5, WIDTH).abs().amax((1, 3))
        moves = {"a": "abd", "b": "bd", "c": "cd", "d": "d", "e": "e"}
        for i, name in enumerate(GRAPH):
            for j, source in enumerate(GRAPH):
                assert (blocks[i, j] > 0) == (source in moves[name]), (name, source)


def test_an_intervention_moves_effects_alone_and_keeps_their_noise(flow):
    z, value = draws(9), draws(9, 1)[:, :WIDTH]
    after = flow.intervened(z, "b", value)
    blocks, before = (v.unflatten(1, (5, WIDTH)) for v in (after, z))
    assert torch.equal(blocks[:, 1], value)
    assert torch.equal(blocks[:, 2:], before[:, 2:])
    assert (blocks[:, 0] != before[:, 0]).all()
    noise, kept = (flow.noise(v)[0].unflatten(1, (5, WIDTH))[:, 0] for v in (after, z))
    torch.testing.assert_close(kept, noise, rtol=0, atol=1e-12)
    assert flow.effects("d") == {0, 1, 2}
    of_none = flow.intervened(z, "e", value)
    assert torch.equal(of_none[:, : 4 * WIDTH], z[:, : 4 * WIDTH])


def test_it_starts_as_the_identity_and_keeps_its_bounds():
    fresh = CausalFlow(GRAPH, WIDTH)
    z = draws(4).float()
    noise, log_determinant = fresh.noise(z)
    assert torch.equal(noise, z)
    assert not log_determinant.any()
    bounded = CausalFlow({"a": []}, bounds="positive")
    torch.nn.init.constant_(bounded.networks[0].values, 50.0)
    assert bounded.conditional(0, torch.zeros(1, 1))[0].item() == pytest.approx(1)
    free = CausalFlow({"a": []})
    torch.nn.init.constant_(free.networks[0].values, -50.0)
    scale, shift = free.conditional(0, torch.zeros(1, 1))
    assert (scale.item(), shift.item()) == (pytest.approx(-2), -50)


def test_children_of_the_same_cause_are_both_fitted():
    """A linear Gaussian model: a = 0.3 + 1.2 ε, b = 2 a + 0.5 ε, c = -2 a + 1.5 ε. One network
    for both children would give them one slope."""
    torch.manual_seed(0)
    flow = CausalFlow({"a": [], "b": ["a"], "c": ["a"]}, hidden=16)
    deviations = torch.tensor([1.2, 0.5, 1.5])

    def sample(n):
        noise = torch.randn(n, 3) * deviations
        a = 0.3 + noise[:, :1]
        return torch.cat([a, 2 * a + noise[:, 1:2], -2 * a + noise[:, 2:]], 1), noise

    def surprise(z):
        noise, log_determinant = flow.noise(z)
        return (0.5 * noise.square().sum(1) + log_determinant).mean()

    optimizer = torch.optim.Adam(flow.parameters(), 0.01, fused=True)
    steps = 300
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 0.01 * (1 - step / steps)
        optimizer.zero_grad()
        surprise(sample(512)[0]).backward()
        optimizer.step()
    with torch.no_grad():
        z, noise = sample(20_000)
        truth = 0.5 * (noise / deviations).square().sum(1).mean() + deviations.log().sum()
        assert surprise(z).item() == pytest.approx(truth.item(), abs=0.01)
        for child, slope in ((1, 2), (2, -2)):
            scale, shift = flow.conditional(child, z)
            a = z[:, 0] - z[:, 0].mean()
            found = (a @ shift[:, 0]) / (a @ a)
            assert found.item() == pytest.approx(slope, rel=0.02)
            assert scale.exp().mean().item() == pytest.approx(deviations[child].item(), rel=0.03)


def test_a_graph_has_known_causes_and_no_circles():
    order = causal_order(GRAPH)
    assert all(order.index(cause) < order.index(name) for name in GRAPH for cause in GRAPH[name])
    with pytest.raises(InputError, match="'x' is not one of the factors a, b"):
        causal_order({"a": ["x"], "b": []})
    with pytest.raises(InputError, match=r"without circles, got (a → b → a|b → a → b)"):
        causal_order({"a": ["b"], "b": ["a"]})
