"""``CausalDataset``: images of two causes and their effects, drawn here."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor

from fewshot.data.bank import ImageBank
from fewshot.data.dataset import SPLITS, Dataset, Listing, SplitName, Splits, fifths
from fewshot.data.io.cache import cached_bank
from fewshot.data.roots import Roots
from guided.ranges import Range, Whole
from guided.seeds import generator

Split = Literal["classes", "images"]
Size = Literal[28, 32, 64]
N = Annotated[int, Range(1000)]  # images: with fewer, classes may be empty
GRID = 7  # cells along each of the two causes
N_CLASSES = GRID**2
N_TEST, N_VALIDATION = N_CLASSES // 4, N_CLASSES // 6  # classes: 12 and 8
CHUNK = 1024  # images at a time


class CausalDataset(Dataset):
    """Images of four factors: two causes, drawn uniformly, and two effects of theirs.

    A class is a cell of a 7 × 7 grid over the two causes: 49 classes. Factors vary within it.

    Args:
        root: ignored, since nothing is read.
        images: how many are drawn, at least 1,000; a larger draw begins with a smaller one's.
        size: height and width in pixels, 28, 32 or 64.
        split: ``classes`` holds out whole cells, 12 for testing and 8 for validation, new
            combinations of the causes; ``images`` holds out a fifth of the images each, of all
            cells, as metrics of latents expect.
        seed: of the draws, >= 0.

    Raises:
        InputError: a setting is out of range.
    """

    causes: ClassVar[Mapping[str, tuple[float, float]]]  # the two, and their ranges
    renderer: ClassVar[int] = 1  # part of the cache's key: raise it when images change

    def __init__(
        self,
        root: Roots | None = None,
        *,
        images: N = 8000,
        size: Size = 32,
        split: Split = "classes",
        seed: Whole = 0,
    ) -> None:
        super().__init__(root)
        self.images, self.size, self.split, self.seed = images, size, split, seed

    @abstractmethod
    def factors(self, causes: Mapping[str, Tensor], noise: Tensor) -> dict[str, Tensor]:
        """All factors, causes first, name -> ``[n]``.

        Args:
            causes: name -> ``[n]``.
            noise: uniform in [0, 1), ``[n]``, for an effect that its causes do not determine.
        """

    @abstractmethod
    def render(self, factors: Mapping[str, Tensor]) -> Tensor:
        """Images uint8 ``[n, 1, size, size]`` of factors, name -> ``[n]``."""

    def _settings(self) -> dict[str, Any]:
        """Everything that the images and their order depend on."""
        keys = ("images", "size", "split", "seed", "renderer")
        return {key: getattr(self, key) for key in keys}

    def splits(self) -> Splits:
        bank = cached_bank(self.name, self._settings(), self._build)
        if self.split == "images":
            rows = torch.arange(len(bank)).split(fifths(len(bank)))
            return Splits(*(bank.rows(part) for part in rows))
        parts = class_parts(self.seed)
        return Splits(*(bank.classes((parts == k).nonzero().squeeze(1)) for k in range(3)))

    def class_counts(self) -> dict[SplitName, int]:
        if self.split == "images":
            return dict.fromkeys(SPLITS, N_CLASSES)
        counts = class_parts(self.seed).bincount(minlength=3).tolist()
        return dict(zip(SPLITS, counts, strict=True))

    def listing(self) -> Listing:
        return self.present("generated", N_CLASSES, self.images)

    @property
    def how_to_get(self) -> str:
        return "always there: drawn when it is used"

    def download(self) -> None:
        """Do nothing: there is nothing to download."""

    def _build(self) -> ImageBank:
        chance = torch.rand(
            self.images, 3, generator=generator(self.seed, self.name, "images"), dtype=torch.float64
        )
        cell = (GRID * chance[:, :2]).long().clamp(max=GRID - 1)
        labels = GRID * cell[:, 0] + cell[:, 1]
        order = self._order(labels)
        causes = {
            name: low + (high - low) * chance[order, k]
            for k, (name, (low, high)) in enumerate(self.causes.items())
        }
        factors = self.factors(causes, chance[order, 2])
        parts = [
            self.render({name: values[start : start + CHUNK] for name, values in factors.items()})
            for start in range(0, self.images, CHUNK)
        ]
        first, second = self.causes
        return ImageBank(
            torch.cat(parts),
            labels[order],
            tuple(f"{first}{i}/{second}{j}" for i in range(GRID) for j in range(GRID)),
            factors={name: values.float() for name, values in factors.items()},
        )

    def _order(self, labels: Tensor) -> Tensor:
        """Rows sorted by split and class, so that a split is a view."""
        if self.split == "classes":
            parts = class_parts(self.seed)[labels]
        else:
            parts = torch.arange(3).repeat_interleave(torch.tensor(fifths(self.images)))
        return (parts * N_CLASSES + labels).argsort(stable=True)


def class_parts(seed: int) -> Tensor:
    """The split of each class, int64 ``[49]``: 0 training, 1 validation, 2 test."""
    order = torch.randperm(N_CLASSES, generator=generator(seed, "causal", "classes"))
    parts = torch.zeros(N_CLASSES, dtype=torch.int64)
    parts[order[:N_TEST]] = 2
    parts[order[N_TEST : N_TEST + N_VALIDATION]] = 1
    return parts
