"""Errors of what a model makes of interventions on ground-truth factors."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def intervention_errors(
    name: str,
    before: NDArray[np.floating],
    after: NDArray[np.floating],
    slices: Mapping[str, tuple[int, int]],
    factors: Mapping[str, NDArray[np.floating]],
    truth: Mapping[str, NDArray[np.floating]],
) -> list[dict[str, Any]]:
    """The mean absolute error of each factor as it is read from codes after an intervention.

    A factor is read from its own latents by the least squares fit to the codes before. A perfect
    model's errors are 0 for the factor that is set, its effects, and all others; effects that do
    not follow leave the error of the images before.

    Args:
        name: of the factor that is set.
        before: codes of the images as the model draws them, ``[n, latent_dim]``.
        after: codes of the images that the model imagines, ``[n, latent_dim]``.
        slices: factor -> (start, stop) of its latents.
        factors: factor -> ``[n]``, of the images.
        truth: factor -> ``[n]``, after the intervention.

    Returns:
        for each factor an entry as of a :data:`Measure`: its error in percent of its range among
        the images as ``target``, and that of the images before as ``other``.
    """
    measured = []
    for factor, (start, stop) in slices.items():
        inputs, again = (
            np.column_stack([codes[:, start:stop], np.ones(len(codes))])
            for codes in (before, after)
        )
        fit = np.linalg.lstsq(inputs, factors[factor], rcond=None)[0]
        spread = float(np.ptp(factors[factor])) or 1.0
        errors = [np.abs(x @ fit - truth[factor]).mean() / spread for x in (again, inputs)]
        measured.append(
            {
                "measure": f"do({name}): error of {factor}, in percent of its range",
                "unit": "%",
                "target": round(100 * float(errors[0]), 3),
                "other": round(100 * float(errors[1]), 3),
            }
        )
    return measured
