"""Errors of one learner over a fixed list of episodes."""

from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from fewshot.data.bank import ImageBank
from fewshot.episodes import Setting
from fewshot.learners.base import Learner
from fewshot.sampler import EpisodeSampler
from guided.encoder import Encoder

CHUNK_BYTES = 2**22
"""Embeddings gathered at a time: what a core's caches hold, and no memory to speak of."""

CHUNK_IMAGES = 2**12
"""Images gathered at a time, for a learner that reads them."""


@dataclass(frozen=True)
class EpisodeErrors:
    """What one learner with one encoder got wrong, episode by episode.

    Attributes:
        errors: float32 ``[n_episodes]``, the share of wrong queries, in percent.
        setting: the episodes' shape.
        arm, seed, learner, latents: whose errors they are.
    """

    errors: Tensor
    setting: Setting
    arm: str
    seed: int
    learner: str
    latents: str


@torch.no_grad()
def embed_bank(
    model: Encoder | Learner,
    bank: ImageBank,
    device: torch.device | str = "cpu",
    batch_size: int = 1024,
    description: str | None = None,
) -> Tensor:
    """Embeddings of all images, ``[N, out_dim]``, on the device; the model in evaluation mode.

    Args:
        model: an encoder, or a learner, which has views of its own.
        bank: whose images.
        device: where the model is.
        batch_size: images embedded at a time.
        description: of a progress bar; none is drawn without.
    """
    model.eval()
    embedding = model.embedding if isinstance(model, Learner) else model
    parts = bank.images.split(batch_size)
    if description:
        parts = tqdm(parts, desc=description, leave=False, disable=None)
    return torch.cat([embedding(part.to(device)) for part in parts])


def table_for(learner: Learner, bank: ImageBank, device: torch.device | str = "cpu") -> Tensor:
    """What a learner's episodes are gathered from: all embeddings, or the images themselves."""
    if learner.reads_images:
        return bank.images.to(device)
    return embed_bank(learner, bank, device)


@torch.no_grad()
def episode_errors(
    learner: Learner,
    table: Tensor,
    sampler: EpisodeSampler,
    n_episodes: int,
) -> Tensor:
    """Error of each of the first episodes, in percent.

    Args:
        learner: is put into evaluation mode.
        table: of :func:`table_for`, of the sampler's bank.
        sampler: the list of episodes.
        n_episodes: how many.

    Returns:
        float32 ``[n_episodes]`` on the CPU.
    """
    learner.eval()
    setting = sampler.setting
    images = setting.n_way * (setting.n_shot + setting.n_query)
    width = table[0].numel() * table.element_size()
    at_once = CHUNK_IMAGES if learner.reads_images else CHUNK_BYTES // width
    chunk = max(1, at_once // images)
    errors = []
    for start in range(0, n_episodes, chunk):
        rows = sampler.batch(start, min(start + chunk, n_episodes))
        predicted = learner.logits(rows.to(table.device).gather(table)).argmax(2)
        wrong = predicted != rows.query_labels().to(table.device)
        errors.append(100 * wrong.float().mean(1))
    return torch.cat(errors).cpu()
