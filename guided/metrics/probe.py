"""Linear probes: an attribute read from latents by a new linear classifier."""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from guided.logistic_regression import LogisticRegressions

Labelled = tuple[NDArray[np.floating], NDArray[np.integer]]


def linear_probe_error(
    features: NDArray[np.floating],
    labels: NDArray[np.integer],
    *,
    seed: int,
    test_share: float = 0.25,
    max_categories: int = 50,
) -> float:
    """Test error, in percent, of multinomial logistic regression on standardised features.

    Alain & Bengio (2016), arXiv:1610.01644: a linear probe. A share of each category's rows is
    held out; the penalty is ½ ‖W‖² beside the summed cross-entropy (scikit-learn's default).

    Args:
        features: ``[N, d]``.
        labels: ``[N]``, any integers.
        seed: chooses the held-out rows, and the categories when there are too many.
        test_share: of the rows of each category, in (0, 1).
        max_categories: keep at most so many categories, drawn at random: the time grows with
            their number, and errors are comparable only between equal numbers.

    Raises:
        ValueError: no features; fewer than two categories, or one of too few rows to hold any out.
    """
    if not features.shape[1]:
        raise ValueError("no features")
    rng = np.random.default_rng(seed)
    categories = np.unique(labels)
    if len(categories) > max_categories:
        kept = np.isin(labels, rng.permutation(categories)[:max_categories])
        features, labels = features[kept], labels[kept]
    held_out = _held_out(labels, test_share, rng)
    wrong = linear_probe_wrong(
        (features[~held_out], labels[~held_out]), (features[held_out], labels[held_out])
    )
    return float(100 * wrong.mean())


def linear_probe_wrong(train: Labelled, test: Labelled) -> NDArray[np.bool_]:
    """The test rows that the same probe gets wrong, bool ``[N_test]``, for a given split.

    Args:
        train: features ``[N, d]`` and labels ``[N]`` to fit; standardised by their own moments.
        test: features ``[N_test, d]`` and labels ``[N_test]``.
    """
    categories, scores = linear_probe_scores(train, test[0])
    wrong: NDArray[np.bool_] = categories[scores.argmax(1)] != test[1]
    return wrong


def linear_probe_scores(
    train: Labelled, features: NDArray[np.floating]
) -> tuple[NDArray[np.integer], NDArray[np.float64]]:
    """The categories ``[k]`` that the same probe knows, and its log-odds of each for new rows.

    Args:
        train: features ``[N, d]`` and labels ``[N]`` to fit; standardised by their own moments.
        features: ``[N_test, d]``.

    Returns:
        categories in ascending order, and log-odds ``[N_test, k]``, up to a constant of each row.
    """
    x, test_x = (torch.from_numpy(part).double() for part in (train[0], features))
    categories, y = np.unique(train[1], return_inverse=True)
    deviation, mean = torch.std_mean(x, 0, correction=0)
    deviation[deviation == 0] = 1  # a latent that never moves
    one_hot = F.one_hot(torch.from_numpy(y), len(categories)).double()
    weights, _ = LogisticRegressions(((x - mean) / deviation)[None], one_hot, 1.0).solve()
    scores = (test_x - mean) / deviation @ weights[0, :-1] + weights[0, -1]
    return categories, scores.numpy()


def _held_out(
    labels: NDArray[np.integer], share: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """A random share of the rows of each category, rounded.

    Raises:
        ValueError: see :func:`linear_probe_error`.
    """
    _, category, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if len(counts) < 2 or counts.min() < 2:
        raise ValueError("categories of too few rows")
    # The rank of each row among those of its category, in random order.
    order = np.lexsort((rng.random(len(labels)), category))
    ranks = np.empty(len(labels), dtype=np.int64)
    ranks[order] = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    return ranks < np.maximum(1, np.rint(share * counts)).astype(np.int64)[category]
