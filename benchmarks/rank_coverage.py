"""Coverage of 95 % intervals of a rank correlation over arms and their seeds, by simulation.

    uv run benchmarks/rank_coverage.py

A score and an error of three seeds of each of several arms are drawn from a normal model: effects
of arms, of a share of the variance, which correlate, and effects of seeds, which do not. The
intervals are percentiles of bootstraps: ``encoders`` draws them one by one, ``arms`` whole arms,
and ``both``, that of ``fewshot select``, arms and then seeds within each. Coverage in percent, and
the mean width, of ``both`` and of ``encoders``.
"""

import argparse

import numpy as np
from _timing import print_table

from fewshot.study.select.judge import Floats, percentiles, resampled, spearman
from guided.seeds import derive_seed

SEEDS, RESAMPLES = 3, 500


def drawn(arms: int, correlation: float, share: float, rng: np.random.Generator) -> Floats:
    """Score and error of each encoder, ``[2, arms * SEEDS]``."""
    common = rng.standard_normal(arms)
    own = rng.standard_normal((2, arms))
    # Two effects with a common part of variance |correlation|.
    signs = np.array([[1.0], [np.sign(correlation)]])
    effects = signs * np.sqrt(abs(correlation)) * common + np.sqrt(1 - abs(correlation)) * own
    seeds = rng.standard_normal((2, arms, SEEDS))
    values = np.sqrt(share) * effects[..., None] + np.sqrt(1 - share) * seeds
    return values.reshape(2, -1)


def bootstraps(arms: int, seed: int) -> dict[str, Floats]:
    """How often each encoder is in each sample, for each kind."""
    encoders = np.arange(arms * SEEDS)
    kinds = {"encoders": encoders, "arms": np.arange(arms), "both": encoders // SEEDS}
    found = {}
    for kind, of_arm in kinds.items():
        counts = resampled(of_arm.tolist(), seed, RESAMPLES)
        assert counts is not None
        found[kind] = np.repeat(counts, len(encoders) // counts.shape[1], axis=1)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Coverage of intervals of rank correlations.")
    parser.add_argument("--simulations", type=int, default=400, help="of each line")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    n = arguments.simulations
    rng = np.random.default_rng(arguments.seed)
    lines = []
    for arms in (5, 8, 16):
        for correlation, share in ((0.0, 0.8), (0.5, 0.8), (-0.9, 0.8), (0.5, 0.3)):
            # Spearman's of a normal pair, by Pearson's.
            true = 6 / np.pi * np.arcsin(correlation * share / 2)
            held, width = dict.fromkeys(("encoders", "arms", "both"), 0), {"encoders": 0.0}
            for i in range(n):
                score, error = drawn(arms, correlation, share, rng)
                for kind, counts in bootstraps(arms, derive_seed(arguments.seed, "b", i)).items():
                    low, high = percentiles(spearman(score, error, counts))
                    held[kind] += int(low <= true <= high)
                    width[kind] = width.get(kind, 0.0) + high - low
            shares = [f"{100 * count / n:.1f}" for count in held.values()]
            means = [f"{width[kind] / n:.2f}" for kind in ("both", "encoders")]
            lines.append((f"{arms}, {correlation}, {share}", *shares, *means))
    head = ("arms, correlation, share", "encoders", "arms", "both", "width", "of encoders")
    print_table(head, lines)


if __name__ == "__main__":
    main()
