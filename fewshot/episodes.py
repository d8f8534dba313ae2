"""The shape of episodes, and batches of them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from guided.ranges import Checked, Count, Several


@dataclass(frozen=True)
class Setting(Checked):
    """The shape of an episode.

    Args:
        n_way: classes in an episode, at least 2.
        n_shot: support images per class, at least 1.
        n_query: query images per class, at least 1.
        within: an attribute of the bank that all classes of an episode share (e.g. ``alphabet``:
            classes that are harder to tell apart); its values are equally likely.

    Raises:
        InputError: a number is too small.
    """

    n_way: Several = 5
    n_shot: Count = 1
    n_query: Count = 15
    within: str | None = None

    @property
    def label(self) -> str:
        """Short name, e.g. ``5w1s``."""
        return f"{self.n_way}w{self.n_shot}s" + (f" within {self.within}" if self.within else "")


@dataclass(frozen=True)
class Episodes:
    """A batch of E episodes. A class is a position in the batch; labels are implied.

    Attributes:
        support: ``[E, n_way, n_shot, …]``, where ``…`` is nothing for row numbers, ``out_dim`` for
            embeddings, and ``C, H, W`` for images.
        query: ``[E, n_way, n_query, …]``.
        classes: the bank's label of each class, int64 ``[E, n_way]``; None if unknown.
    """

    support: Tensor
    query: Tensor
    classes: Tensor | None = None

    def __len__(self) -> int:
        return len(self.support)

    def __getitem__(self, i: int) -> "Episodes":
        """Episode ``i`` as a batch with E = 1."""
        classes = None if self.classes is None else self.classes[i : i + 1]
        return Episodes(self.support[i : i + 1], self.query[i : i + 1], classes)

    def split(self, size: int) -> Iterator["Episodes"]:
        """Batches of at most ``size`` of the episodes, in their order."""
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            classes = None if self.classes is None else self.classes[part]
            yield Episodes(self.support[part], self.query[part], classes)

    @property
    def n_way(self) -> int:
        return self.support.shape[1]

    @property
    def n_shot(self) -> int:
        return self.support.shape[2]

    @property
    def n_query(self) -> int:
        return self.query.shape[2]

    def gather(self, table: Tensor) -> "Episodes":
        """Turn episodes of row numbers into episodes of the rows of a table ``[N, …]``."""
        return Episodes(_take(table, self.support), _take(table, self.query), self.classes)

    def to(self, device: torch.device) -> "Episodes":
        """The same episodes on a device."""
        classes = None if self.classes is None else self.classes.to(device)
        return Episodes(self.support.to(device), self.query.to(device), classes)

    def map(self, embed: Callable[[Tensor], Tensor]) -> "Episodes":
        """Apply a function of images ``[B, …]`` to support and queries together, in one call."""
        support, query = self.support.flatten(0, 2), self.query.flatten(0, 2)
        both = embed(torch.cat([support, query]))
        return Episodes(
            both[: len(support)].unflatten(0, self.support.shape[:3]),
            both[len(support) :].unflatten(0, self.query.shape[:3]),
            self.classes,
        )

    def support_labels(self) -> Tensor:
        """Positions of the support's classes, int64 ``[n_way * n_shot]``, the same for all E."""
        classes = torch.arange(self.n_way, device=self.support.device)
        return classes.repeat_interleave(self.n_shot)

    def query_labels(self) -> Tensor:
        """Positions of the queries' classes, int64 ``[n_way * n_query]``, the same for all E."""
        classes = torch.arange(self.n_way, device=self.query.device)
        return classes.repeat_interleave(self.n_query)


def _take(table: Tensor, rows: Tensor) -> Tensor:
    return table.index_select(0, rows.flatten()).unflatten(0, rows.shape)
