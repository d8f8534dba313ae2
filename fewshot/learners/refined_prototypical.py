"""Prototypical networks whose prototypes also use the queries: transductive."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from fewshot.episodes import Episodes
from fewshot.learners.prototypical import Prototypical
from fewshot.learners.similarity import similarity
from guided.encoder import Encoder
from guided.ranges import Count


class RefinedPrototypical(Prototypical):
    """Prototypical networks whose prototypes also average the queries, by soft k-means.

    Source: Ren et al. (2018), arXiv:1803.00676, §3.1.1, equation 3, with the episode's own queries
    as the unlabelled images. Transductive: it sees all queries of an episode together, so its
    errors are not comparable with those of an inductive learner.

    Args:
        encoder: images to embeddings.
        steps: iterations of soft k-means, at least 1; the paper has 1.
        settings: those of :class:`Prototypical`; ``temperature`` divides the scores of the
            assignments too.
    """

    transductive = True

    def __init__(self, encoder: Encoder, *, steps: Count = 1, **settings: Any) -> None:
        super().__init__(encoder, **settings)
        self.steps = steps

    def logits(self, episodes: Episodes) -> Tensor:
        embedded = self.embed(episodes)
        support, query = embedded.support, embedded.query.flatten(1, 2)
        if self.metric == "cosine":
            support, query = (F.normalize(x, dim=-1) for x in (support, query))
        labelled, n_shot = support.sum(2), support.shape[2]
        prototypes = labelled / n_shot
        for _ in range(self.steps):
            shares = self.temperature(similarity(query, prototypes, self.metric)).softmax(2)
            found = labelled + shares.transpose(1, 2) @ query
            prototypes = found / (n_shot + shares.sum(1).unsqueeze(2))
        return self.temperature(similarity(query, prototypes, self.metric))
