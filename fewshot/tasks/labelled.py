"""Tasks from labels: the episodes of ordinary meta-training."""

import torch

from fewshot.data.bank import ImageBank
from fewshot.episodes import Episodes, Setting
from fewshot.evaluation import embed_bank
from fewshot.sampler import EpisodeSampler
from fewshot.tasks.base import TaskSource
from guided.encoder import Encoder


class LabelledTasks(TaskSource):
    """Episodes of a bank's own classes: of images, or of the outputs of a frozen encoder.

    Args:
        bank: the training images.
        setting: shape of the episodes.
        seed: seed of the list of episodes.
        device: where the episodes are wanted.
        frozen: an encoder that does not change in training: each image is embedded once, and an
            episode holds what ``frozen`` returns. None: episodes of images.
    """

    def __init__(
        self,
        bank: ImageBank,
        setting: Setting,
        seed: int,
        device: torch.device,
        frozen: Encoder | None = None,
    ) -> None:
        self.device = device
        self.sampler = EpisodeSampler(bank, setting, seed)
        self.projection = frozen.projection if frozen else None
        if frozen is None:
            self.table = bank.images.to(device)
        else:
            without_projection = frozen.select(frozen.latents)
            self.table = embed_bank(without_projection, bank, device)

    def episodes(self, start: int, stop: int) -> Episodes:
        gathered = self.sampler.batch(start, stop).to(self.device).gather(self.table)
        return gathered.map(self.projection) if self.projection else gathered
