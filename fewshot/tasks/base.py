"""What a source of tasks is: numbered episodes of images for meta-training, made without labels."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from fewshot.data.bank import ImageBank
from fewshot.episodes import Episodes, Setting
from fewshot.sampler import EpisodeSampler
from guided.augment import Augmentation
from guided.encoder import Encoder
from guided.errors import InputError
from guided.seeds import generator


@dataclass(frozen=True)
class TaskContext:
    """What a source of tasks is told when it is built.

    Attributes:
        images: of the training set, uint8 ``[N, C, H, W]``; their labels are not told.
        setting: shape of the episodes.
        seed: of the whole list of episodes.
        device: where the episodes are wanted.
        encoder: the one that meta-training starts from, in evaluation mode.
        decoder: latents ``[B, latent_dim]`` to images in [0, 1], of the VAE that the encoder is
            of; None where there is none.
    """

    images: Tensor
    setting: Setting
    seed: int
    device: torch.device
    encoder: Encoder
    decoder: nn.Module | None = None


class TaskSource(ABC):
    """Episode i is a function of (context, i) alone.

    A source's constructor takes a :class:`TaskContext` first; its keyword arguments are its
    configuration.

    Attributes:
        needs_decoder: whether it decodes latents, so that only a pretrained VAE will do.
    """

    needs_decoder: ClassVar[bool] = False

    @abstractmethod
    def episodes(self, start: int, stop: int) -> Episodes:
        """Episodes ``start`` … ``stop - 1``, of images on the context's device."""


TaskFactory = Callable[[TaskContext], TaskSource]


class Partitions:
    """Episodes of several labellings of the same images: episode i is of labelling i modulo P.

    Args:
        context: the images, the episodes' shape, the seed.
        labellings: pseudo-labels int64 ``[N]``, each; -1: left out. Labels of fewer images than an
            episode needs are left out, and labellings of fewer labels than it has ways.
        owner: of the message when nothing is left.

    Raises:
        InputError: no labelling is left.
    """

    def __init__(self, context: TaskContext, labellings: list[Tensor], owner: str) -> None:
        self.images = context.images.to(context.device)
        self.samplers = []
        self.rows = []
        setting = context.setting
        needed = setting.n_shot + setting.n_query
        for labels in labellings:
            sizes = labels[labels >= 0].bincount()
            large = (sizes >= needed).nonzero().flatten()
            if len(large) < setting.n_way:
                continue
            renamed = torch.full((len(sizes) + 1,), -1)
            renamed[large] = torch.arange(len(large))
            pseudo = renamed[labels]  # -1 reads the last, which is -1
            rows = (pseudo >= 0).nonzero().flatten()
            names = tuple(map(str, large.tolist()))
            # The sampler reads labels alone; of each image, one pixel is copied.
            bank = ImageBank(context.images[rows, :, :1, :1], pseudo[rows], names)
            self.rows.append(rows)
            self.samplers.append(EpisodeSampler(bank, setting, context.seed))
        if not self.samplers:
            raise InputError(
                f"{owner}: no partition has {setting.n_way} parts of {needed} images or more"
            )

    def episodes(self, start: int, stop: int) -> Episodes:
        """Episodes ``start`` … ``stop - 1``, of images."""
        rows = joined([self._episode(number) for number in range(start, stop)])
        return rows.to(self.images.device).gather(self.images)

    def _episode(self, number: int) -> Episodes:
        """As rows of the images."""
        which = number % len(self.samplers)
        rows, found = self.rows[which], self.samplers[which][number]
        return Episodes(rows[found.support], rows[found.query])


class DeformedTasks(TaskSource):
    """Another source's episodes, each of their images deformed on its own.

    Args:
        source: of episodes of images, uint8 or float in [0, 1].
        augmentation: how they are deformed.
        seed: with an episode's number, all that its deformations depend on.
        device: of the images.
    """

    def __init__(
        self, source: TaskSource, augmentation: Augmentation, seed: int, device: torch.device
    ) -> None:
        self.source, self.augmentation = source, augmentation
        self.seed, self.device = seed, device

    def episodes(self, start: int, stop: int) -> Episodes:
        found = self.source.episodes(start, stop)
        return joined([self._deformed(found[i], start + i) for i in range(stop - start)])

    def _deformed(self, episode: Episodes, number: int) -> Episodes:
        chance = generator(self.seed, "augmentation", number, device=self.device)

        def deform(images: Tensor) -> Tensor:
            values = images.float() / 255 if images.dtype == torch.uint8 else images
            return self.augmentation(values, chance)

        return episode.map(deform)


def joined(episodes: list[Episodes]) -> Episodes:
    """One batch of them all."""
    support, query = ([getattr(e, part) for e in episodes] for part in ("support", "query"))
    classes = [e.classes for e in episodes if e.classes is not None]
    return Episodes(torch.cat(support), torch.cat(query), torch.cat(classes) if classes else None)


@torch.no_grad()
def embedded(context: TaskContext, latents: str = "all", batch_size: int = 1024) -> Tensor:
    """Posterior means of the training images (a slice of them), or features; float on the CPU."""
    encoder = context.encoder.select(latents).to(context.device).eval()
    parts = context.images.split(batch_size)
    return torch.cat([encoder(part.to(context.device)).cpu() for part in parts])
