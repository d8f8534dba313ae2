"""Tasks from single images: each is a class of deformed views of itself."""

import torch

from fewshot.episodes import Episodes
from fewshot.sampler import distinct_rows
from fewshot.tasks.base import TaskContext, TaskSource, joined
from guided.augment import Augmentation
from guided.errors import InputError
from guided.seeds import generator


class ViewTasks(TaskSource):
    """Uses n_way random images as classes, each made of deformed views of its image.

    Source: UMTRA (Khodadadeh et al. 2019, arXiv:1811.11819); with the original image as the
    support and several queries, ProtoCLR of ProtoTransfer (Medina et al. 2020, arXiv:2006.11325,
    §2.1).

    Args:
        context: build-time context.
        augmentation: the deformations, with ``views: 1``.
        deform_support: deform the support too; otherwise it is the original image, n_shot times.

    Raises:
        InputError: the augmentation deforms nothing, or there are fewer images than ways.
    """

    def __init__(
        self,
        context: TaskContext,
        *,
        augmentation: Augmentation,
        deform_support: bool = False,
    ) -> None:
        if not augmentation.active or augmentation.views != 1:
            raise InputError(
                "ViewTasks.augmentation: needs at least one deformation, and views 1: "
                "the number of views follows from the episodes' shape"
            )
        if len(context.images) < context.setting.n_way:
            raise InputError(
                f"n_way: {context.setting.n_way} images asked for, there are {len(context.images)}"
            )
        self.context, self.augmentation = context, augmentation
        self.deform_support = deform_support
        self.images = context.images.to(context.device)

    def episodes(self, start: int, stop: int) -> Episodes:
        setting = self.context.setting
        rows = distinct_rows(self.context.seed, start, stop, setting.n_way, len(self.images))
        # A generator for each episode: an episode must not depend on the others in the batch.
        return joined(
            [self._episode(start + i, of_one) for i, of_one in enumerate(torch.from_numpy(rows))]
        )

    def _episode(self, number: int, rows: torch.Tensor) -> Episodes:
        setting, device = self.context.setting, self.context.device
        chance = generator(self.context.seed, "view tasks", number, device=device)
        originals = self.images[rows.to(device)].float() / 255
        n_views = setting.n_shot + setting.n_query
        views = originals.repeat_interleave(n_views, 0)
        deformed = self.augmentation(views, chance).unflatten(0, (1, setting.n_way, n_views))
        support, query = deformed[:, :, : setting.n_shot], deformed[:, :, setting.n_shot :]
        if not self.deform_support:
            support = originals[None, :, None].expand_as(support)
        return Episodes(support, query)
