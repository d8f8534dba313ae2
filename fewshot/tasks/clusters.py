"""Tasks from clusters of latents."""

import numpy as np
import torch
import torch.nn.functional as F

from fewshot.episodes import Episodes
from fewshot.tasks.base import Partitions, TaskContext, TaskSource, embedded
from guided.errors import InputError
from guided.ranges import Count
from guided.seeds import derive_seed


class ClusterTasks(TaskSource):
    """Uses clusters of the starting encoder's latents as classes.

    Source: CACTUs (Hsu et al. 2019, arXiv:1810.02334, §2.2 and algorithm 1): several partitions,
    each by k-means after its own random scaling of the dimensions; the first is not scaled.

    The clusters come from scikit-learn's ``MiniBatchKMeans``, whose results may change with the
    version of scikit-learn.

    Args:
        context: build-time context.
        n_clusters: clusters of each partition, at most as many as images; 500 in the paper on
            Omniglot.
        n_partitions: number of partitions; 50 in the paper on miniImageNet.
        latents: latents that are clustered: ``all``, a slice's name, or ``features``.
        unit_length: divide latents by their norm, to cluster directions.

    Raises:
        InputError: more clusters than images, or no partition has enough large clusters.
    """

    def __init__(
        self,
        context: TaskContext,
        *,
        n_clusters: Count = 500,
        n_partitions: Count = 10,
        latents: str = "all",
        unit_length: bool = True,
    ) -> None:
        from sklearn.cluster import MiniBatchKMeans

        if n_clusters > len(context.images):
            raise InputError(
                f"ClusterTasks.n_clusters: {n_clusters} asked for, there are "
                f"{len(context.images)} images"
            )
        codes = embedded(context, latents)
        if unit_length:
            codes = F.normalize(codes, dim=1)
        # Centred, because scikit-learn expands the squares of distances in single precision.
        codes = (codes - codes.mean(0)) / codes.std(0).clamp_min(1e-6)
        labellings = []
        for number in range(n_partitions):
            seed = derive_seed(context.seed, "cluster tasks", number)
            rng = np.random.default_rng(seed)
            scale = rng.uniform(0, 1, codes.shape[1]) if number else np.ones(codes.shape[1])
            k_means = MiniBatchKMeans(
                n_clusters, n_init=1, batch_size=2048, random_state=seed % 2**32
            )
            found = k_means.fit_predict(codes.numpy() * scale.astype(np.float32))
            labellings.append(torch.from_numpy(found).long())
        self.partitions = Partitions(context, labellings, "ClusterTasks")

    def episodes(self, start: int, stop: int) -> Episodes:
        return self.partitions.episodes(start, stop)
