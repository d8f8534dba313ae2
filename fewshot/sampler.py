"""Random episodes; each is a pure function of (bank, setting, seed, episode number)."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fewshot.data.bank import ImageBank
from fewshot.episodes import Episodes, Setting
from guided.errors import InputError, some
from guided.seeds import derive_seed

UInts = NDArray[np.uint64]
Ints = NDArray[np.int64]

_ODD = np.uint64(0x9E3779B97F4A7C15)


class EpisodeSampler:
    """Draws n_way classes without replacement, then distinct images of each.

    Episode i depends only on the bank, the setting, the seed and i: not on the number of episodes
    drawn at once, nor on their order. Episodes are drawn by vectorised arithmetic on counters.

    Args:
        bank: images ``[N, C, H, W]`` and their labels; the sampler copies no image.
        setting: shape of the episodes.
        seed: seed of the list of episodes.

    Raises:
        InputError: too few classes, a class has too few images, or the bank lacks the attribute
            ``setting.within``.
    """

    def __init__(self, bank: ImageBank, setting: Setting, seed: int) -> None:
        self.setting = setting
        self._key = np.uint64(derive_seed(seed, "episodes"))
        needed = setting.n_shot + setting.n_query
        if bank.n_classes < setting.n_way:
            raise InputError(
                f"n_way: {setting.n_way} classes asked for, the set has {bank.n_classes}; "
                "choose a smaller n_way"
            )
        small = (bank.class_sizes < needed).nonzero().flatten().tolist()
        if small:
            raise InputError(_too_small(bank, small, needed))
        self._sizes = bank.class_sizes.numpy()
        self._starts = np.concatenate([[0], self._sizes.cumsum()[:-1]])
        # Row numbers sorted by class: the images themselves stay where they are.
        self._rows = bank.labels.argsort(stable=True).numpy()
        self._groups = _Groups.from_bank(bank, setting)

    def __getitem__(self, episode: int) -> Episodes:
        """Episode number ``episode``, as a batch with E = 1."""
        return self.batch(episode, episode + 1)

    def batch(self, start: int, stop: int) -> Episodes:
        """Episodes ``start`` … ``stop - 1`` as row numbers of the bank.

        Returns:
            int64 ``[E, n_way, n_shot]`` and ``[E, n_way, n_query]``, on the CPU.
        """
        way, shot = self.setting.n_way, self.setting.n_shot
        images = shot + self.setting.n_query
        episode = self._states(start, stop)
        classes = self._groups.classes(episode, way)
        # One stream of random numbers for each (episode, position): disjoint counters.
        position = np.arange(1, way + 1, dtype=np.uint64) << np.uint64(32)
        streams = _mix(episode[:, None] + position * _ODD).reshape(-1)
        chosen = classes.reshape(-1)
        within = distinct(_uniform(streams, images), self._sizes[chosen])
        rows = self._rows[self._starts[chosen][:, None] + within]
        table = torch.from_numpy(rows.reshape(stop - start, way, images))
        return Episodes(
            table[..., :shot].contiguous(),
            table[..., shot:].contiguous(),
            torch.from_numpy(classes),
        )

    def classes(self, start: int, stop: int) -> Ints:
        """The bank's labels of the classes of episodes ``start`` … ``stop - 1``, ``[E, n_way]``."""
        return self._groups.classes(self._states(start, stop), self.setting.n_way)

    def _states(self, start: int, stop: int) -> UInts:
        return _mix(self._key + np.arange(start, stop, dtype=np.uint64) * _ODD)


def _too_small(bank: ImageBank, small: list[int], needed: int) -> str:
    """A message that counts the classes that have too few images."""
    sizes = bank.class_sizes.tolist()
    if len(small) == 1:
        found = f"class {bank.class_names[small[0]]!r} has {sizes[small[0]]} images"
    else:
        names = some([f"{bank.class_names[i]!r} ({sizes[i]})" for i in small])
        found = f"{len(small)} of {bank.n_classes} classes have too few images: {names}"
    return (
        f"{found}; n_shot + n_query needs {needed}: choose a smaller n_query, or leave small "
        f"classes out (min_images: {needed}, of datasets that have this setting)"
    )


def distinct_rows(seed: int, start: int, stop: int, n: int, size: int) -> Ints:
    """Distinct row numbers for episodes that are not drawn from classes.

    Those of an episode depend only on the seed and the number of the episode.

    Args:
        seed: seed of the list of episodes.
        start: number of the first episode.
        stop: number after the last episode.
        n: row numbers of an episode.
        size: number of rows, at least ``n``.

    Returns:
        int64 ``[stop - start, n]``, in [0, size).
    """
    key = np.uint64(derive_seed(seed, "rows"))
    streams = _mix(key + np.arange(start, stop, dtype=np.uint64) * _ODD)
    return distinct(_uniform(streams, n), np.full(stop - start, size))


@dataclass(frozen=True)
class _Groups:
    """Groups of classes; the classes of an episode come from one group.

    Attributes:
        members: classes, group after group, int64 ``[n]``.
        starts: position of each group's first class in ``members``, int64 ``[n_groups]``.
        sizes: number of classes in each group, int64 ``[n_groups]``.
    """

    members: Ints
    starts: Ints
    sizes: Ints

    @staticmethod
    def from_bank(bank: ImageBank, setting: Setting) -> "_Groups":
        """Groups with enough classes; a single group of all classes if ``within`` is None."""
        if setting.within is None:
            every = np.arange(bank.n_classes)
            return _Groups(every, np.zeros(1, np.int64), np.array([bank.n_classes]))
        values = _value_of_each_class(bank, setting.within)
        members = values.argsort(kind="stable")
        sizes = np.unique(values, return_counts=True)[1]
        starts = np.concatenate([[0], sizes.cumsum()[:-1]])
        enough = sizes >= setting.n_way
        if not enough.any():
            raise InputError(
                f"n_way: {setting.n_way} classes within one {setting.within} asked for, "
                f"the largest has {sizes.max()}"
            )
        return _Groups(members, starts[enough], sizes[enough])

    def classes(self, episode: UInts, n_way: int) -> Ints:
        """Distinct classes ``[B, n_way]`` of each episode, given its state ``[B]``."""
        group = np.zeros(len(episode), np.int64)
        if len(self.sizes) > 1:
            # From a stream of its own: the classes below use the other one.
            group = (_uniform(_mix(~episode), 1)[:, 0] * len(self.sizes)).astype(np.int64)
        chosen = distinct(_uniform(episode, n_way), self.sizes[group])
        return self.members[self.starts[group][:, None] + chosen]


def _value_of_each_class(bank: ImageBank, attribute: str) -> Ints:
    if attribute not in bank.attributes:
        known = ", ".join(bank.attributes) or "none"
        raise InputError(f"within: the data have no {attribute!r}; there are {known}")
    values = bank.attributes[attribute].numpy()
    labels = bank.labels.numpy()
    first = values[np.unique(labels, return_index=True)[1]]
    if (first[labels] != values).any():
        name = bank.class_names[int(labels[(first[labels] != values).argmax()])]
        raise InputError(f"within: the images of class {name!r} differ in {attribute!r}")
    return first


def _mix(state: UInts) -> UInts:
    """SplitMix64's output function (Steele, Lea & Flood 2014, OOPSLA, figure 17)."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def _uniform(streams: UInts, n: int) -> NDArray[np.float64]:
    """The first n numbers in [0, 1) of SplitMix64 from each state ``[B]``, ``[B, n]``."""
    counters = np.arange(1, n + 1, dtype=np.uint64) * _ODD
    bits = _mix(streams[:, None] + counters) >> np.uint64(11)
    return bits.astype(np.float64) * 2.0**-53


def distinct(uniform: NDArray[np.float64], sizes: Ints) -> Ints:
    """Draw k numbers without replacement for each row of a batch.

    Each draw is a uniform rank among the numbers that are left; passing over the numbers drawn
    before, in ascending order, turns the rank into a number. Takes O(B k²) time whatever the
    sizes.

    Args:
        uniform: independent numbers in [0, 1), ``[B, k]``.
        sizes: population size of each row, in [k, 2³¹), ``[B]``.

    Returns:
        ``[B, k]``: k distinct numbers in [0, size), uniform over ordered k-tuples.
    """
    batch, k = uniform.shape
    ranks = (uniform * (sizes[:, None] - np.arange(k))).astype(np.int32).T.copy()
    order = np.arange(k, dtype=np.int32)[:, None]
    drawn = np.empty((k, batch), np.int32)
    # Numbers drawn so far, ascending, with a sentinel at either end.
    ascending = np.full((k + 1, batch), np.iinfo(np.int32).max, np.int32)
    ascending[0] = -1
    for i, rank in enumerate(ranks):
        lower, upper = ascending[: i + 1], ascending[1 : i + 2]
        # The j-th smallest number drawn is passed if at most `rank` undrawn ones lie below it.
        passed = upper[:i] <= rank + order[:i]
        number = drawn[i] = rank + passed.view(np.int8).sum(0, dtype=np.int32)
        upper[...] = np.maximum(lower, np.minimum(upper, number))  # insert, keeping the order
    return drawn.T.astype(np.int64)
