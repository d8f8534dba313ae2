"""Logistic regression between true and permuted pairs: its scores, its loss, its negatives."""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ParallelMLP(nn.Module):
    """Separate networks of one shape for each latent, computed at once.

    Args:
        latents: number of networks.
        widths: of the layers, the input's first; SiLU between them, which is smooth.
    """

    def __init__(self, latents: int, *widths: int) -> None:
        super().__init__()
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for before, after in pairwise(widths):
            bound = 1 / math.sqrt(before)  # as torch initialises a linear layer
            self.weights.append(torch.empty(latents, before, after).uniform_(-bound, bound))
            self.biases.append(torch.empty(latents, after).uniform_(-bound, bound))

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs ``[B, latents, last width]`` of inputs ``[B, latents, first width]``."""
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            inputs = torch.einsum("bli,lio->blo", F.silu(inputs) if i else inputs, weight) + bias
        return inputs


class LabelScores(nn.Module):
    """r(y, u) = Σ_i ψ_i(y_i, u) + a(y) + b(u) for an auxiliary variable u of categories.

    Source: Hyvärinen, Sasaki & Turner (2019), arXiv:1805.08651. ψ_i is the inner product of
    features of y_i, by a small network, with a vector of u. At the optimum of
    :func:`logistic_loss`, r = log p(y | u) - log p(y) - log(negatives); a(y) stands for log p(y),
    which is no sum over components.

    Args:
        latents: number of components.
        values: number of categories.
        hidden: width of the two layers of each component's network, and of a(y); 0: ψ_i is linear
            in y_i and there is no a(y) but a constant's, the form of TCL (Hyvärinen & Morioka
            2016, arXiv:1605.06336).
    """

    def __init__(self, latents: int, values: int, hidden: int = 10) -> None:
        super().__init__()
        n_features = hidden or 1
        self.components = ParallelMLP(latents, 1, hidden, hidden) if hidden else None
        scale = 1 / math.sqrt(latents * n_features)
        self.vectors = nn.Parameter(scale * torch.randn(values, latents, n_features))
        self.offsets = nn.Parameter(torch.zeros(values))
        self.marginal = _marginal(latents, hidden)

    def features(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """The parts that depend on y ``[B, latents]`` alone.

        Returns:
            Features of each component, ``[B, latents, hidden]``, and a(y), ``[B]``.
        """
        own = y[:, :, None]
        if self.components is not None:
            own = F.silu(self.components(own))
        return own, self.marginal(y)[:, 0]

    def score(self, features: tuple[Tensor, Tensor], u: Tensor) -> Tensor:
        """r ``[B]`` of features of y and categories u, int64 ``[B]``."""
        own, marginal = features
        return (own * self.vectors[u]).sum((1, 2)) + marginal + self.offsets[u]


class PairScores(nn.Module):
    """r(y, u) = Σ_i ψ_i(y_i, u_i) + a(y) + a(u) for an auxiliary variable that is another code.

    Source: Gresele, Rubenstein, Mehrjou, Locatello & Schölkopf (2019), arXiv:1905.06642: nonlinear
    ICA from two views of the same sources.

    Args:
        latents: number of components.
        hidden: width of the two layers of each component's network, and of a, at least 1.
    """

    def __init__(self, latents: int, hidden: int = 10) -> None:
        super().__init__()
        self.components = ParallelMLP(latents, 2, hidden, hidden, 1)
        self.marginal = _marginal(latents, hidden)

    def forward(self, y: Tensor, u: Tensor) -> Tensor:
        """r ``[B]`` of codes y and u, each ``[B, latents]``."""
        both = self.components(torch.stack([y, u], 2)).sum((1, 2))
        return both + (self.marginal(y) + self.marginal(u))[:, 0]


def _marginal(latents: int, hidden: int) -> nn.Module:
    if not hidden:
        return _Constant()
    return nn.Sequential(nn.Linear(latents, hidden), nn.SiLU(), nn.Linear(hidden, 1))


class _Constant(nn.Module):
    """a(y) = c."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(1, 1))

    def forward(self, y: Tensor) -> Tensor:
        return self.value.expand(len(y), 1)


def logistic_loss(positive: Tensor, negative: Tensor, known: Tensor | None = None) -> Tensor:
    """E log(1 + exp(-r)) of true pairs, plus the sum over negatives of E log(1 + exp(r)); nats.

    2 log 2 by chance with one negative. Its minimum over r is at log p(y, u) - log p(y) p(u) -
    log K.

    Args:
        positive: r of the true pairs, ``[B]``.
        negative: r of the same y with other u, ``[K, B]``.
        known: bool ``[B]``, the pairs to average over; all if not given. 0 if there is none.
    """
    precise = torch.promote_types(positive.dtype, torch.float32)
    terms = F.softplus(-positive.to(precise)) + F.softplus(negative.to(precise)).sum(0)
    if known is None:
        return terms.mean()
    return terms.where(known, 0).sum() / known.sum().clamp_min(1)


def other_rows(groups: Tensor, negatives: int) -> tuple[Tensor, Tensor]:
    """For each row, other rows of its group: the next ones of a batch, cyclically.

    Rows of a batch that was drawn at random come in random order, so that what stands in these
    rows is a draw of its own: no random numbers are needed, and none are taken from other arms.

    Args:
        groups: int64 ``[B]``; -1: of no group.
        negatives: K, the number of other rows.

    Returns:
        Rows, int64 ``[K, B]``, and the rows whose group has that many others, bool ``[B]``; the
        others' entries mean nothing.
    """
    same = groups[:, None] == groups
    position = same.tril(-1).sum(1)
    size = same.sum(1)
    step = torch.arange(1, negatives + 1, device=groups.device)[:, None]
    wanted = (position + step) % size
    found = (same & (position == wanted[..., None])).int().argmax(2)
    return found, (groups >= 0) & (size > negatives)
