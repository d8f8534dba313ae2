"""``Sprites``: images of known factors, those of dSprites, that need no files."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor

from fewshot.data.bank import ImageBank, Renderer
from fewshot.data.dataset import SPLITS, Dataset, Listing, SplitName, Splits, fifths
from fewshot.data.io.cache import cached_bank, pixel_array
from fewshot.data.roots import Roots
from fewshot.data.sprites.factors import (
    CLASS_NAMES,
    FACTORS,
    LEVELS,
    N_CLASSES,
    N_SPRITES,
    SpriteFactors,
    class_parts,
    grid_factors,
    sprite_factors,
)
from fewshot.data.sprites.render import render
from guided.ranges import Range, Whole
from guided.seeds import generator

RENDERER = 1  # part of the cache's key: raise it when the same factors give other images
Split = Literal["classes", "images"]
Size = Literal[32, 64]
LEAST = 1000  # images: with fewer, classes may be empty
CHUNK = 4096  # images at a time


@dataclass(frozen=True)
class Drawn:
    """The sprites of a bank.

    Attributes:
        rows: int64 ``[n]``, among all sprites, in the order of the bank.
        labels: int64 ``[n]``, their classes.
        parts: int64 ``[n]``, ascending: 0 training, 1 validation, 2 test.
    """

    rows: Tensor
    labels: Tensor
    parts: Tensor


class SpriteDataset(Dataset):
    """A random subset of all combinations of shape, scale, orientation and position.

    A class is a shape, a scale and a direction: an orientation to 45°, as far as the shape's
    symmetry shows it. That is two directions of the square, four of the ellipse and eight of the
    heart at each of six scales, 84 classes. Position, and orientation within a direction, vary
    within a class.

    Factors of the banks, in dSprites' units: ``shape``, 0 square, 1 ellipse, 2 heart; ``scale``,
    0.5 … 1; ``orientation``, radians; ``position_x`` and ``position_y``, 0 … 1. Attributes of the
    same names: the number of the value, from 0.

    Args:
        root: the folder or folders that hold the datasets.
        images: how many are drawn at random of all 737,280, at least 1,000; a larger draw holds a
            smaller one's.
        size: height and width in pixels, 32 or 64.
        split: ``classes`` holds out a quarter of the classes for testing and a sixth for
            validation, new combinations of shape, scale and direction; ``images`` holds out a
            fifth of the images each, of the same classes: factors are independent then, as
            metrics of latents expect, but errors are not about new classes.
        seed: of the draws, >= 0.

    Raises:
        InputError: a setting is out of range.
    """

    def __init__(
        self,
        root: Roots | None = None,
        *,
        images: Annotated[int, Range(LEAST, N_SPRITES)] = 20_000,
        size: Size = 64,
        split: Split = "classes",
        seed: Whole = 0,
    ) -> None:
        super().__init__(root)
        self.images, self.size, self.split, self.seed = images, size, split, seed

    def splits(self) -> Splits:
        settings = {
            "images": self.images,
            "size": self.size,
            "split": self.split,
            "seed": self.seed,
        }
        bank = cached_bank(self.name, {**settings, **self._source()}, self._build)
        bank = replace(bank, renderer=self._renderer())
        if self.split == "classes":
            parts = class_parts(self.seed)
            return Splits(*(bank.classes((parts == k).nonzero().squeeze(1)) for k in range(3)))
        row = torch.arange(len(bank))
        return Splits(*(bank.rows(part) for part in row.split(fifths(len(bank)))))

    def class_counts(self) -> dict[SplitName, int]:
        if self.split == "images":
            return dict.fromkeys(SPLITS, N_CLASSES)
        counts = class_parts(self.seed).bincount(minlength=3).tolist()
        return dict(zip(SPLITS, counts, strict=True))

    @abstractmethod
    def _source(self) -> Mapping[str, Any]:
        """The facts that images depend on besides the settings, for the cache.

        Raises:
            InputError: files are missing.
        """

    def _renderer(self) -> Renderer | None:
        """A maker of further images, if there is one."""
        return None

    @abstractmethod
    def _factors(self) -> SpriteFactors:
        """The factors of all images."""

    @abstractmethod
    def _pixels(self, factors: SpriteFactors, rows: Tensor) -> Tensor:
        """Some of the images, uint8 ``[n, 1, size, size]``.

        Args:
            factors: of all images.
            rows: int64 ``[n]``.
        """

    def _build(self) -> ImageBank:
        factors = self._factors()
        if self.images > len(factors):
            self._refuse("images", f"at most the {len(factors):,} there are", self.images)
        drawn = self._draw(factors)
        shown = factors.rows(drawn.rows)
        levels = {name: shown.levels[:, k].contiguous() for k, name in enumerate(FACTORS)}
        values = {name: shown.values[:, k].float() for k, name in enumerate(FACTORS)}
        return ImageBank(
            self._pixels(factors, drawn.rows),
            drawn.labels,
            CLASS_NAMES,
            levels,
            {**values, "shape": levels["shape"]},
        )

    def _draw(self, factors: SpriteFactors) -> Drawn:
        """Draw the sprites, and sort them by split and class, so that a split is a view."""
        chance = generator(self.seed, "sprites", "images")
        rows = torch.randperm(len(factors), generator=chance)[: self.images]
        labels = factors.rows(rows).classes()
        if self.split == "classes":
            parts = class_parts(self.seed)[labels]
        else:
            parts = torch.arange(3).repeat_interleave(torch.tensor(fifths(self.images)))
        order = ((parts * N_CLASSES + labels) * len(factors) + rows).argsort()
        return Drawn(rows[order], labels[order], parts[order])


@dataclass(frozen=True)
class SpriteRenderer:
    """Makes images of sprites; see :class:`.Renderer`.

    Args:
        size: height and width in pixels.
    """

    size: int

    @property
    def n_values(self) -> Mapping[str, int]:
        return dict(zip(FACTORS, LEVELS, strict=True))

    def __call__(self, numbers: Tensor) -> Tensor:
        return render(sprite_factors(numbers).values, self.size)


class Sprites(SpriteDataset):
    """dSprites' factors, rendered here: a square, an ellipse or a heart, 255 on 0.

    Differs from dSprites (Matthey et al. 2017): edges are smooth, at both sizes, so that positions
    between pixels show; the shapes have the same area and turn around their centres of mass; the
    40 orientations are 9° apart, clockwise, where dSprites has both 0° and 360°. Positions count
    to the right and down.
    """

    name: ClassVar[str] = "sprites"

    def listing(self) -> Listing:
        return self.present("generated", N_CLASSES, self.images)

    @property
    def how_to_get(self) -> str:
        return "always there: drawn when it is used"

    def download(self) -> None:
        """Do nothing: there is nothing to download."""

    def _source(self) -> Mapping[str, Any]:
        return {"renderer": RENDERER}

    def _renderer(self) -> Renderer:
        return SpriteRenderer(self.size)

    def _factors(self) -> SpriteFactors:
        return grid_factors()

    def _pixels(self, factors: SpriteFactors, rows: Tensor) -> Tensor:
        from tqdm.auto import tqdm

        from guided.progress import hidden

        pixels = torch.from_numpy(pixel_array((len(rows), 1, self.size, self.size)))
        chunks = zip(pixels.split(CHUNK), rows.split(CHUNK), strict=True)
        for target, some in tqdm(list(chunks), desc="draw sprites", leave=False, disable=hidden()):
            target.copy_(render(factors.values[some], self.size))
        return pixels
