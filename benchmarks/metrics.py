"""Seconds for metrics of disentanglement, against disent's.

    uv run --group disent benchmarks/metrics.py

10,000 codes of 10 latents, 5 factors of 10 values: 5 latents are a factor and noise, the others
noise. The peer is disent 0.8.0, which follows disentanglement_lib, by the functions of arrays that
its metrics call. One thread, processor time; ours the median of several runs, the peer's of one.

Both must have the same MIG and SAP with R², to ten digits; and the same SAP with support vector
machines and DCI with boosted trees to two digits (these are stochastic). ``sap`` and ``dci`` have
other predictors by default, thresholds and a random forest: their lines give the time of another
score than the peer's. The peer's DCI takes minutes; it is given 1,000 of the codes.

The last line is the ratio of seconds for MIG and SAP together, the peer's to ours.
"""

import argparse
import warnings
from collections.abc import Callable
from functools import partial
from time import process_time
from typing import Any

import numpy as np
from _timing import Contender, print_table, rates
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from guided import metrics
from guided.metrics.factor_arrays import split

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from disent.metrics._dci import _compute_dci
    from disent.metrics._mig import _compute_mig
    from disent.metrics._sap import _compute_sap

Arrays = tuple[NDArray[Any], NDArray[Any]]


def make(n: int, latents: int, factors: int, seed: int) -> Arrays:
    """Codes ``[n, latents]`` and factors ``[n, factors]`` of 10 values."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 10, (n, factors))
    codes = rng.normal(size=(n, latents))
    codes[:, :factors] += values
    return codes, values


def parts(codes: NDArray[Any], factors: NDArray[Any]) -> list[NDArray[Any]]:
    """Codes and factors to fit, then those to test, one row a column as disent has them."""
    return [values[rows].T for rows in split(len(codes), 0) for values in (codes, factors)]


def agree(name: str, ours: float, theirs: float, tolerance: float) -> None:
    """Print both scores.

    Raises:
        RuntimeError: they differ.
    """
    print(f"{name}: {ours:.6f}, disent {theirs:.6f}")
    if abs(ours - theirs) > tolerance:
        raise RuntimeError(f"{name} differs")


def once(run: Callable[[], Any]) -> tuple[Any, float]:
    start = process_time()
    return run(), process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description="Metrics of disentanglement, against disent.")
    parser.add_argument("--codes", type=int, default=10_000)
    parser.add_argument("--latents", type=int, default=10)
    parser.add_argument("--factors", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--boosted", type=int, default=1000, help="codes for the peer's DCI")
    arguments = parser.parse_args()
    arrays = make(arguments.codes, arguments.latents, arguments.factors, seed=0)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compare_boosting(*(values[: arguments.boosted] for values in arrays))
        compare(arrays, arguments.repeats)


def compare_boosting(codes: NDArray[Any], factors: NDArray[Any]) -> None:
    ours, seconds = once(partial(metrics.dci, codes, factors, predictor="boosting"))
    theirs, peer = once(partial(_compute_dci, *parts(codes, factors)))
    agree("disentanglement", ours.disentanglement, theirs["dci.disentanglement"], 0.02)
    agree("completeness", ours.completeness, theirs["dci.completeness"], 0.02)
    agree("informativeness", ours.informativeness, theirs["dci.informativeness_test"], 0.02)
    forest = once(partial(metrics.dci, codes, factors))[1]
    print(
        f"DCI of {len(codes):,} codes: {forest:.2f} s; boosted {seconds:.1f} s, disent {peer:.1f} s"
    )


def compare(arrays: Arrays, repeats: int) -> None:
    codes, factors = arrays
    rows = parts(codes, factors)
    peer = {
        "mig": once(partial(_compute_mig, codes.T, factors.T)),
        "sap": once(partial(_compute_sap, *rows, continuous_factors=False)),
        "sap, R²": once(partial(_compute_sap, codes.T, factors.T, None, None, True)),
    }
    agree("MIG", metrics.mig(*arrays), peer["mig"][0]["mig.discrete_score"], 1e-10)
    svm = metrics.sap(*arrays, classifier="svm")
    agree("SAP, support vector machines", svm, peer["sap"][0]["sap.score"], 0.005)
    linear = metrics.sap(*arrays, discrete=False)
    agree("SAP, R²", linear, peer["sap, R²"][0]["sap.score"], 1e-10)
    ours = {
        "mig": partial(metrics.mig, *arrays),
        "sap": partial(metrics.sap, *arrays),
        "sap, R²": partial(metrics.sap, *arrays, discrete=False),
        "dci": partial(metrics.dci, *arrays),
        "modularity": partial(metrics.modularity, *arrays),
        "explicitness": partial(metrics.explicitness, *arrays),
        "irs": partial(metrics.irs, *arrays),
        "mcc": partial(metrics.mcc, *arrays),
    }
    contenders = [Contender(name, 1, partial(once, metric)) for name, metric in ours.items()]
    rate = rates(contenders, repeats, processor_time=True)
    table = [
        (name, 1 / per_second, peer[name][1] if name in peer else "")
        for name, per_second in rate.items()
    ]
    print_table((f"{len(codes):,} codes of {codes.shape[1]}", "seconds", "disent"), table)
    together = (peer["mig"][1] + peer["sap"][1]) / (1 / rate["mig"] + 1 / rate["sap"])
    print(f"ratio {together:.2f}")


if __name__ == "__main__":
    main()
