"""Scores of encoders: without labels, and against ground-truth factors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fewshot.data.bank import ImageBank
from fewshot.study.select.candidates import LEAST, Candidate
from guided.decoder import Decoder
from guided.encoder import Encoder
from guided.metrics import (
    GenerativeModel,
    disentanglement_scores,
    model_centrality,
    udr_scores,
)
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
    kl = torch.cat([part.kl().double().cpu() for part in parts]).mean(0)
    return Seen(torch.cat([part.mean.double().cpu() for part in parts]).numpy(), kl.numpy())


@dataclass(frozen=True)
class Scores:
    """Scores of each candidate; higher is meant to be better, NaN where there is none.

    Attributes:
        values: name of the score -> ``[candidates]``.
        live: number of latents that carry information, of each candidate.
        agreement: A of ModelCentrality, ``[candidates, candidates]``; None if it was not made.
        others: ModelCentrality with the encoders of other arms alone.
    """

    values: dict[str, Floats]
    live: list[int]
    agreement: Floats | None = None
    others: Floats | None = None


def label_free_scores(
    candidates: Sequence[Candidate],
    images: Tensor,
    seed: int = 0,
    *,
    votes: int = 20,
    device: str = "cpu",
) -> Scores:
    """UDR, ModelCentrality, and what the trainings said on their validation classes.

    Sources: see :func:`.udr_scores` and :func:`.model_centrality`. Latents whose mean KL is at most
    0.01 nat take no part. A model's codes are its latents of largest KL, 16 at most; its others
    are 0, the prior's mean.

    Args:
        candidates: at least three.
        images: uint8 ``[n, C, H, W]``, which all encode for UDR.
        seed: of the codes.
        votes: of ModelCentrality, for each code of a model.
        device: where to compute.
    """
    seen = [see(candidate.encoder, images, device) for candidate in candidates]
    means, kl = [s.means for s in seen], [s.kl for s in seen]
    values = {
        "udr_lasso": udr_scores(means, kl, least_kl=LEAST_KL),
        "udr_spearman": udr_scores(means, kl, relation="spearman", least_kl=LEAST_KL),
        "centrality": np.full(len(candidates), np.nan),
        "elbo": _column([c.elbo for c in candidates]),
        "validation": -_column([c.validation for c in candidates]),
    }
    scores = Scores(values, [len(s.live) for s in seen])
    able = [i for i, c in enumerate(candidates) if c.decoder and len(seen[i].live) > 1]
    if len(able) < LEAST:
        return scores
    models = [_model(candidates[i], seen[i], device) for i in able]
    central, agreement = model_centrality(models, seed, votes=votes)
    values["centrality"][able] = central
    whole = np.full([len(candidates)] * 2, np.nan)
    whole[np.ix_(able, able)] = agreement
    others = _without_siblings(whole, [(c.run, c.arm) for c in candidates])
    return Scores(values, scores.live, whole, others)


def _column(values: Sequence[float | None]) -> Floats:
    return np.array([np.nan if value is None else value for value in values])


def _without_siblings(agreement: Floats, arms: Sequence[tuple[str, str]]) -> Floats:
    """The mean agreement with the encoders of other arms; NaN where there is none."""
    both = (agreement + agreement.T) / 2
    found = []
    for arm, row in zip(arms, both, strict=True):
        others = row[[other != arm for other in arms]]
        others = others[~np.isnan(others)]
        found.append(others.mean() if len(others) else np.nan)
    return np.array(found)


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


def factor_scores(
    encoders: Mapping[str, Encoder], bank: ImageBank, seed: int = 0, device: str = "cpu"
) -> dict[str, dict[str, float]]:
    """Scores of encoders' live latents against the ground-truth factors of a bank.

    Args:
        encoders: name -> encoder.
        bank: images; all are encoded.
        seed: of what the scores draw.
        device: where to encode.

    Returns:
        name of an encoder -> score -> value, ``the factors themselves`` last, for scale; empty if
        the bank has fewer than two factors that vary. An encoder without live latents has none.
    """
    columns = [column.double().numpy() for column in bank.factors.values()]
    columns = [column for column in columns if np.ptp(column) > 0]
    if len(columns) < 2:
        return {}
    factors = np.column_stack(columns)
    found: dict[str, dict[str, float]] = {}
    for name, encoder in encoders.items():
        seen = see(encoder, bank.images, device)
        codes = seen.means[:, np.sort(seen.live)]
        found[name] = disentanglement_scores(codes, factors, seed) if codes.shape[1] else {}
    return found | {"the factors themselves": disentanglement_scores(factors, factors, seed)}
