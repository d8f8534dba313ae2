"""Agreement of several generative models on what their codes change: unsupervised selection."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guided.errors import InputError
from guided.metrics.factor_arrays import Floats
from guided.metrics.fixed_factor import FixedFactorSampler, factor_vae_score

OVERALL = 512
"""At most so many images for the spread of latents over all: 3 % of error, which no vote minds."""

Encode = Callable[[Any], NDArray[np.floating]]
"""Latents ``[n, d]`` of any model's images."""


@dataclass(frozen=True)
class GenerativeModel:
    """A model as the others see it.

    Args:
        codes: number of independent codes that it makes images of; leave dead latents out.
        decode: images of codes ``[n, codes]``, standard normal.
        encode: latents ``[n, d]`` of any model's images.
    """

    codes: int
    decode: Callable[[Floats], Any]
    encode: Encode


def model_centrality(
    models: Sequence[GenerativeModel], seed: int = 0, *, votes: int = 30, size: int = 32
) -> tuple[Floats, Floats]:
    """The mean agreement of each model with the others; the most central is the one to choose.

    Source: Lin et al. (2020), arXiv:1906.06034: ModelCentrality. A_ij is the FactorVAE score of
    model j's latents on model i's images, whose codes are taken for the truth;
    ``B = (A + Aᵀ) / 2``, and a model's score is its mean B with the others.

    Differs from the authors' code: votes are tested on others than made the majority, latents of
    hardly any spread do not vote, and the codes are those of the caller's choice, so that dead ones
    need not count. A vote saturates: codes that are turned by less than 45° still agree wholly.

    Args:
        models: at least two, each with at least two codes.
        seed: of the codes.
        votes: for each code of a model.
        size: images of a vote.

    Returns:
        the scores ``[models]`` and A ``[models, models]``, 0 … 1, with 1 on its diagonal.

    Raises:
        InputError: fewer than two models, or a model of fewer than two codes.
    """
    if len(models) < 2 or any(model.codes < 2 for model in models):
        raise InputError("model_centrality: expected at least two models of at least two codes")
    n = len(models)
    agreement = np.eye(n)
    for i, model in enumerate(models):
        others = [j for j in range(n) if j != i]
        agreement[i, others] = agreement_with(
            model, [models[j].encode for j in others], seed, votes=votes, size=size
        )
    both = (agreement + agreement.T) / 2
    return (both.sum(1) - 1) / (n - 1), agreement


def agreement_with(
    model: GenerativeModel, encoders: Iterable[Encode], seed: int = 0, *, votes: int, size: int = 32
) -> list[float]:
    """One row of A of :func:`model_centrality`: how well others find a model's codes again.

    Args:
        model: whose images all others see; of at least two codes.
        encoders: of the others.
        seed, votes, size: as for :func:`model_centrality`.

    Returns:
        0 … 1 for each encoder.
    """
    images = _Images(model)
    total = votes * model.codes
    overall = min(total * size, OVERALL)
    return [
        factor_vae_score(
            images.seen_by(encode), model.codes, seed, votes=total, size=size, overall=overall
        )
        for encode in encoders
    ]


class _Images:
    """A model's images for each call of a sampler; the calls of one seed are always the same."""

    def __init__(self, model: GenerativeModel) -> None:
        self.model = model
        self._kept: dict[int | None, Any] = {}

    def seen_by(self, encode: Encode) -> FixedFactorSampler:
        def sample(
            factor: int | None, batches: int, size: int, rng: np.random.Generator
        ) -> NDArray[np.floating]:
            codes = rng.standard_normal((batches, size, self.model.codes))
            if factor is not None:
                codes[..., factor] = codes[:, :1, factor]
            if factor not in self._kept:
                self._kept[factor] = self.model.decode(codes.reshape(-1, self.model.codes))
            latents = np.asarray(encode(self._kept[factor]))
            return latents.reshape(batches, size, -1)

        return sample
