"""Scores of encoders: without labels, and against ground-truth factors."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fewshot.data.bank import ImageBank
from fewshot.study.select.candidates import LEAST, Candidate
from guided.decoder import Decoder
from guided.encoder import Encoder
from guided.finite import check_embeddings
from guided.metrics import GenerativeModel, disentanglement_scores
from guided.metrics.centrality import agreement_with
from guided.metrics.udr import udr_pairs
from guided.vae import Posterior

Floats = NDArray[np.float64]

BATCH = 1024
LEAST_KL = 0.01
MOST_CODES = 16


@dataclass(frozen=True)
class Seen:
    """Images as one encoder sees them.

    Attributes:
        means: of the posterior, ``[n, latent_dim]``.
        kl: mean KL of each latent in nats, ``[latent_dim]``.
    """

    means: Floats
    kl: Floats

    @staticmethod
    def whole(means: Floats) -> "Seen":
        """Codes that all count."""
        return Seen(means, np.full(means.shape[1], np.inf))

    @property
    def live(self) -> NDArray[np.int64]:
        """The latents that carry information, those of largest KL first."""
        order = np.argsort(-self.kl, kind="stable")
        return order[self.kl[order] > LEAST_KL]


@torch.no_grad()
def see(encoder: Encoder, images: Tensor, device: str = "cpu") -> Seen:
    """The posterior means of images and the KL of the latents.

    Args:
        encoder: with latents.
        images: uint8 ``[n, C, H, W]``.
        device: where to encode.
    """
    encoder.to(device)
    parts = [Posterior(*encoder.moments(part.to(device))) for part in images.split(BATCH)]
    check_embeddings(torch.cat([part.mean for part in parts]))
    kl = torch.cat([part.kl().double().cpu() for part in parts]).mean(0)
    return Seen(torch.cat([part.mean.double().cpu() for part in parts]).numpy(), kl.numpy())


def udr(seen: Sequence[Seen], n: int) -> dict[str, Floats]:
    """UDR of each model, whose partners are all others of the first n.

    Source: see :func:`.udr_scores`. Latents whose mean KL is at most 0.01 nat take no part.

    Args:
        seen: the same images, by each model.
        n: at least three; those that follow are no one's partners.

    Returns:
        ``udr_lasso`` and ``udr_spearman``, each ``[len(seen)]``.
    """
    means, kl = [one.means for one in seen], [one.kl for one in seen]
    relations: tuple[Literal["lasso", "spearman"], ...] = ("lasso", "spearman")
    found = {}
    for relation in relations:
        pairs = udr_pairs(means, kl, relation=relation, least_kl=LEAST_KL)[:, :n]
        pairs[np.arange(n), np.arange(n)] = np.nan
        found[f"udr_{relation}"] = np.nanmedian(pairs, axis=1)
    return found


def usual_votes(n: int) -> int:
    """Votes of ModelCentrality for each code of a model: 480 over all n models, 5 to 20 with each.

    A model's centrality is a mean over all others, so that with more of them each may be asked
    less: with 48 models of ten codes, the standard error that voting leaves is below 0.01.
    """
    return min(20, max(5, 480 // n))


def agreement_row(
    candidates: Sequence[Candidate],
    seen: Sequence[Seen],
    row: int,
    seed: int,
    *,
    votes: int,
    device: str = "cpu",
) -> list[float | None]:
    """The agreement of all others with one model on its images: a row of A of ModelCentrality.

    Source: see :func:`.model_centrality`. A model's codes are its latents of largest KL, 16 at
    most; its others are 0, the prior's mean.

    Args:
        candidates: the models.
        seen: any images, by each.
        row: the model's position.
        seed: of the codes.
        votes: for each code of the model.
        device: where to compute.

    Returns:
        for each candidate; 1 for itself, None where one of the two has no decoder or fewer than
        two live latents.
    """
    able = [bool(c.decoder) and len(s.live) > 1 for c, s in zip(candidates, seen, strict=True)]
    found: list[float | None] = [None] * len(candidates)
    if not able[row]:
        return found
    others = [j for j, yes in enumerate(able) if yes and j != row]
    model = _model(candidates[row], seen[row], device)
    encoders = (
        partial(_encode, candidates[j].encoder.to(device), np.sort(seen[j].live), device)
        for j in others
    )
    found[row] = 1.0
    agreed = agreement_with(model, encoders, seed, votes=votes)
    for j, value in zip(others, agreed, strict=True):
        found[j] = value
    return found


@dataclass(frozen=True)
class Centrality:
    """ModelCentrality of each candidate; NaN where there is none.

    Attributes:
        all: with all other candidates.
        other_arms: with those of other arms alone.
    """

    all: Floats
    other_arms: Floats

    @staticmethod
    def of(agreement: Floats, arms: Sequence[Hashable]) -> "Centrality":
        """The means of agreements in both directions.

        Args:
            agreement: A, ``[n, n]``; NaN where there is none.
            arms: of each candidate.
        """
        n = len(agreement)
        both = (agreement + agreement.T) / 2
        siblings = np.array([[one == other for other in arms] for one in arms])
        if np.isfinite(both.diagonal()).sum() < LEAST:
            both[:] = np.nan
        return Centrality(*(_means(both, ~left) for left in (np.eye(n, dtype=bool), siblings)))


def _means(values: Floats, taken: NDArray[np.bool_]) -> Floats:
    """The mean of each row's values that are taken and known."""
    known = taken & ~np.isnan(values)
    number = known.sum(1)
    sums = np.where(known, values, 0).sum(1)
    return np.where(number > 0, sums / np.maximum(number, 1), np.nan)


def _model(candidate: Candidate, seen: Seen, device: str) -> GenerativeModel:
    assert candidate.decoder is not None
    codes, live = seen.live[:MOST_CODES], np.sort(seen.live)
    decoder = candidate.decoder.to(device)
    return GenerativeModel(
        len(codes),
        partial(_decode, decoder, codes, device),
        partial(_encode, candidate.encoder.to(device), live, device),
    )


@torch.no_grad()
def _decode(decoder: Decoder, places: NDArray[np.int64], device: str, codes: Floats) -> Tensor:
    """Images uint8, like those that encoders are trained on, and a quarter of the memory."""
    parts = []
    for part in torch.from_numpy(codes).float().split(BATCH):
        z = torch.zeros(len(part), decoder.latent_dim)
        z[:, torch.from_numpy(places)] = part
        parts.append((255 * decoder(z.to(device)).clamp(0, 1)).round().byte())
    return torch.cat(parts)


@torch.no_grad()
def _encode(encoder: Encoder, places: NDArray[np.int64], device: str, images: Tensor) -> Floats:
    parts = [encoder(part.to(device)).cpu() for part in images.split(BATCH)]
    means: Floats = torch.cat(parts)[:, torch.from_numpy(places)].double().numpy()
    return means


def factors_of(bank: ImageBank) -> Floats | None:
    """The ground-truth factors that vary, ``[n, k]``; None if fewer than two do."""
    columns = [column.double().numpy() for column in bank.factors.values()]
    columns = [column for column in columns if np.ptp(column) > 0]
    return np.column_stack(columns) if len(columns) > 1 else None


def factor_scores(
    encoder: Encoder | None,
    bank: ImageBank,
    seed: int = 0,
    device: str = "cpu",
    *,
    every: bool = False,
) -> dict[str, float]:
    """Scores of an encoder's live latents against the ground-truth factors of a bank.

    Args:
        encoder: None: the factors themselves are scored, for scale.
        bank: images; all are encoded. At least two of its factors vary.
        seed: of what the scores draw.
        device: where to encode.
        every: take all latents; those of an untrained encoder tell something of the images, though
            its posterior is nearly the prior.

    Returns:
        score -> value; none for an encoder without live latents.
    """
    factors = factors_of(bank)
    assert factors is not None
    if encoder is None:
        return disentanglement_scores(factors, factors, seed)
    seen = see(encoder, bank.images, device)
    codes = seen.means if every else seen.means[:, np.sort(seen.live)]
    return disentanglement_scores(codes, factors, seed) if codes.shape[1] else {}
