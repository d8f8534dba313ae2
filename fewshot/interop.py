"""Both ways with learn2learn: its tasks from our banks, our episodes and encoders in its loops.

Source: Arnold et al. (2020), arXiv:2008.12284; version 0.2.0.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from fewshot.data.bank import ImageBank
from fewshot.episodes import Setting
from fewshot.sampler import EpisodeSampler
from guided.encoder import Encoder
from guided.errors import InputError
from guided.seeds import seeded_initialisation

if TYPE_CHECKING:
    from learn2learn.data import MetaDataset, Taskset

Task = tuple[Tensor, Tensor, Tensor, Tensor]
"""Support images and labels, query images and labels."""


class _Rows(Dataset[tuple[Tensor, int]]):
    """A bank's rows as torch's datasets are: a float image ``[C, H, W]`` in [0, 1], its label."""

    def __init__(self, bank: ImageBank) -> None:
        self.images = bank.images
        # Plain integers: learn2learn looks labels up with list.index, slow with tensors.
        self.labels: list[int] = bank.labels.tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return self.images[row].float().div_(255), self.labels[row]


def meta_dataset(bank: ImageBank) -> "MetaDataset":
    """A bank as learn2learn's ``MetaDataset``: float images ``[C, H, W]`` in [0, 1], int labels.

    No image is read to find its label, and classes without images are left out.
    """
    from learn2learn.data import MetaDataset

    rows = bank.labels.argsort(stable=True).split(bank.class_sizes.tolist())
    by_label = {label: of_class.tolist() for label, of_class in enumerate(rows) if len(of_class)}
    return MetaDataset(_Rows(bank), labels_to_indices=by_label)


def task_dataset(bank: ImageBank, setting: Setting, n_tasks: int = -1) -> "Taskset":
    """A bank's tasks, drawn as learn2learn's own examples draw them.

    learn2learn's transforms draw from Python's global ``random``: a task depends on all that drew
    before it, and task i stays the same only until the program ends. For tasks that are a function
    of a seed, use :class:`Tasks`.

    Args:
        bank: where the images are.
        setting: a task has n_shot + n_query images of each class; support and query are not
            told apart (``learn2learn.data.partition_task`` does, with ``shots=n_shot``).
        n_tasks: how many different ones; -1: each is drawn afresh, without end.

    Returns:
        A ``Taskset`` (learn2learn 0.2's name for its ``TaskDataset``). Its items are images
        ``[n_way * (n_shot + n_query), C, H, W]``, float in [0, 1], class after class, and labels
        of the same length: 0 … n_way - 1 dealt at random, so that the first class need not be 0.

    Raises:
        InputError: too few classes or images, as :class:`EpisodeSampler`; or no tasks.
    """
    if n_tasks != -1 and n_tasks < 1:
        raise InputError(f"n_tasks: expected at least 1, or -1 for no end, got {n_tasks}")
    EpisodeSampler(bank, setting, seed=0)  # for its refusals; learn2learn fails in mid-training
    from learn2learn.data import Taskset, transforms

    data = meta_dataset(bank)
    chain = [
        transforms.NWays(data, setting.n_way),
        transforms.KShots(data, setting.n_shot + setting.n_query),
        transforms.LoadData(data),
        transforms.RemapLabels(data),
        transforms.ConsecutiveLabels(data),
    ]
    return Taskset(data, chain, num_tasks=n_tasks)


class Tasks(Dataset[Task]):
    """Our episodes, one at a time, for loops written for learn2learn.

    Task i is a function of (bank, setting, seed, i) alone: the images of ``EpisodeSampler``'s
    episode i. A ``DataLoader`` with ``batch_size=None`` takes it as it is.

    Args:
        bank: where the images are.
        setting: n_way, n_shot, n_query.
        seed: of the whole list.
        n_tasks: its length.
        device: where the images lie and the tasks come out.

    Raises:
        InputError: too few classes or images, as :class:`EpisodeSampler`; or no tasks.
    """

    def __init__(
        self,
        bank: ImageBank,
        setting: Setting,
        seed: int,
        n_tasks: int,
        device: torch.device | str = "cpu",
    ) -> None:
        if n_tasks < 1:
            raise InputError(f"n_tasks: expected at least 1, got {n_tasks}")
        self.sampler = EpisodeSampler(bank, setting, seed)
        self.images = bank.images.to(device)
        self.n_tasks = n_tasks

    def __len__(self) -> int:
        return self.n_tasks

    def __iter__(self) -> Iterator[Task]:
        return (self[i] for i in range(self.n_tasks))

    def __getitem__(self, task: int) -> Task:
        """Support images, support labels, query images, query labels.

        Images ``[n_way * n_shot, C, H, W]`` and ``[n_way * n_query, C, H, W]``, float in [0, 1];
        labels int64, ascending: 0 for the class that was drawn first.
        """
        rows = self.sampler[range(self.n_tasks)[task]]  # a range knows its end, and -1
        episode = rows.to(self.images.device).gather(self.images)
        labels = torch.arange(episode.n_way, device=self.images.device)
        return (
            episode.support.flatten(0, 2).float().div_(255),
            labels.repeat_interleave(episode.n_shot),
            episode.query.flatten(0, 2).float().div_(255),
            labels.repeat_interleave(episode.n_query),
        )


def classifier(encoder: Encoder, n_way: int, seed: int = 0) -> nn.Sequential:
    """The encoder below a fresh linear layer: a module for ``learn2learn.algorithms.MAML``.

    The weights are the encoder's own: what the outer loop learns, it has learnt. Where part of it
    is frozen, ``MAML`` needs ``allow_nograd=True``. Batch norm is learn2learn's kind: in training
    mode each call is normalised by its own images, queries by the other queries, and the running
    statistics are shared by all clones; in evaluation mode they are those of training.

    Args:
        encoder: images to embeddings.
        n_way: classes.
        seed: of the linear layer.

    Returns:
        Images ``[B, C, H, W]``, uint8 or float in [0, 1], to logits ``[B, n_way]``.
    """
    with seeded_initialisation(seed, "interop", "classifier"):
        head = nn.Linear(encoder.out_dim, n_way)
    return nn.Sequential(_clonable(encoder), head.to(encoder.chosen.device))


def _clonable(encoder: Encoder) -> Encoder:
    """The encoder, weights shared, without what learn2learn's ``adapt`` stumbles over.

    That is a head that is not read, whose gradient would be missing, and a submodule that is None.
    """
    body = encoder.select(encoder.latents)
    if encoder.projection:
        body.projection = encoder.projection
    if encoder.latents == "features":
        del body.head
        body.head = None
    return body
