"""Every metric of disentanglement, on codes whose scores are known."""

from functools import partial

import numpy as np
import pytest

from guided import InputError, metrics

RNG = np.random.default_rng(0)
FACTORS = RNG.integers(0, 5, (1000, 3))
NOISE = RNG.normal(size=(1000, 3))
TURNED = np.linalg.qr(RNG.normal(size=(3, 3)))[0]


def dci_part(part, codes, factors, seed=0):
    return getattr(metrics.dci(codes, factors, seed), part)


def by_batches(score, codes, factors, seed=0):
    return score(metrics.rows_with_fixed_factor(codes, factors), factors.shape[1], seed)


METRICS = {
    "mig": metrics.mig,
    "sap": metrics.sap,
    "modularity": metrics.modularity,
    "explicitness": metrics.explicitness,
    "irs": metrics.irs,
    "mcc": metrics.mcc,
    "disentanglement": partial(dci_part, "disentanglement"),
    "beta_vae": partial(by_batches, metrics.beta_vae_score),
    "factor_vae": partial(by_batches, metrics.factor_vae_score),
}
# Score of codes: those of the truth, of a constant, of the truth twice, of noise, of a rotation.
# None: nothing is claimed.
KNOWN = {
    "mig": (1, 0, 0, 0, None),
    "sap": (1, 0, 0, 0, None),
    "modularity": (1, 0, 1, None, None),
    "explicitness": (1, 0.5, 1, 0.5, None),
    "irs": (1, 0, 1, None, None),
    "mcc": (1, 0, 1, 0, None),
    "disentanglement": (1, 0, 1, None, 0.4),
    "beta_vae": (1, 1 / 3, 1, 1 / 3, None),
    "factor_vae": (1, 0, 1, 1 / 3, None),
}


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("continuous", [False, True])
def test_codes_whose_scores_are_known(name, continuous):
    """As categories, and as numbers; the latter have R² in place of accuracies."""
    factors = FACTORS / 7 if continuous else FACTORS
    codes = (FACTORS, 0 * FACTORS, np.hstack([FACTORS, FACTORS]), NOISE, FACTORS @ TURNED)
    truth, constant, twice, noise, turned = KNOWN[name]
    if name == "sap" and not continuous:
        truth = 0.8  # the second best latent is right by chance: 1/5
    for kind, expected in zip(codes, (truth, constant, twice, noise), strict=False):
        if expected is not None:
            assert METRICS[name](kind, factors) == pytest.approx(expected, abs=0.06)
    if turned is not None:
        assert METRICS[name](codes[-1], factors) < turned


@pytest.mark.parametrize("name", METRICS)
def test_order_and_sign_of_latents_do_not_matter(name):
    codes = FACTORS + 0.5 * NOISE + 0.3 * FACTORS[:, [1, 2, 0]]
    other = codes[:, [2, 0, 1]] * (-1, 1, 1)
    first, second = (METRICS[name](z, FACTORS) for z in (codes, other))
    # Bins begin at the other end; trees meet ties in another order.
    assert second == pytest.approx(first, abs=0.02)
    assert METRICS[name](codes, FACTORS) == first, "the same seed gives the same score"
    assert 0.1 < first <= 1


@pytest.mark.parametrize("name", ["mig", "mcc", "disentanglement", "irs"])
def test_a_useless_latent_costs_little_and_a_mixed_one_much(name):
    useless = METRICS[name](np.hstack([FACTORS, 1e-3 * NOISE]), FACTORS)
    mixed = METRICS[name](FACTORS @ [[1, 0.7, 0.7], [0.7, 1, -0.7], [-0.7, 0.7, 1]], FACTORS)
    assert useless > 0.95 > mixed + 0.1


@pytest.mark.parametrize(
    ("codes", "factors", "message"),
    [
        (NOISE[:, 0], FACTORS, r"got \[1000\] and \[1000, 3\]"),
        (NOISE[:5], FACTORS, r"of the same n >= 2 rows, got \[5, 3\] and \[1000, 3\]"),
        (np.where(NOISE > 3, np.nan, NOISE), FACTORS, "codes: expected finite numbers"),
        (NOISE, FACTORS[:, :0], "factors: expected finite numbers in at least one column"),
        (NOISE, FACTORS * (1, 0, 1), "factors: column 1 is constant; leave it out"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(codes, factors, message):
    for metric in METRICS.values():
        with pytest.raises(InputError, match=message):
            metric(codes, factors)


def test_all_scores_at_once_are_those_of_each():
    codes = FACTORS + NOISE
    scores = metrics.disentanglement_scores(codes, FACTORS, seed=3)
    for part in ("completeness", "informativeness"):
        assert scores.pop(part) == dci_part(part, codes, FACTORS, seed=3)
    assert scores == {name: metric(codes, FACTORS, seed=3) for name, metric in METRICS.items()}


def test_scores_that_compare_factors_need_two():
    one = FACTORS[:, :1]
    for name, message in (("modularity", "at least two factors"), ("beta_vae", "n_factors")):
        with pytest.raises(InputError, match=message):
            METRICS[name](NOISE, one)
    with pytest.raises(InputError, match="discrete: 2 flags for 3 factors"):
        metrics.mig(NOISE, FACTORS, discrete=[True, False])
