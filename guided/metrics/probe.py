"""How well a fresh linear classifier reads an attribute from some latents."""

import numpy as np
from numpy.typing import NDArray


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
        max_categories: at most so many, drawn at random: the probe's time grows with their
            number, and its error is comparable only between probes of equally many.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(seed)
    categories = np.unique(labels)
    if len(categories) > max_categories:
        kept = np.isin(labels, rng.permutation(categories)[:max_categories])
        features, labels = features[kept], labels[kept]
    train_x, test_x, train_y, test_y = train_test_split(
        features, labels, test_size=test_share, stratify=labels, random_state=seed
    )
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    probe.fit(train_x, train_y)
    return float(100 * (1 - probe.score(test_x, test_y)))
