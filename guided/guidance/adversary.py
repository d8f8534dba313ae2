"""The terms of an adversary that must not be able to tell an attribute from some latents."""

import math

import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call


def frozen_logits(adversary: nn.Module, latents: Tensor) -> Tensor:
    """The adversary's logits, through which a gradient reaches the latents and not its weights."""
    weights = {name: value.detach() for name, value in adversary.named_parameters()}
    logits: Tensor = functional_call(adversary, weights, latents)
    return logits


def divergence_from_uniform(logits: Tensor) -> Tensor:
    """KL(uniform ‖ softmax) of logits ``[B, categories]``, nats, averaged over the batch.

    The authors' code of Guided-VAE drives a binary adversary's answer to 1/2; this is the
    cross-entropy against the uniform distribution less its minimum, the log of the number of
    categories: 0 when the adversary knows nothing.
    """
    cross_entropy = -logits.log_softmax(1).mean(1)
    return (cross_entropy - math.log(logits.shape[1])).mean()


def cross_entropy_of_known(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy over the images whose target ``[B]`` is known (not -1); 0 where none is."""
    total = F.cross_entropy(logits, targets, ignore_index=-1, reduction="sum")
    return total / (targets >= 0).sum().clamp_min(1)
