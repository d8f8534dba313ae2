"""Tasks from neighbours: an image, and those that a learner holds for its class."""

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm.auto import tqdm

from fewshot.episodes import Episodes
from fewshot.learners.base import Learner, LearnerFactory
from fewshot.learners.deformation_matching import DeformationMatching
from fewshot.sampler import distinct_rows
from fewshot.tasks.base import TaskContext, TaskSource, embedded, joined
from guided.errors import InputError
from guided.progress import hidden
from guided.ranges import Count
from guided.seeds import generator

CHUNK_BYTES = {"cpu": 2**20, "cuda": 2**25}
"""Bytes of cosines and of candidates at a time: the patches that are matched take 30 times as many,
and should stay in a core's cache."""


class NeighbourTasks(TaskSource):
    """Uses n_way random images as classes, each with its best neighbours.

    The starting encoder preselects the candidates of an image by cosine. A learner then scores
    each candidate as a class of one shot, with the image as the query: by default by the cost of
    deforming the one into the other.

    The support begins with the image itself; its neighbours follow in random order. A class of
    fewer images than an episode needs repeats them: :attr:`TrainConfig.augmentation
    <fewshot.meta_train.TrainConfig>` makes the copies differ. Classes of an episode share no image,
    as long as twice as many random images allow it. Two classes may still be of one kind.

    Args:
        context: build-time context.
        learner: what scores the candidates; one of embeddings, without weights to be trained.
        candidates: images that the cosine preselects, fewer than there are.
        neighbours: best candidates that are an image's neighbours, at most ``candidates``.
        mutual: leave out a neighbour that does not have the image among its own; an image without
            any is no class.
        latents: latents that preselect, and that the learner reads: ``all``, a slice's name, or
            ``features``.

    Attributes:
        neighbours: row numbers of the neighbours of each image, best first, int64
            ``[N, neighbours]`` on the CPU; -1 in the place of one that is left out.

    Raises:
        InputError: a number is out of its range, the learner must be trained or reads images, or
            fewer images than ways have neighbours.
    """

    def __init__(
        self,
        context: TaskContext,
        *,
        learner: LearnerFactory = DeformationMatching,
        candidates: Count = 20,
        neighbours: Count = 5,
        mutual: bool = True,
        latents: str = "all",
    ) -> None:
        if candidates >= len(context.images):
            raise InputError(
                f"NeighbourTasks.candidates: {candidates} asked for, there are "
                f"{len(context.images)} images"
            )
        if neighbours > candidates:
            raise InputError(
                f"NeighbourTasks.neighbours: expected at most {candidates}, the candidates; "
                f"got {neighbours}"
            )
        judge = learner(context.encoder.select(latents)).to(context.device).eval()
        if judge.needs_training or judge.reads_images:
            raise InputError(
                f"NeighbourTasks.learner: {type(judge).__name__} cannot score candidates; choose a "
                "learner of embeddings that needs no training, e.g. Prototypical"
            )
        judge.check_ways(candidates)
        codes = F.normalize(embedded(context, latents), dim=1).to(context.device)
        self.context, self.images = context, context.images.to(context.device)
        self.neighbours = _neighbours(self.images, codes, judge, candidates, neighbours)
        if mutual:
            theirs = self.neighbours[self.neighbours]  # [N, neighbours, neighbours]
            rows = torch.arange(len(theirs)).view(-1, 1, 1)
            self.neighbours = self.neighbours.where((theirs == rows).any(2), -1)
        self.anchors = (self.neighbours >= 0).any(1).nonzero().flatten()
        if len(self.anchors) < context.setting.n_way:
            raise InputError(
                f"n_way: {context.setting.n_way} images with neighbours asked for, there are "
                f"{len(self.anchors)}; ask for more neighbours or fewer ways"
            )

    def episodes(self, start: int, stop: int) -> Episodes:
        rows = joined([self._episode(number) for number in range(start, stop)])
        return rows.to(self.images.device).gather(self.images)

    def _episode(self, number: int) -> Episodes:
        """One episode as row numbers of the images."""
        setting = self.context.setting
        anchors = self._apart(number)
        around = self.neighbours[anchors]
        chance = generator(self.context.seed, "neighbour tasks", number)
        # Those left out come last.
        order = (torch.rand(around.shape, generator=chance) + (around < 0)).argsort(1)
        members = torch.cat([anchors[:, None], around.gather(1, order)], 1)
        sizes = (members >= 0).sum(1, keepdim=True)
        rows = members.gather(1, torch.arange(setting.n_shot + setting.n_query) % sizes)
        return Episodes(rows[None, :, : setting.n_shot], rows[None, :, setting.n_shot :])

    def _apart(self, number: int) -> Tensor:
        """The images whose neighbourhoods are the classes of an episode, ``[n_way]``."""
        n_way, size = self.context.setting.n_way, len(self.anchors)
        n_drawn = min(2 * n_way, size)
        places = distinct_rows(self.context.seed, number, number + 1, n_drawn, size)[0]
        drawn = self.anchors[torch.from_numpy(places)]
        classes = torch.cat([drawn[:, None], self.neighbours[drawn]], 1)
        same = classes[:, None, :, None] == classes[:, None]
        shared = (same & (classes >= 0)[:, None]).any(3).any(2)
        # Those that share an image with one drawn before come last.
        late = shared.tril(-1).any(1)
        return drawn[late.byte().argsort(stable=True)[:n_way]]


@torch.no_grad()
def _neighbours(
    images: Tensor, codes: Tensor, judge: Learner, n_candidates: int, n_neighbours: int
) -> Tensor:
    """Row numbers of the best candidates of each image, best first, ``[N, n_neighbours]``.

    Args:
        images: ``[N, C, H, W]``, uint8.
        codes: embeddings of length 1 that preselect, ``[N, d]``.
        judge: the learner that scores the candidates.
        n_candidates: candidates of each image.
        n_neighbours: how many of them are kept.
    """
    table = torch.cat([judge.embedding(part) for part in images.split(1024)])
    width = len(images) + n_candidates * table.shape[1]
    step = max(1, CHUNK_BYTES[images.device.type] // (width * table.element_size()))
    # Written in place: many small tensors would keep the memory of the large ones between them.
    found = torch.empty(len(images), n_neighbours, dtype=torch.int64)
    parts = torch.arange(len(images), device=images.device).split(step)
    for rows in tqdm(parts, desc="neighbours", leave=False, disable=hidden()):
        cosines = codes[rows] @ codes.T
        cosines.scatter_(1, rows[:, None], -torch.inf)
        candidates = cosines.topk(n_candidates).indices
        episodes = Episodes(table[candidates].unsqueeze(2), table[rows][:, None, None])
        best = judge.logits(episodes)[:, 0].topk(n_neighbours).indices
        found[rows.cpu()] = candidates.gather(1, best).cpu()
    return found
