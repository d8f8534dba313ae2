"""Typed results: wrong queries and result rows.

JSON is made at the edge: each type has ``to_json`` and ``from_json``, which are inverse to each
other. Keys come in one order everywhere: arm, seed, learner, latents, setting.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from fewshot.episodes import Setting

Interval = tuple[float, float]

RowKey = tuple[str, ...]
"""Arm, learner, latents, setting and source of runs, as far as a study has them."""

KEY_COLUMNS = ("arm", "learner", "latents", "latent_dim", "n_way", "n_shot", "n_query", "source")
"""Columns of which a study has one row for each combination."""


class Key(NamedTuple):
    """Identifies one learner on one encoder of a study."""

    arm: str
    seed: int
    learner: str
    latents: str


@dataclass(frozen=True)
class WrongQueries:
    """Wrong answers of one learner on one encoder, episode by episode.

    Attributes:
        key: arm, seed, learner and latents.
        setting: the episodes' shape.
        wrong: number of wrong queries of each episode, unsigned integers ``[n_episodes]``.
    """

    key: Key
    setting: Setting
    wrong: NDArray[np.unsignedinteger]


def rounded(value: Any) -> Any:
    """Round a number, or the ends of an interval, to the four decimals that are stored."""
    if value is None:
        return None
    if isinstance(value, tuple | list):
        return tuple(rounded(end) for end in value)
    return round(float(value), 4)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A row beside a partner: the same seeds and episodes. Differences in percentage points.

    Attributes:
        by: whether the partner is another ``arm`` or another ``learner``.
        partner: its name.
        latents: the latents that the partner's learner is fed.
        question: what the difference answers, e.g. ``guidance beyond labels``; None: what the two
            names say.
        difference: mean of this row's minus the partner's errors.
        ci95: its interval, for these test classes; over episodes alone where there is one seed.
        ci95_new_classes: its interval for other test classes.
        p: two-sided p-value of no difference; None for one seed.
        stands: True if it is below 5 % after Holm's correction for all pairs of the study.
        seeds_for_half: number of seeds at which ``ci95`` would be half as wide; None: at none.
        relative_reduction: in percent of the partner's error; None where that is 0.
    """

    by: str
    partner: str
    latents: str = "all"
    question: str | None = None
    difference: float | None = None
    ci95: Interval | None = None
    ci95_new_classes: Interval | None = None
    p: float | None = None
    stands: bool = False
    seeds_for_half: int | None = None
    relative_reduction: float | None = None

    @property
    def apart(self) -> bool:
        """True if ``ci95`` excludes 0."""
        return self.ci95 is not None and not self.ci95[0] <= 0 <= self.ci95[1]


@dataclass(frozen=True, kw_only=True)
class Row:
    """Columns that the result rows of every study share; errors in percent.

    Attributes:
        arm: name of the encoder.
        arm_group: name that it shares with arms that differ from it only in ``labelled``.
        encoder: its kind: pretrained, random, pixels, checkpoint or trained.
        guidance: class names of the strategies that shaped it.
        seeds: one pretraining each.
        error: mean over seeds and test episodes (or images, or trials).
        error_ci95: its interval over seeds and episodes; over episodes alone where there is one
            seed. None where the counts of wrong answers were not kept.
        pairs: the partners that it is compared with.
    """

    arm: str
    arm_group: str
    encoder: str
    guidance: tuple[str, ...]
    seeds: tuple[int, ...]
    error: float = math.nan
    error_ci95: Interval | None = None
    pairs: tuple[Pair, ...] = ()

    @property
    def key(self) -> RowKey:
        """Identifies the row in its study, and its counts of wrong answers."""
        raise NotImplementedError

    def key_of(self, pair: Pair) -> RowKey:
        """The key of a partner's row."""
        raise NotImplementedError

    @property
    def units(self) -> int:
        """Number of test episodes, trials or images of each seed."""
        raise NotImplementedError

    @property
    def pair(self) -> Pair | None:
        """The first of ``pairs``."""
        return self.pairs[0] if self.pairs else None

    def to_json(self) -> dict[str, Any]:
        """Plain values by column, those that identify the row first."""
        names = sorted((f.name for f in fields(self)), key=lambda name: name not in KEY_COLUMNS)
        pairs = [{name: _plain(value) for name, value in vars(p).items()} for p in self.pairs]
        return {name: _plain(getattr(self, name)) for name in names} | {"pairs": pairs}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The row that :meth:`to_json` described.

        Raises:
            TypeError: a column is missing or unknown.
        """
        pairs = tuple(
            Pair(**{name: _frozen(value) for name, value in pair.items()})
            for pair in values["pairs"]
        )
        return cls(**{name: _frozen(value) for name, value in values.items()} | {"pairs": pairs})


@dataclass(frozen=True, kw_only=True)
class LearnerRow(Row):
    """Columns of rows that are about a learner on an encoder.

    Attributes:
        labelled: share of the training classes whose labels were used.
        learner: name of the learner.
        learner_group: name that it shares with learners that differ only in ``train_episodes``.
        latents: the latents it is fed.
        transductive: True if a query's prediction depends on the other queries.
        batch_norm: batch norm's policy.
        test_views: deformed copies that an image's embedding is averaged over at test time.
        test_steps: of inference through the decoder, which an image's latents take at test time.
        meta_trained: True if the learner was meta-trained on this arm.
        train_episodes: episodes of that training.
        n_way, n_shot, n_query: shape of the test episodes.
    """

    labelled: float
    learner: str
    learner_group: str
    latents: str
    transductive: bool
    batch_norm: str
    test_views: int
    meta_trained: bool
    train_episodes: int
    n_way: int
    n_shot: int
    n_query: int
    test_steps: int = 0

    @property
    def label(self) -> str:
        """Name of the setting, as in the published errors."""
        return Setting(self.n_way, self.n_shot, self.n_query).label

    @property
    def key(self) -> RowKey:
        return self.arm, self.learner, self.latents, self.label

    def to_json(self) -> dict[str, Any]:
        """As of every row; ``test_steps`` only where there are some."""
        values = super().to_json()
        if not self.test_steps:
            del values["test_steps"]
        return values

    def key_of(self, pair: Pair) -> RowKey:
        arm, learner = pair.partner, self.learner
        if pair.by == "learner":
            arm, learner = self.arm, pair.partner
        return arm, learner, pair.latents, self.label

    @property
    def setting(self) -> tuple[int, int, int]:
        """Shape of the test episodes."""
        return self.n_way, self.n_shot, self.n_query


@dataclass(frozen=True, kw_only=True)
class ResultRow(LearnerRow):
    """One line of a comparison: an arm, a learner, latents and a setting.

    Attributes:
        episodes: test episodes of each seed.
        test_classes: number of classes that they are drawn from; None if some are turned copies
            of others.
        error_ci95_new_classes: interval of the error for other test classes; None where every
            episode holds some class, or ``test_classes`` is None.
    """

    episodes: int
    test_classes: int | None
    error_ci95_new_classes: Interval | None = None

    @property
    def units(self) -> int:
        return self.episodes

    def _repr_html_(self) -> str:
        from fewshot.study.html.notebook import row_html

        return row_html(self)


@dataclass(frozen=True, kw_only=True)
class LakeRow(LearnerRow):
    """One line of Lake's task: an arm, a learner, latents, and whose runs.

    Attributes:
        source: ``own``: Lake's own runs; ``drawn``: others, drawn like them.
        runs: of the task.
        trials: test images of one seed, in all runs; ``error_ci95`` is over seeds and trials,
            for these runs; with one seed it is Wilson's.
        error_by_seed: mean error of each seed.
        error_ci95_runs: interval over seeds and runs, for runs of other alphabets and drawers.
    """

    source: str
    runs: int
    trials: int
    error_by_seed: tuple[float, ...] = ()
    error_ci95_runs: Interval | None = None

    @property
    def key(self) -> RowKey:
        return *super().key, self.source

    def key_of(self, pair: Pair) -> RowKey:
        return *super().key_of(pair), self.source

    @property
    def units(self) -> int:
        return self.trials


@dataclass(frozen=True, kw_only=True)
class LatentsRow(Row):
    """One line of a study of latents: an arm, its number of latents and its steps of training.

    Attributes:
        latent_dim: number of latents.
        steps: of training; None where the study has one length alone.
        images: test images of each seed.
        fid: Fréchet distance of samples, mean over seeds; None for untrained arms.
        fid_ci95_seeds: Student's t interval over seeds.
    """

    latent_dim: int
    steps: int | None = None
    images: int
    fid: float | None
    fid_ci95_seeds: Interval | None

    @property
    def units(self) -> int:
        return self.images

    @property
    def key(self) -> RowKey:
        return self.arm, *self._condition

    def key_of(self, pair: Pair) -> RowKey:
        return pair.partner, *self._condition

    def to_json(self) -> dict[str, Any]:
        """Plain values by column; ``steps`` only where a study has several lengths."""
        values = super().to_json()
        if self.steps is None:
            del values["steps"]
        return values

    @property
    def _condition(self) -> RowKey:
        return (str(self.latent_dim), *([] if self.steps is None else [str(self.steps)]))
