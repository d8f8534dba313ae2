"""Likelihoods p(x|z): scores of images under a decoder's output, in nats per image."""

import math
from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from guided.ranges import Checked, Positive


class Likelihood(Checked, nn.Module, ABC):
    """Scores images ``[B, C, H, W]`` in [0, 1] under a decoder's unbounded output."""

    @abstractmethod
    def nll(self, decoded: Tensor, images: Tensor) -> Tensor:
        """-log p(x|z), nats per image, ``[B]``."""

    @abstractmethod
    def mean(self, decoded: Tensor) -> Tensor:
        """The expected image, ``[B, C, H, W]``."""


class Bernoulli(Likelihood):
    """Independent Bernoulli pixels with the decoded values as logits; for ink on paper.

    Grey values are taken as probabilities, as is common: the score is then a cross-entropy, which
    bounds no code length and is comparable only between models.
    """

    def nll(self, decoded: Tensor, images: Tensor) -> Tensor:
        loss = F.binary_cross_entropy_with_logits(decoded, images, reduction="none")
        return loss.flatten(1).sum(1)

    def mean(self, decoded: Tensor) -> Tensor:
        return decoded.sigmoid()


class Gaussian(Likelihood):
    """Independent Gaussian pixels around the decoded values; for natural images.

    Args:
        scale: standard deviation in units of the [0, 1] intensity range, > 0.
        learned: fit one scale for all pixels, starting there (σ-VAE, Rybkin et al. 2021,
            arXiv:2006.13202, §3.1).
    """

    def __init__(self, *, scale: Positive = 0.1, learned: bool = True) -> None:
        super().__init__()
        log_scale = torch.tensor(math.log(scale))
        if learned:
            self.log_scale = nn.Parameter(log_scale)
        else:
            self.register_buffer("log_scale", log_scale)

    def nll(self, decoded: Tensor, images: Tensor) -> Tensor:
        deviation = (images - decoded) * (-self.log_scale).exp()
        constant = self.log_scale + 0.5 * math.log(2 * math.pi)
        return (0.5 * deviation.square() + constant).flatten(1).sum(1)

    def mean(self, decoded: Tensor) -> Tensor:
        return decoded
