"""Learners that fit a linear map to the support, against scikit-learn and torch's optimizer."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.linear_model import Ridge as Reference

from fewshot.episodes import Episodes
from fewshot.learners import R2D2, BaselinePlusPlus, LinearProbe, Ridge
from fewshot.learners.ridge import dual_ridge
from guided.errors import InputError


def ridge(pixels, penalty):
    def expected(support, query, labels):
        squared_norm = ((support - support.mean(0)) ** 2).sum(1).mean()
        reference = Reference(alpha=penalty * squared_norm).fit(support, np.eye(4)[labels])
        # Labels here sum to zero over the classes, one-hot ones to one.
        return reference.predict(query) - 1 / 4

    return Ridge(pixels, penalty=penalty), expected


def r2d2(pixels, penalty):
    def expected(support, query, labels):
        reference = Reference(alpha=penalty, fit_intercept=False).fit(support, np.eye(4)[labels])
        return 3 * reference.predict(query) + 0.5

    learner = R2D2(pixels, penalty=penalty, scale=3.0).double()
    learner.bias.data.fill_(0.5)
    return learner, expected


def linear_probe(pixels, penalty):
    def expected(support, query, labels):
        centre = support.mean(0)
        norm = np.sqrt(((support - centre) ** 2).sum(1).mean())
        settings = {"solver": "newton-cholesky", "tol": 1e-12, "max_iter": 10_000}
        reference = LogisticRegression(C=1 / penalty, **settings)
        scores = reference.fit((support - centre) / norm, labels).decision_function(
            (query - centre) / norm
        )
        return scores - scores.mean(1, keepdims=True)

    return LinearProbe(pixels, penalty=penalty), expected


def test_no_system_is_solved_in_bfloat16():
    rng = torch.Generator().manual_seed(0)
    support, query = torch.randn(2, 3, 8, 20, generator=rng).bfloat16()
    labels, penalty = torch.eye(4).repeat(2, 1), torch.tensor(0.5)
    with torch.autocast("cpu", torch.bfloat16):
        found = dual_ridge(support, query, labels, penalty)
    whole = dual_ridge(support.float(), query.float(), labels, penalty)
    torch.testing.assert_close(found, whole)


@pytest.mark.parametrize("penalty", [0.1, 1.0, 30.0])
@pytest.mark.parametrize(("shot", "d"), [(1, 10), (3, 40), (5, 2)])
@pytest.mark.parametrize(
    ("made", "atol"),
    [(ridge, 1e-9), (r2d2, 1e-6), (linear_probe, 1e-6)],  # R2D2's λ is float32
)
def test_equals_scikit_learn(pixels, make_episodes, made, penalty, shot, d, atol):
    episodes = make_episodes(shot=shot, d=d)
    learner, expected = made(pixels, penalty)
    logits = learner.logits(episodes).detach().numpy()
    if made is linear_probe:  # neither side says what to add to all classes
        logits -= logits.mean(2, keepdims=True)
    for found, support, query in zip(logits, episodes.support, episodes.query, strict=True):
        data = support.flatten(0, 1).numpy(), query.flatten(0, 1).numpy()
        reference = expected(*data, np.repeat(np.arange(4), shot))
        np.testing.assert_allclose(found, reference, rtol=10 * atol, atol=atol)


def quotient(loss, value, index, shift=1e-5):
    """The difference quotient of a loss in one entry of a tensor."""
    with torch.no_grad():
        value[index] += shift
        above = float(loss())
        value[index] -= 2 * shift
        below = float(loss())
        value[index] += shift
    return (above - below) / (2 * shift)


@pytest.mark.parametrize("penalty", [1e-4, 1e-2, 1.0, 10.0])
@pytest.mark.parametrize("d", [64, 256])
@pytest.mark.parametrize("shot", [1, 5])
def test_the_probes_weights_have_converged(pixels, make_episodes, penalty, d, shot):
    """The logits of 0 and of the unit vectors are the intercept and the weights."""
    episodes = make_episodes(e=4, way=5, shot=shot, query=15, d=d)
    noise = torch.randn(episodes.query.shape, generator=torch.Generator().manual_seed(0))
    episodes = Episodes(episodes.support, episodes.query + 4 * noise)  # some are wrong
    units = torch.cat([torch.zeros(1, d), torch.eye(d)]).expand(5, 4, -1, -1).transpose(0, 1)
    query = torch.cat([episodes.query, units], 2)
    learner, expected = linear_probe(pixels, penalty)
    logits = learner.logits(Episodes(episodes.support, query))
    single = learner.logits(Episodes(episodes.support.float(), episodes.query.float())).argmax(2)
    wrong = 0
    for i, (found, support) in enumerate(zip(logits, episodes.support, strict=True)):
        labels = np.repeat(np.arange(5), shot)
        data = support.flatten(0, 1).numpy(), query[i].flatten(0, 1).numpy()
        reference = expected(*data, labels)
        centred = (found - found.mean(1, keepdim=True)).numpy()
        np.testing.assert_allclose(centred, reference, rtol=1e-5, atol=1e-5)
        predicted = reference.argmax(1).reshape(5, -1)[:, :15].flatten()
        assert single[i].tolist() == predicted.tolist()
        wrong += (predicted != episodes.query_labels().numpy()).sum()
    assert wrong > 0, "too easy to test much"


def test_the_probe_refuses_what_cannot_converge(pixels, make_episodes):
    episodes = make_episodes(e=2, shot=20, d=2)  # no lines divide the classes
    with pytest.raises(InputError, match=r"^LinearProbe\.penalty: with 1e-30, 2 of 2 fits"):
        LinearProbe(pixels, penalty=1e-30).logits(episodes)
    episodes.support[0, 0, 0, 0] = float("nan")
    with pytest.raises(InputError, match=r"^LinearProbe: the embeddings are not finite"):
        LinearProbe(pixels).logits(episodes)


@pytest.mark.parametrize("d", [3, 10, 40])  # fewer and more than the 12 support images
@pytest.mark.parametrize("penalty", [0.01, 1.0])
def test_the_probes_gradient_is_that_of_its_solution(pixels, make_episodes, d, penalty):
    episodes = make_episodes(e=2, d=d)
    learner = LinearProbe(pixels, penalty=penalty)
    moved = Episodes(*(x.clone().requires_grad_() for x in (episodes.support, episodes.query)))
    learner.loss(moved).backward()
    for part in ("support", "query"):
        gradient, values = getattr(moved, part).grad, getattr(episodes, part)
        for index in [(0, 1, 1, 2), (1, 3, 0, 0)]:
            slope = quotient(lambda: learner.loss(episodes), values, index)
            assert float(gradient[index]) == pytest.approx(slope, rel=1e-4, abs=1e-8)


def test_r2d2_learns_its_penalty_and_scale(pixels, make_episodes):
    episodes = make_episodes()
    learner = R2D2(pixels, penalty=2.0).double()
    learner.loss(episodes).backward()
    for weight in (learner.log_penalty, learner.scale):
        slope = quotient(lambda: learner.loss(episodes), weight, ())
        assert float(weight.grad) == pytest.approx(slope, rel=1e-5)
        assert abs(slope) > 1e-6
    assert learner.bias.grad.abs() < 1e-12, "softmax does not see it"


@pytest.mark.parametrize(
    ("shot", "settings"),
    [(1, {}), (3, {}), (3, {"steps": 7, "learning_rate": 2.0, "scale": 10.0})],
)
def test_baseline_plus_plus_is_torchs_sgd(pixels, make_episodes, shot, settings):
    """From the class means of the normalised embeddings, with the constants of its authors."""
    episodes = make_episodes(shot=shot)
    logits = BaselinePlusPlus(pixels, **settings).logits(episodes)
    used = {"steps": 100, "learning_rate": 0.01, "scale": 2.0, **settings}
    constants = {"momentum": 0.9, "dampening": 0.9, "weight_decay": 0.001}
    for found, support, query in zip(logits, episodes.support, episodes.query, strict=True):
        features = F.normalize(support, dim=2)
        weights = F.normalize(features.mean(1), dim=1).requires_grad_()
        optimizer = torch.optim.SGD([weights], used["learning_rate"], **constants)

        def scores(images, weights=weights):
            cosines = F.cosine_similarity(images.flatten(0, 1)[:, None], weights[None], dim=2)
            return used["scale"] * cosines

        for _ in range(used["steps"]):
            optimizer.zero_grad()
            F.cross_entropy(scores(features), episodes.support_labels()).backward()
            optimizer.step()
        torch.testing.assert_close(found, scores(query).detach())


def test_gradient_through_the_steps_of_baseline_plus_plus(pixels, make_episodes):
    episodes = make_episodes(e=1, way=2, shot=2, query=1, d=3)
    learner = BaselinePlusPlus(pixels, steps=5, learning_rate=0.5)
    support = episodes.support.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda s: learner.logits(Episodes(s, episodes.query)), support)
