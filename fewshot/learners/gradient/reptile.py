"""Reptile: steps towards the weights at which the training on each episode ends."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewshot.episodes import Episodes
from fewshot.learners.gradient.adaptation import adapt, vectorised_training
from fewshot.learners.gradient.base import MetaLearner
from fewshot.learners.gradient.cores import WithGradients, over_cores
from guided.encoder import Encoder
from guided.ranges import Count


class Reptile(MetaLearner, fixed=["first_order"]):
    """Meta-trains by θ ← θ + ε · mean(θ_K - θ), θ_K after K steps on all of an episode's images.

    Source: Nichol et al. (2018), arXiv:1803.02999, algorithm 2; the outer optimizer takes θ - θ_K
    as the gradient, as §2 proposes. Evaluated like MAML.

    Differs from the paper: every inner step sees all images of the episode, support and query.

    Args:
        encoder: images to embeddings.
        steps: inner steps, at least 1.
        settings: those of :class:`MetaLearner` and :class:`GradientLearner` but ``first_order``.
    """

    def __init__(self, encoder: Encoder, *, steps: Count = 5, **settings: Any) -> None:
        super().__init__(encoder, steps=steps, first_order=True, **settings)

    def loss(self, episodes: Episodes) -> Tensor:
        """Cross-entropy of an episode's images at θ_K; its gradient is mean(θ - θ_K)."""
        with torch.no_grad():
            value, moves = self._trained(episodes)
        parameters = dict(self.named_parameters())
        gradients = [moves.get(name) for name in parameters]
        result: Tensor = WithGradients.apply(value, gradients, *parameters.values())
        return result

    def _trained(self, episodes: Episodes) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss at θ_K and θ - θ_K of every adapted parameter, averaged over the episodes."""
        images = torch.cat(self._inputs(episodes), 1)
        labels = torch.cat([episodes.support_labels(), episodes.query_labels()])
        network = self._network(episodes.n_way)
        loop = self._loop(network, images[0], labels)
        starts = {name: p for name, p in network.named_parameters() if name in loop.rates}
        if loop.engine == "vectorised":
            ends, losses = vectorised_training(network, loop, images, labels)
            moves = {name: (start - ends[name]).mean(0) for name, start in starts.items()}
            return losses.mean(), moves

        def task(own: nn.Module, e: int) -> tuple[dict[str, Tensor], Tensor]:
            adapted = adapt(own, loop, images[e], labels)
            with loop.step_statistics():
                return adapted.weights, F.cross_entropy(adapted(images[e]), labels)

        total = images.new_zeros(())
        sums = {name: torch.zeros_like(start) for name, start in starts.items()}
        for end, loss in over_cores(task, network, len(images)):
            total += loss
            for name, start in starts.items():
                sums[name] += start - end[name]
        return total / len(images), {name: move / len(images) for name, move in sums.items()}
