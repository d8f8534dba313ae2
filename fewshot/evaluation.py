"""Errors and predictions of a learner over a fixed list of episodes."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from fewshot.data.bank import ImageBank
from fewshot.data.dataset import Splits
from fewshot.episodes import Episodes, Setting
from fewshot.learners.base import Learner
from fewshot.learners.deformation_matching import DeformationMatching
from fewshot.predictions import Evaluation
from fewshot.sampler import EpisodeSampler
from guided.encoder import Encoder
from guided.errors import InputError
from guided.finite import check_embeddings
from guided.progress import hidden
from guided.seeds import derive_seed
from guided.storage.files import write_arrays

CHUNK_BYTES = 2**23
"""Bytes of embeddings gathered at a time: small enough for a core's caches."""

DRAWN = 2**11
"""Episodes drawn at a time; a call costs as much as some hundred of them."""

CHUNK_IMAGES = 2**12
"""Images gathered at a time, for a learner that reads images."""


def evaluate(
    learner: Learner,
    bank: ImageBank,
    *,
    n_way: int = 5,
    n_shot: int = 1,
    n_query: int = 15,
    within: str | None = None,
    episodes: int = 1000,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Evaluation:
    """Classify the queries of a fixed list of episodes.

    The same bank, setting and seed always give the same episodes, those of ``fewshot evaluate``,
    so that errors of different learners and encoders can be paired.

    Args:
        learner: moved to ``device`` and put into evaluation mode.
        bank: images ``[N, C, H, W]`` of the test classes.
        n_way: classes in an episode, at least 2.
        n_shot: support images per class, at least 1.
        n_query: query images per class, at least 1.
        within: attribute that all classes of an episode share; see :class:`Setting`.
        episodes: number of episodes, at least 1.
        seed: seed of the list of episodes.
        device: where to compute.

    Raises:
        InputError: the bank has too few classes or images, or the learner was made for another
            number of classes.
    """
    if episodes < 1:
        raise InputError(f"episodes: expected at least 1, got {episodes}")
    setting = Setting(n_way, n_shot, n_query, within)
    learner.check_ways(n_way)
    sampler = EpisodeSampler(bank, setting, derive_seed(seed, "test", setting.label))
    table = table_for(learner.to(device), bank, device)
    return evaluate_table(learner, table, sampler, episodes, bank.class_names)


def evaluate_table(
    learner: Learner,
    table: Tensor,
    sampler: EpisodeSampler,
    n_episodes: int,
    class_names: tuple[str, ...],
) -> Evaluation:
    """As :func:`evaluate`, from a table that several learners and settings share.

    Args:
        learner: put into evaluation mode.
        table: result of :func:`table_for` for the sampler's bank, ``[N, …]``.
        sampler: the list of episodes.
        n_episodes: number of episodes.
        class_names: names of the bank's classes.
    """
    drawn = list(_predicted(learner, table, sampler, n_episodes))
    classes = [rows.classes for rows, _ in drawn if rows.classes is not None]
    positions = torch.cat([positions.cpu() for _, positions in drawn])
    images = torch.cat([rows.query.flatten(1) for rows, _ in drawn])
    return Evaluation(sampler.setting, class_names, torch.cat(classes), positions, images)


@torch.no_grad()
def embed_bank(
    model: Encoder | Learner,
    bank: ImageBank,
    device: torch.device | str = "cpu",
    batch_size: int = 1024,
    description: str | None = None,
) -> Tensor:
    """Embeddings of all images of a bank, ``[N, out_dim]``, on ``device``.

    Args:
        model: an encoder, or a learner, whose ``views`` are then averaged; put into evaluation
            mode.
        bank: images ``[N, C, H, W]``.
        device: device of the model.
        batch_size: images embedded at a time, at most; a large network takes fewer.
        description: label of a progress bar; None draws none.

    Raises:
        InputError: an embedding is NaN or infinite.
    """
    model.eval()
    embedding = model.embedding if isinstance(model, Learner) else model
    encoder = model.encoder if isinstance(model, Learner) else model
    parts = bank.images.split(min(batch_size, encoder.backbone.batch_size))
    if description:
        parts = tqdm(parts, desc=description, leave=False, disable=hidden())
    embedded = torch.cat([embedding(part.to(device)) for part in parts])
    return check_embeddings(embedded, bank.name_of)


def write_embeddings(
    path: Path | str, encoder: Encoder, splits: Splits, device: torch.device | str = "cpu"
) -> None:
    """Write the embeddings of all images of a dataset, for ``Embeddings(path=…)`` to read.

    Errors are then measured without the images, on the same episodes and to the digit.

    Args:
        path: of an ``.npz`` file.
        encoder: moved to ``device``.
        splits: of a dataset.
        device: where to compute.
    """
    encoder.to(device)
    banks = {name: bank for name, bank in vars(splits).items() if len(bank)}
    firsts = np.cumsum([0, *(bank.n_classes for bank in banks.values())])
    labels = [b.labels + int(first) for b, first in zip(banks.values(), firsts, strict=False)]
    arrays = {
        "features": torch.cat([embed_bank(encoder, b, device).cpu() for b in banks.values()]),
        "labels": torch.cat(labels),
    }
    names = {
        "class_names": np.array([name for bank in banks.values() for name in bank.class_names]),
        "split": np.repeat(list(banks), [len(bank) for bank in banks.values()]),
    }
    write_arrays(path, {name: array.numpy() for name, array in arrays.items()} | names)


def table_for(learner: Learner, bank: ImageBank, device: torch.device | str = "cpu") -> Tensor:
    """The rows that a learner's episodes are gathered from, on ``device``.

    Returns:
        Embeddings ``[N, out_dim]``, or images ``[N, C, H, W]`` if the learner reads images.
    """
    if learner.reads_images:
        return bank.images.to(device)
    return embed_bank(learner, bank, device)


def episode_errors(
    learner: Learner, table: Tensor, sampler: EpisodeSampler, n_episodes: int
) -> Tensor:
    """Share of wrong queries in each of the first episodes, in percent.

    As :func:`wrong_queries`, float32 ``[n_episodes]``.
    """
    queries = sampler.setting.n_way * sampler.setting.n_query
    return 100 * (wrong_queries(learner, table, sampler, n_episodes) / queries)


def wrong_queries(
    learner: Learner,
    table: Tensor,
    sampler: EpisodeSampler,
    n_episodes: int,
    costs: Tensor | None = None,
) -> Tensor:
    """Number of wrong queries in each of the first episodes.

    Args:
        learner: put into evaluation mode.
        table: result of :func:`table_for` for the sampler's bank, ``[N, …]``.
        sampler: the list of episodes.
        n_episodes: number of episodes.
        costs: result of :func:`matching_costs` for the same episodes, of a learner that matches
            images; None: it computes them.

    Returns:
        int64 ``[n_episodes]`` on the CPU.
    """
    wrong = [
        (positions != rows.query_labels().to(table.device)).sum(1)
        for rows, positions in _predicted(learner, table, sampler, n_episodes, costs)
    ]
    return torch.cat(wrong).cpu()


@torch.no_grad()
def matching_costs(
    learner: DeformationMatching, table: Tensor, sampler: EpisodeSampler, n_episodes: int
) -> Tensor:
    """Costs of the classes in each of the first episodes, which no encoder changes.

    Args:
        learner: put into evaluation mode.
        table: as of :func:`wrong_queries`.
        sampler: the list of episodes.
        n_episodes: number of episodes.

    Returns:
        float32 ``[n_episodes, n_way * n_query, n_way]`` on the CPU.
    """
    learner.eval()
    found = [
        learner.costs_of(rows.to(table.device).gather(table)).cpu()
        for rows in _batches(learner, table, sampler, n_episodes)
    ]
    return torch.cat(found)


@torch.no_grad()
def _predicted(
    learner: Learner,
    table: Tensor,
    sampler: EpisodeSampler,
    n_episodes: int,
    costs: Tensor | None = None,
) -> Iterator[tuple[Episodes, Tensor]]:
    """Batches of episodes as row numbers, with predicted positions ``[B, n_way * n_query]``."""
    learner.eval()
    done = 0
    for rows in _batches(learner, table, sampler, n_episodes):
        episodes = rows.to(table.device).gather(table)
        if costs is None:
            logits = learner.logits(episodes)
        else:
            assert isinstance(learner, DeformationMatching)
            known = costs[done : done + len(rows)]
            logits = learner.logits_from(episodes, known.to(table.device))
        done += len(rows)
        # The first of equal ones, as of argmax, which is slower.
        scores, positions = logits.max(2)
        if bool(scores.isnan().any()):
            name = type(learner).__name__
            raise InputError(f"{name}: answers are not numbers (NaN) in some episodes")
        yield rows, positions


def _batches(
    learner: Learner, table: Tensor, sampler: EpisodeSampler, n_episodes: int
) -> Iterator[Episodes]:
    """Batches of the first episodes, as row numbers."""
    setting = sampler.setting
    images = setting.n_way * (setting.n_shot + setting.n_query)
    width = table[0].numel() * table.element_size()
    at_once = CHUNK_IMAGES if learner.reads_images else CHUNK_BYTES // width
    chunk = max(1, at_once // images)
    for start in range(0, n_episodes, DRAWN):
        yield from sampler.batch(start, min(start + DRAWN, n_episodes)).split(chunk)
