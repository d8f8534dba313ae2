"""Tasks from single latents, whose ranges are the classes."""

from fewshot.episodes import Episodes
from fewshot.tasks.base import Partitions, TaskContext, TaskSource, embedded
from guided.ranges import Count, Whole


class PartitionTasks(TaskSource):
    """Uses ranges of one latent at a time as classes.

    Source: DRESS (Cui et al. 2025, arXiv:2503.09679): tasks from the dimensions of a disentangled
    representation.

    Differs from the paper: a latent is cut at its quantiles instead of clustered.

    Args:
        context: build-time context.
        latents: latents to cut: ``all``, or a slice's name.
        n_ranges: ranges of each latent, at least n_way.
        n_latents: number of latents used, those of largest variance; 0: all.

    Raises:
        InputError: the ranges are too few or too small for the episodes.
    """

    def __init__(
        self,
        context: TaskContext,
        *,
        latents: str = "all",
        n_ranges: Count = 20,
        n_latents: Whole = 0,
    ) -> None:
        codes = embedded(context, latents)
        order = codes.var(0).argsort(descending=True)
        chosen = order[:n_latents] if n_latents else order
        ranks = codes[:, chosen].argsort(0).argsort(0)
        ranges = ranks * n_ranges // len(codes)
        self.partitions = Partitions(context, list(ranges.unbind(1)), "PartitionTasks")

    def episodes(self, start: int, stop: int) -> Episodes:
        return self.partitions.episodes(start, stop)
