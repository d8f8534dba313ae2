"""Exchange with learn2learn: its tasks from our banks, our episodes and encoders in its loops.

Source: Arnold et al. (2020), arXiv:2008.12284; for learn2learn 0.2.0.
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
from guided.errors import InputError, importing
from guided.seeds import seeded_initialisation

if TYPE_CHECKING:
    from learn2learn.data import MetaDataset, Taskset

Task = tuple[Tensor, Tensor, Tensor, Tensor]
"""Support images ``[n, C, H, W]`` and labels ``[n]``, query images and labels."""


class _Rows(Dataset[tuple[Tensor, int]]):
    """A bank as a torch dataset of float images ``[C, H, W]`` in [0, 1] and labels."""

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

    No image is read to find its label; classes without images are left out.

    Raises:
        InputError: learn2learn is not installed.
    """
    with importing("learn2learn", "meta_dataset"):
        from learn2learn.data import MetaDataset

    rows = bank.labels.argsort(stable=True).split(bank.class_sizes.tolist())
    by_label = {label: of_class.tolist() for label, of_class in enumerate(rows) if len(of_class)}
    return MetaDataset(_Rows(bank), labels_to_indices=by_label)


def task_dataset(bank: ImageBank, setting: Setting, n_tasks: int = -1) -> "Taskset":
    """Tasks of a bank, drawn by learn2learn's transforms.

    They draw from Python's global ``random``, so a task depends on everything that drew before
    it. For tasks that are a function of a seed, use :class:`Tasks`.

    Args:
        bank: images ``[N, C, H, W]`` and their labels.
        setting: a task has n_shot + n_query images of each class; split them by
            ``learn2learn.data.partition_task`` with ``shots=n_shot``.
        n_tasks: number of different tasks; -1: every task is new.

    Returns:
        A ``Taskset`` (learn2learn 0.2's name for its ``TaskDataset``). Its items are images
        ``[n_way * (n_shot + n_query), C, H, W]``, float in [0, 1], class after class, and labels
        of the same length: 0 … n_way - 1 in random order, so the first class need not be 0.

    Raises:
        InputError: the bank has too few classes or images, ``n_tasks`` is impossible, or
            learn2learn is not installed.
    """
    if n_tasks != -1 and n_tasks < 1:
        raise InputError(f"n_tasks: expected at least 1, or -1 for no end, got {n_tasks}")
    EpisodeSampler(bank, setting, seed=0)  # refuses what would fail in mid-training
    with importing("learn2learn", "task_dataset"):
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
    """Episodes one at a time, for loops written for learn2learn.

    Task i holds the images of episode i of :class:`EpisodeSampler`, a function of (bank, setting,
    seed, i) alone. A ``DataLoader`` with ``batch_size=None`` accepts this dataset.

    Args:
        bank: images ``[N, C, H, W]`` and their labels.
        setting: shape of the tasks.
        seed: seed of the list of tasks.
        n_tasks: number of tasks, at least 1.
        device: device of the tasks.

    Raises:
        InputError: the bank has too few classes or images, or ``n_tasks`` is impossible.
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
        labels int64 ``[n_way * n_shot]`` and ``[n_way * n_query]``, ascending.
        """
        rows = self.sampler[range(self.n_tasks)[task]]  # negative numbers count from the end
        episode = rows.to(self.images.device).gather(self.images)
        labels = torch.arange(episode.n_way, device=self.images.device)
        return (
            episode.support.flatten(0, 2).float().div_(255),
            labels.repeat_interleave(episode.n_shot),
            episode.query.flatten(0, 2).float().div_(255),
            labels.repeat_interleave(episode.n_query),
        )


def classifier(encoder: Encoder, n_way: int, seed: int = 0) -> nn.Sequential:
    """An encoder with a new linear layer, as a module for the algorithms of learn2learn.

    The module shares the weights of the encoder, so the outer loop trains the encoder itself. The
    weights are put into contiguous memory, which some of these algorithms need. If part of the
    encoder is frozen, ``MAML`` needs ``allow_nograd=True``. In training mode batch norm normalises
    each call by its own images (a query by the other queries), and all clones share its running
    statistics; in evaluation mode it uses those of pretraining.

    Args:
        encoder: images to embeddings.
        n_way: number of classes.
        seed: seed of the linear layer.

    Returns:
        Images ``[B, C, H, W]``, uint8 or float in [0, 1], to logits ``[B, n_way]``.
    """
    with seeded_initialisation(seed, "interop", "classifier"):
        head = nn.Linear(encoder.out_dim, n_way)
    network = nn.Sequential(_clonable(encoder), head.to(encoder.chosen.device))
    for parameter in network.parameters():
        # A clone: contiguous() leaves the channels-last strides of one-channel weights alone.
        parameter.data = parameter.data.clone(memory_format=torch.contiguous_format)
    return network


def _clonable(encoder: Encoder) -> Encoder:
    """The encoder, with shared weights, in a form that learn2learn can clone and adapt.

    learn2learn fails on a head that is not read, whose gradient is missing, and on a submodule
    that is None.
    """
    body = encoder.select(encoder.latents)
    if encoder.projection:
        body.projection = encoder.projection
    if encoder.latents == "features":
        del body.head
        body.head = None
    return body
