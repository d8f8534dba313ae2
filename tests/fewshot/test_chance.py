"""Errors that guessing would make too, and errors of one answer to everything."""

import numpy as np
import pytest

from fewshot.chance import beside_chance

GUESSED = np.array([60.0, 80.0, 70.0])


@pytest.mark.parametrize(
    ("n_way", "interval", "errors", "expected"),
    [
        (5, (20.0, 30.0), GUESSED, None),
        (5, (79.0, 81.0), GUESSED, "chance"),
        (5, (79.0, 81.0), None, "chance"),
        (5, (85.0, 90.0), GUESSED, "chance"),
        (2, (79.0, 81.0), GUESSED, "chance"),
        # Rounded to four decimals, 5/6 is below itself.
        (6, (83.3333, 83.3333), None, "chance"),
        (6, (83.3333, 83.3333), np.full((2, 9), 500 / 6), "constant"),
        (3, (0.0, 0.0), np.zeros(9), None),
        (3, (66.6, 66.8), np.array([66.0, 200 / 3, 67.3]), "chance"),
    ],
)
def test_beside_chance(n_way, interval, errors, expected):
    assert beside_chance(n_way, interval, errors) == expected
