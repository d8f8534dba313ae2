"""Coverage of the 95 % intervals, by simulation, beside other intervals for the same data.

    uv run benchmarks/coverage.py

Errors ``[seeds, episodes]`` are drawn from known models, again and again, and the share of the
intervals that hold the true mean is counted. ``crossed`` is that of ``fewshot.statistics``;
``nested`` resamples seeds and then episodes within each (percentiles); ``pigeonhole`` resamples
seeds and episodes independently (Owen 2007, Annals of Applied Statistics 1, 386-411);
``Satterthwaite`` is Student's t with the degrees of freedom of the estimated variance.

The bootstraps resample the seeds; given these, the mean over resampled episodes is drawn from the
normal distribution with its exact mean and variance, which it nearly has at 1,000 episodes, in
place of 1,000 draws.
"""

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, stdtrit

from fewshot.environment import hardware, versions
from fewshot.statistics import (
    Crossed,
    Interval,
    around,
    class_variance,
    new_classes_interval,
    t_interval,
)
from fewshot.study.text import markdown
from guided.storage.files import write_json

Values = NDArray[np.float64]
Model = Callable[[np.random.Generator, int, int], Values]

RESAMPLES = 500
SEEDS = (2, 3, 5, 10)
QUERIES = 75
N_CLASSES, N_WAY = 20, 5
SHORT = {"t over seeds": "seeds", "t over episodes": "episodes", "Satterthwaite": "Satterthw."}


def additive(seed: float, episode: float, rest: float, skewed: str = "") -> Model:
    """Effects with a mean of 0 and these standard deviations; the skewed are exponential."""

    def effect(rng: np.random.Generator, name: str, sd: float, shape: tuple[int, int]) -> Values:
        draws = rng.exponential(size=shape) - 1 if name in skewed else rng.standard_normal(shape)
        return sd * draws

    def draw(rng: np.random.Generator, seeds: int, episodes: int) -> Values:
        values = effect(rng, "rest", rest, (seeds, episodes))
        values += effect(rng, "seed", seed, (seeds, 1))
        values += effect(rng, "episode", episode, (1, episodes))
        return values

    return draw


def counts(*errors: float, hardness: float = 1.0, seed: float = 0.15) -> Model:
    """Error in percent of an arm, or of the first less the second, less the true mean.

    Wrong queries are binomial. Their log-odds are the arm's, the episode's hardness, which all
    seeds and arms share, and an effect of each arm's seed.
    """
    levels = [_log_odds(error / 100, math.hypot(hardness, seed)) for error in errors]
    truth = errors[0] - sum(errors[1:])

    def draw(rng: np.random.Generator, seeds: int, episodes: int) -> Values:
        hard = hardness * rng.standard_normal((1, episodes))
        arms = [
            rng.binomial(QUERIES, expit(level + hard + seed * rng.standard_normal((seeds, 1))))
            for level in levels
        ]
        return 100 / QUERIES * (arms[0] - sum(arms[1:])) - truth

    return draw


def _log_odds(error: float, sd: float) -> float:
    """The log-odds around which normal ones of this spread have this mean error."""
    from scipy.optimize import brentq

    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    weights = weights / weights.sum()
    return float(brentq(lambda level: expit(level + sd * nodes) @ weights - error, -30, 30))


MODELS: dict[str, tuple[Model, int]] = {
    "normal 1 / 5 / 8": (additive(1, 5, 8), 1000),
    "normal 0 / 5 / 8": (additive(0, 5, 8), 1000),
    "normal 0.3 / 10 / 5": (additive(0.3, 10, 5), 1000),
    "counts, 1 % less 2 %": (counts(1, 2), 1000),
    "counts, 0.1 %": (counts(0.1), 1000),
    "skewed episodes": (additive(1, 5, 8, "episode rest"), 1000),
    "skewed seeds too": (additive(1, 5, 8, "seed episode rest"), 1000),
    "20 episodes": (additive(1, 5, 8), 20),
}


def satterthwaite(crossed: Crossed) -> Interval:
    n_values = crossed.n_seeds * crossed.n_episodes
    s, e = crossed.n_seeds - 1, crossed.n_episodes - 1
    squares = np.array([crossed.ms_seed, crossed.ms_episode, -crossed.ms_rest])
    total = max(float(squares.sum()), 0.0)
    freedom = max(total**2 / float((squares**2 / (s, e, s * e)).sum()), 1e-3)
    quantile = -float(stdtrit(freedom, 0.025)) if total else 0.0
    return around(crossed.mean, quantile * math.sqrt(total / n_values))


def bootstraps(values: Values, rng: np.random.Generator) -> dict[str, Interval]:
    """Percentile intervals of the nested and of the pigeonhole bootstrap."""
    seeds, episodes = values.shape
    drawn = rng.multinomial(seeds, np.full(seeds, 1 / seeds), RESAMPLES)
    centre = drawn @ values.mean(1) / seeds
    covariance = np.cov(values, ddof=0)
    variances = {
        "nested": drawn @ covariance.diagonal(),
        "pigeonhole": ((drawn @ covariance) * drawn).sum(1),
    }
    noise = rng.standard_normal(RESAMPLES)
    found = {}
    for name, variance in variances.items():
        means = centre + noise * np.sqrt(variance / episodes) / seeds
        low, high = np.percentile(means, [2.5, 97.5])
        found[name] = float(low), float(high)
    return found


def cell(model: Model, seeds: int, episodes: int, n: int, rng: np.random.Generator) -> Any:
    """Coverage of each method, and how much wider crossed is than t over seeds, in percent."""
    held: dict[str, int] = {}
    width = {"crossed": 0.0, "t over seeds": 0.0}
    for _ in range(n):
        values = model(rng, seeds, episodes)
        crossed = Crossed.of(values)
        over_seeds, over_episodes = t_interval(values.mean(1)), t_interval(values.mean(0))
        assert over_seeds and over_episodes
        intervals = {
            "crossed": crossed.interval,
            "t over seeds": over_seeds,
            "t over episodes": over_episodes,
            **bootstraps(values, rng),
            "Satterthwaite": satterthwaite(crossed),
        }
        for name, (low, high) in intervals.items():
            held[name] = held.get(name, 0) + (low <= 0 <= high)
        for name in width:
            width[name] += intervals[name][1] - intervals[name][0]
    coverage = {name: round(100 * count / n, 1) for name, count in held.items()}
    return coverage | {"wider": round(100 * (width["crossed"] / width["t over seeds"] - 1), 1)}


def class_cell(
    classes_sd: float, pairs_sd: float, episodes: int, n: int, rng: np.random.Generator
) -> Any:
    """Coverage of the mean over all classes that there might be, with 3 seeds, in percent.

    An episode's error has the mean effect of its classes and of their pairs, and the effects of
    ``normal 1 / 5 / 8``.
    """
    noise = additive(1, 5, 8)
    held, found = np.zeros(2), 0.0
    for _ in range(n):
        classes = rng.permuted(np.tile(np.arange(N_CLASSES), (episodes, 1)), axis=1)[:, :N_WAY]
        alone = classes_sd * rng.standard_normal(N_CLASSES)
        pairs = np.triu(pairs_sd * rng.standard_normal((N_CLASSES, N_CLASSES)), 1)
        pairs += pairs.T
        shared = pairs[classes[:, :, None], classes[:, None, :]].sum((1, 2))
        values = noise(rng, 3, episodes) + alone[classes].mean(1) + shared / (N_WAY * (N_WAY - 1))
        crossed = Crossed.of(values)
        further = new_classes_interval(crossed, values, classes, N_CLASSES)
        assert further
        held += [low <= 0 <= high for low, high in (crossed.interval, further)]
        found += class_variance(values, classes, N_CLASSES) or 0.0
    plain, new = (100 * held / n).round(1).tolist()
    true = classes_sd**2 / N_CLASSES + pairs_sd**2 / math.comb(N_CLASSES, 2)
    return {"these": plain, "new": new, "V": round(found / n, 2), "true V": round(true, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description="Coverage of the 95 % intervals.")
    parser.add_argument("--simulations", type=int, default=2000, help="of each cell")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", default="runs/published/coverage.json")
    arguments = parser.parse_args()
    rng, n, start = np.random.default_rng(arguments.seed), arguments.simulations, perf_counter()
    cells = []
    for seeds in SEEDS:
        for name, (model, episodes) in MODELS.items():
            methods = cell(model, seeds, episodes, n, rng)
            cells.append({"data": name, "seeds": seeds, "episodes": episodes} | methods)
        print(f"{seeds} seeds")
        show(cells[-len(MODELS) :])
    classes = []
    for episodes in (600, 1000):
        for sd, pairs in ((0, 0), (2, 0), (5, 0), (10, 0), (5, 10)):
            where = {"sd of classes": sd, "pairs": pairs, "episodes": episodes}
            classes.append(where | class_cell(sd, pairs, episodes, n, rng))
    print(f"{N_WAY} of {N_CLASSES} classes in each episode, 3 seeds")
    show(classes)
    results = {
        "coverage": cells,
        "classes": classes,
        "versions": versions(),
        "hardware": hardware("cpu"),
        "seconds": perf_counter() - start,
        "config": vars(arguments) | {"resamples": RESAMPLES},
    }
    write_json(Path(arguments.output), results)


def show(lines: list[dict[str, Any]]) -> None:
    names = [name for name in lines[0] if name != "seeds"]
    if "data" in names:
        names.remove("episodes")
    head = [SHORT.get(name, name) for name in names]
    print(markdown(head, [[str(line[name]) for name in names] for line in lines]), flush=True)


if __name__ == "__main__":
    main()
