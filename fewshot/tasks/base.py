"""The base class of task sources, and the parts that several of them share."""

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
from guided.ranges import Checked
from guided.seeds import generator


@dataclass(frozen=True)
class TaskContext:
    """Build-time context passed to every task source.

    Attributes:
        images: training images, uint8 ``[N, C, H, W]``, without their labels.
        setting: shape of the episodes.
        seed: seed of the list of episodes.
        device: where the episodes are wanted.
        encoder: the encoder from which meta-training starts, in evaluation mode.
        decoder: decoder of the encoder's VAE, latents ``[B, latent_dim]`` to images
            ``[B, C, H, W]`` in [0, 1]; None if there is none.
    """

    images: Tensor
    setting: Setting
    seed: int
    device: torch.device
    encoder: Encoder
    decoder: nn.Module | None = None


class TaskSource(Checked, ABC):
    """A numbered list of training episodes of images; episode i depends only on (context, i).

    The constructor of a subclass takes a :class:`TaskContext` first; its keyword arguments are its
    configuration.

    Attributes:
        needs_decoder: True if the source decodes latents, which only a pretrained VAE can.
    """

    needs_decoder: ClassVar[bool] = False

    @abstractmethod
    def episodes(self, start: int, stop: int) -> Episodes:
        """Episodes ``start`` … ``stop - 1`` of images ``[C, H, W]``, on the context's device."""


TaskFactory = Callable[[TaskContext], TaskSource]
"""Makes a task source: a class, or ``functools.partial(Class, setting=value)``."""


class Partitions:
    """Episodes of P labellings of the same images: episode i uses labelling i modulo P.

    Args:
        context: images, shape of the episodes and seed.
        labellings: pseudo-labels, int64 ``[N]`` each; images with label -1 are left out. So are
            labels with fewer images than an episode needs, and labellings with fewer labels than
            an episode has ways.
        owner: name of the task source, for error messages.

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
            pseudo = renamed[labels]  # label -1 indexes the last entry, which is -1
            rows = (pseudo >= 0).nonzero().flatten()
            names = tuple(map(str, large.tolist()))
            # The sampler reads only labels: one pixel of each image is copied.
            bank = ImageBank(context.images[rows, :, :1, :1], pseudo[rows], names)
            self.rows.append(rows)
            self.samplers.append(EpisodeSampler(bank, setting, context.seed))
        if not self.samplers:
            raise InputError(
                f"{owner}: no partition has {setting.n_way} parts of {needed} images or more; "
                "ask for fewer parts, ways, shots or queries"
            )

    def episodes(self, start: int, stop: int) -> Episodes:
        """Episodes ``start`` … ``stop - 1`` of images ``[C, H, W]``."""
        rows = joined([self._episode(number) for number in range(start, stop)])
        return rows.to(self.images.device).gather(self.images)

    def _episode(self, number: int) -> Episodes:
        """One episode as row numbers of the images."""
        which = number % len(self.samplers)
        rows, found = self.rows[which], self.samplers[which][number]
        return Episodes(rows[found.support], rows[found.query])


class DeformedTasks(TaskSource):
    """Episodes of another source, each image randomly deformed by its own draw.

    Args:
        source: source of episodes of images ``[C, H, W]``, uint8 or float in [0, 1].
        augmentation: the deformations.
        seed: seed of the deformations, which depend only on it and on the episode's number.
        device: device of the images.
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
    """The episodes of several batches ``[E_i, …]`` as one batch ``[Σ E_i, …]``."""
    support, query = ([getattr(e, part) for e in episodes] for part in ("support", "query"))
    classes = [e.classes for e in episodes if e.classes is not None]
    return Episodes(torch.cat(support), torch.cat(query), torch.cat(classes) if classes else None)


@torch.no_grad()
def embedded(context: TaskContext, latents: str = "all", batch_size: int = 1024) -> Tensor:
    """Embeddings of the training images, float ``[N, d]`` on the CPU.

    Args:
        context: images and encoder.
        latents: ``all`` posterior means, those of a slice by its name, or ``features``.
        batch_size: images embedded at a time.
    """
    encoder = context.encoder.select(latents).to(context.device).eval()
    parts = context.images.split(batch_size)
    return torch.cat([encoder(part.to(context.device)).cpu() for part in parts])
