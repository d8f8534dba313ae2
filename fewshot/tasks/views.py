"""Tasks from single images: each is a class, its deformed views are the class's images."""

import torch

from fewshot.episodes import Episodes
from fewshot.sampler import distinct_rows
from fewshot.tasks.base import TaskContext, TaskSource, joined
from guided.augment import Augmentation
from guided.errors import InputError
from guided.seeds import generator


class ViewTasks(TaskSource):
    """n_way images, drawn at random, as classes of one image each and its deformed views.

    Source: UMTRA (Khodadadeh et al. 2019, arXiv:1811.11819); with the image itself as the support
    and several queries, ProtoTransfer's ProtoCLR (Medina et al. 2020, arXiv:2006.11325, §2.1).

    Args:
        context: what meta-training offers.
        augmentation: how views are deformed.
        deform_support: also deform the support; otherwise it is the image, n_shot times.
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
                "the episodes' shape says how many there are"
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
        # A generator for each episode, whose views are one batch: an episode must not depend on
        # which others are asked for.
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
