"""Costs of deforming images into one another, computed once for all encoders of a study."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from fewshot.config import describe, made_by, settings_of
from fewshot.data.bank import ImageBank
from fewshot.evaluation import matching_costs, table_for
from fewshot.learners.deformation_matching import DeformationMatching
from fewshot.sampler import EpisodeSampler
from fewshot.study.cells import Cell, Cells
from fewshot.study.learner_config import LearnerConfig
from guided.backbones.pixels import Pixels
from guided.encoder import Encoder
from guided.storage.files import read_arrays, write_arrays

FILE = "costs.npz"

OF_SCORES = frozenset(
    {"weight", "cosine", "relative", "temperature", "learn_temperature", "batch_norm"}
)
"""Settings of :class:`.DeformationMatching` that the costs of pixels do not depend on."""


class MatchingCosts:
    """The cells of the costs that learners such as :class:`.DeformationMatching` add to a cosine.

    Args:
        cells: the run folder's cells.
        shared: what every cell of the study depends on; see :func:`.foundation`.
        device: where to compute.
    """

    def __init__(self, cells: Cells, shared: Mapping[str, Any], device: str) -> None:
        self.cells, self.shared, self.device = cells, shared, device

    def cell(
        self,
        learner: LearnerConfig,
        prior: Cell | None,
        bank: ImageBank,
        sampler: EpisodeSampler,
        seed: int,
        n_episodes: int,
    ) -> Cell | None:
        """The cell of the costs in the first episodes; None where the learner has none.

        Also None where they depend on the encoder, or on a setting that is chosen.

        Args:
            learner: its settings.
            prior: the cell of the deformations that are its prior.
            bank: the sampler's.
            sampler: the list of episodes.
            seed: that they are drawn from.
            n_episodes: number of episodes.
        """
        made = made_by(learner.learner)
        # A class of one's own that answers in another way computes its costs itself.
        known = issubclass(made, DeformationMatching) and made.logits is DeformationMatching.logits
        maps = settings_of(learner.learner).get("maps")  # those of the encoder
        if not known or maps or set(learner.choose) - OF_SCORES:
            return None
        given = getattr(learner.learner, "keywords", {})
        settings = {name: given[name] for name in given if name not in OF_SCORES}
        make = partial(made, **settings, cosine=False)
        depends = {
            **self.shared,
            "cell": "costs",
            "learner": describe(make),
            "setting": describe(sampler.setting),
            "seed": seed,
            "bank": bank.digest,
            "episodes": n_episodes,
        }

        def work(cell: Cell) -> None:
            encoder = Encoder(Pixels(bank.image_shape), None)
            learned = {"prior": prior.deformations_file} if prior else {}
            matcher = make(encoder, **learned).to(self.device)
            table = table_for(matcher, bank, self.device)
            costs = matching_costs(matcher, table, sampler, n_episodes)
            write_arrays(cell.folder / FILE, {"costs": costs.numpy()})

        name = f"costs-{made.__name__}-{sampler.setting.label}"
        return self.cells.plan(name, depends, work, needs={"prior": prior} if prior else {})


def read_costs(cell: Cell | None) -> Tensor | None:
    """The costs of a finished cell, float32 ``[episodes, n_way * n_query, n_way]``."""
    return None if cell is None else torch.from_numpy(read_arrays(cell.folder / FILE)["costs"])
