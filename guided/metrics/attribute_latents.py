"""Measurements of latents that are named after an attribute."""

from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guided.latents import attributes_in
from guided.metrics.factor import rank_correlation
from guided.metrics.held_out import HeldOut, Slices
from guided.metrics.probe import linear_probe_error


def follow_factors(held_out: HeldOut, slices: Slices) -> list[dict[str, Any]]:
    """The rank correlation of a slice's best latent with its factor, beside all other latents.

    Slices that are not named after a ground-truth factor, or that hold every latent, are left out.
    """
    latents = held_out.latents
    measured = []
    for name, (start, stop) in slices.items():
        if name not in held_out.factors or stop - start == latents.shape[1]:
            continue
        followed = np.abs(rank_correlation(latents, held_out.factors[name].numpy()))
        others = np.delete(followed, slice(start, stop))
        measured.append(
            {
                "measure": f"rank correlation of a latent with the factor {name}",
                "unit": "",
                "target": round(float(followed[start:stop].max()), 4),
                "other": round(float(others.mean()), 4),
                "other_max": round(float(others.max()), 4),
                "latents": [start, stop],
            }
        )
    return measured


def probe_attributes(held_out: HeldOut, slices: Slices) -> list[dict[str, Any]]:
    """The error of a linear probe of each attribute in its slice, and in all other latents.

    Left out is what cannot be probed: a factor that is no attribute; an attribute of one category,
    or of categories of too few images; a slice of all latents.
    """
    latents = held_out.latents
    measured = []
    for name, (start, stop) in slices.items():
        if not held_out.targets.keys() >= set(attributes_in(name)):
            continue
        inside = list(range(start, stop))
        outside = [i for i in range(latents.shape[1]) if i not in inside]
        try:
            own, rest = (
                _probe_error(latents[:, part], held_out, name) for part in (inside, outside)
            )
        except ValueError:
            continue
        measured.append(
            {
                "measure": f"linear probe of {name}, error in percent",
                "unit": "%",
                "target": round(own, 3),
                "other": round(rest, 3),
                "latents": [start, stop],
            }
        )
    return measured


def _probe_error(latents: NDArray[np.floating], held_out: HeldOut, name: str) -> float:
    """Of an attribute; of one within another, the mean over the other's values.

    Raises:
        ValueError: nothing can be measured.
    """
    attribute, *within = attributes_in(name)
    labels = held_out.targets[attribute].numpy()
    groups = held_out.targets[within[0]].numpy() if within else np.zeros_like(labels)
    errors = []
    for group in np.unique(groups):
        inside = groups == group
        with suppress(ValueError):  # an alphabet of few characters; the others still tell
            errors.append(linear_probe_error(latents[inside], labels[inside], seed=held_out.seed))
    if not errors:
        raise ValueError(f"{name}: categories of too few images")
    return float(np.mean(errors))
