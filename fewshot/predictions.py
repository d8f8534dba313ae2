"""The result of an evaluation: predictions, errors and confused classes."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from fewshot.episodes import Setting
from fewshot.statistics import t_interval
from guided.errors import importing
from guided.html.fragment import Table, fragment

if TYPE_CHECKING:
    from pandas import DataFrame


def error_percent(positions: Tensor, truth: Tensor) -> Tensor:
    """Share of wrong queries in each episode, in percent, float32 ``[E]``.

    Args:
        positions: predicted positions, int64 ``[E, n_way * n_query]``.
        truth: true positions, int64 ``[n_way * n_query]``.
    """
    return 100 * (positions != truth).float().mean(1)


class Predictions(NamedTuple):
    """Classes of the queries of E episodes, as labels of the bank.

    Attributes:
        true: int64 ``[E, n_way * n_query]``.
        predicted: int64 ``[E, n_way * n_query]``.
    """

    true: Tensor
    predicted: Tensor


@dataclass(frozen=True)
class Confusion:
    """A pair of classes that a learner confuses.

    Attributes:
        true: name of the queries' class.
        predicted: name of the class that they were given to.
        count: number of such queries.
        share: ``count`` over the queries of ``true`` in episodes that contain both classes,
            in percent.
    """

    true: str
    predicted: str
    count: int
    share: float


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Result of :func:`evaluate`: the classes that a learner predicted for each query.

    Attributes:
        setting: shape of the episodes.
        class_names: names of the bank's C classes.
        classes: the bank's label of each class of an episode, int64 ``[E, n_way]``.
        positions: predicted position in ``classes``, int64 ``[E, n_way * n_query]``. The
            queries of position 0 come first, then those of position 1, and so on.
        images: the bank's row of each query, int64 ``[E, n_way * n_query]``; None if unknown.
    """

    setting: Setting
    class_names: tuple[str, ...]
    classes: Tensor
    positions: Tensor
    images: Tensor | None = None

    def __len__(self) -> int:
        """Number of episodes, E."""
        return len(self.classes)

    def __str__(self) -> str:
        spread = "" if self.ci95 is None else f" ± {self.ci95:.1f}"
        return f"{self.error:.1f} %{spread} over {len(self)} episode{'s' * (len(self) != 1)}"

    def __repr__(self) -> str:
        return f"Evaluation({self}, {self.setting.label})"

    def _repr_html_(self) -> str:
        chance = 100 * (1 - 1 / self.setting.n_way)
        shape = f"{self.setting.n_way}-way {self.setting.n_shot}-shot; chance is {chance:.1f} %"
        spread = "" if self.ci95 is None else f"± {self.ci95:.1f} "
        lines = tuple(
            (c.true, c.predicted, str(c.count), f"{c.share:.1f} %") for c in self.most_confused(5)
        )
        head = ("class", "taken for", "queries", "share in episodes with both")
        return fragment(
            f"{self.error:.1f} % error",
            f"{spread}over {len(self)} episode{'s' * (len(self) != 1)}, {shape}.",
            tables=[Table("Most confused classes", head, lines)] if lines else [],
        )

    @cached_property
    def errors(self) -> Tensor:
        """Share of wrong queries in each episode, in percent, float32 ``[E]``."""
        truth = torch.arange(self.setting.n_way).repeat_interleave(self.setting.n_query)
        return error_percent(self.positions, truth)

    @property
    def error(self) -> float:
        """Mean error in percent."""
        return float(self.errors.mean())

    @property
    def ci95(self) -> float | None:
        """Half width of the 95 % interval of :attr:`error` over episodes (Student's t).

        In percentage points; None for a single episode. It measures how well these episodes pin
        down the error of this encoder, not how it varies with the seed of the training.
        """
        interval = t_interval(self.errors.numpy())
        return None if interval is None else (interval[1] - interval[0]) / 2

    @property
    def predictions(self) -> Predictions:
        """True and predicted class of every query, as labels of the bank."""
        true = self.classes.repeat_interleave(self.setting.n_query, 1)
        return Predictions(true, self.classes.gather(1, self.positions))

    @cached_property
    def confusion(self) -> Tensor:
        """Number of queries by true and predicted class, int64 ``[C, C]``: 8 · C² bytes."""
        n_classes = len(self.class_names)
        true, predicted = self.predictions
        cells = (true * n_classes + predicted).flatten()
        return cells.bincount(minlength=n_classes**2).view(n_classes, n_classes)

    def most_confused(self, k: int = 10) -> list[Confusion]:
        """The k pairs of different classes that were confused most often, most often first."""
        n_classes = len(self.class_names)
        true, predicted = self.predictions
        wrong = true != predicted
        cells, counts = (true * n_classes + predicted)[wrong].unique(return_counts=True)
        order = counts.argsort(descending=True, stable=True)[:k]
        cells, counts = cells[order], counts[order]
        present = torch.zeros(len(self), n_classes).scatter_(1, self.classes, 1.0)
        together = (present.T @ present).flatten()[cells]  # episodes with both classes
        shares = 100 * counts / (together * self.setting.n_query)
        names = self.class_names
        return [
            Confusion(names[cell // n_classes], names[cell % n_classes], count, share)
            for cell, count, share in zip(
                cells.tolist(), counts.tolist(), shares.tolist(), strict=True
            )
        ]

    def to_frame(self) -> "DataFrame":
        """A pandas frame with one row an episode: its number, error, setting and class names.

        Raises:
            InputError: pandas is not installed.
        """
        columns: dict[str, Any] = {
            "episode": range(len(self)),
            "error": self.errors.numpy(),
            **{name: getattr(self.setting, name) for name in ("n_way", "n_shot", "n_query")},
            "classes": [tuple(self.class_names[c] for c in row) for row in self.classes.tolist()],
        }
        return data_frame(columns)


def data_frame(data: Any) -> "DataFrame":
    """A pandas frame of columns or rows.

    Raises:
        InputError: pandas is not installed.
    """
    with importing("pandas", "to_frame"):
        from pandas import DataFrame
    return DataFrame(data)
