"""Prototypical networks whose prototypes also use the queries: transductive."""

import torch
from torch import Tensor

from fewshot.episodes import Episodes
from fewshot.learners.base import BatchNormPolicy
from fewshot.learners.prototypical import Prototypical
from fewshot.learners.similarity import Metric, similarity
from guided.encoder import Encoder
from guided.errors import check_positive


class RefinedPrototypical(Prototypical):
    """Moves each prototype towards the queries that it probably is the prototype of, some times.

    Source: Ren et al. (2018), arXiv:1803.00676, §3.1.1, equation 3 (soft k-means), with an
    episode's own queries as the unlabelled images. Transductive: all queries of an episode are
    seen together, so its errors are not comparable with an inductive learner's.

    Args:
        encoder: images to embeddings.
        steps: of soft k-means; the paper has 1.
        metric: squared Euclidean distance or cosine similarity.
        temperature: divides the scores, in the assignments too.
        learn_temperature: meta-train it too, from there.
        batch_norm: where batch norm takes its statistics; see :class:`Learner`.
    """

    transductive = True

    def __init__(
        self,
        encoder: Encoder,
        *,
        steps: int = 1,
        metric: Metric = "squared_euclidean",
        temperature: float = 1.0,
        learn_temperature: bool = False,
        batch_norm: BatchNormPolicy = "frozen",
    ) -> None:
        super().__init__(
            encoder,
            metric=metric,
            temperature=temperature,
            learn_temperature=learn_temperature,
            batch_norm=batch_norm,
        )
        check_positive("RefinedPrototypical", steps=steps)
        self.steps = steps

    def logits(self, episodes: Episodes) -> Tensor:
        embedded = self.embed(episodes)
        support, query = embedded.support, embedded.query.flatten(1, 2)
        if self.metric == "cosine":
            support, query = (torch.nn.functional.normalize(x, dim=-1) for x in (support, query))
        labelled, n_shot = support.sum(2), support.shape[2]
        prototypes = labelled / n_shot
        for _ in range(self.steps):
            shares = self.temperature(similarity(query, prototypes, self.metric)).softmax(2)
            found = labelled + shares.transpose(1, 2) @ query
            prototypes = found / (n_shot + shares.sum(1).unsqueeze(2))
        return self.temperature(similarity(query, prototypes, self.metric))
