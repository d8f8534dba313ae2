"""Linear probes: an attribute read from latents by a new linear classifier."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


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
    held out; scikit-learn's default penalty (C = 1).

    Args:
        features: ``[N, d]``.
        labels: ``[N]``, any integers.
        seed: chooses the held-out rows, and the categories when there are too many.
        test_share: of the rows of each category.
        max_categories: keep at most so many categories, drawn at random: the time grows with
            their number, and errors are comparable only between equal numbers.
    """
    from sklearn.model_selection import train_test_split

    rng = np.random.default_rng(seed)
    categories = np.unique(labels)
    if len(categories) > max_categories:
        kept = np.isin(labels, rng.permutation(categories)[:max_categories])
        features, labels = features[kept], labels[kept]
    train_x, test_x, train_y, test_y = train_test_split(
        features, labels, test_size=test_share, stratify=labels, random_state=seed
    )
    return float(100 * (1 - fitted_probe(train_x, train_y).score(test_x, test_y)))


def linear_probe_wrong(
    train: tuple[NDArray[np.floating], NDArray[np.integer]],
    test: tuple[NDArray[np.floating], NDArray[np.integer]],
) -> NDArray[np.bool_]:
    """The test rows that the same probe gets wrong, bool ``[N_test]``, for a given split.

    Args:
        train: features ``[N, d]`` and labels ``[N]`` to fit; standardised by their own moments.
        test: features ``[N_test, d]`` and labels ``[N_test]``.
    """
    wrong: NDArray[np.bool_] = fitted_probe(*train).predict(test[0]) != test[1]
    return wrong


def fitted_probe(features: NDArray[np.floating], labels: NDArray[np.integer]) -> "Pipeline":
    """Multinomial logistic regression on features ``[N, d]``, which it standardises."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(features, labels)
