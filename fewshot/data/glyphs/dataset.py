"""Procedural handwriting: characters that nobody has seen, drawn by people who do not exist.

It needs no file and passes for Omniglot (Lake et al. 2015, Science 350:1332): alphabets of
characters, each drawn once by each of its alphabet's drawers, as hard to tell apart by their
pixels. What a file cannot give, it has: how each drawing was turned, slanted, scaled and placed.
"""

from itertools import accumulate, pairwise
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor

from fewshot.data.bank import ImageBank
from fewshot.data.dataset import Dataset, Listing, SplitName, Splits
from fewshot.data.glyphs.factor_bins import with_binned_factors
from fewshot.data.glyphs.strokes import (
    MAX_CHARACTERS,
    N_STROKES,
    N_TRIES,
    Alphabet,
    interpolation,
    lengths,
    render,
)
from fewshot.data.io.cache import cached_bank
from guided.errors import InputError
from guided.seeds import generator

RENDERER = 2  # part of the cache's key: raise it when the same seed gives other images
MIN_SIZE = 8  # pixels; characters are blots below
MARGIN = 0.04  # of an image's side, kept free of ink at each border

# Factor: mean, standard deviation between drawers, and between one drawer's drawings. Lengths are
# in image sides. Scale and thickness are log-normal.
FACTORS = {
    "rotation": (0.0, 4.0, 4.0),
    "slant": (0.05, 0.12, 0.06),
    "scale": (1.0, 0.14, 0.08),
    "thickness": (0.058, 0.12, 0.04),
    "translation_x": (0.0, 0.03, 0.03),
    "translation_y": (0.0, 0.03, 0.03),
}
LOG_NORMAL = ("scale", "thickness")
LENGTHS = ("thickness", "translation_x", "translation_y")

# What a hand does differently each time, as standard deviations: the logarithm of a stroke's width
# and height; its place, in image sides; the bends of its course, in parts of its extent.
PROPORTION, PLACE, BEND = 0.12, 0.05, 0.035
N_BENDS = 4  # in a stroke
N_MOTOR = N_STROKES * (4 + 2 * N_BENDS)  # random numbers in a drawing


def _normal(g: torch.Generator, *shape: int) -> Tensor:
    """Standard normal numbers such that a longer draw begins like a shorter one.

    With ``torch.randn``, which does not, the number of drawers would change every drawing.
    """
    uniform = torch.rand(shape, generator=g, dtype=torch.float64)
    quantile: Tensor = torch.special.ndtri(uniform.clamp(1e-9, 1 - 1e-9))
    return quantile.float()


def draw_alphabet(
    seed: int, alphabet: int, n_characters: int, n_drawers: int, size: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """Every character of an alphabet, c of them, drawn by each of its d drawers.

    A drawing depends on the seed and on its alphabet's, character's and drawer's numbers, not on
    how many of them there are.

    Returns:
        images: uint8 ``[c * d, 1, size, size]``, by character, then by drawer.
        factors: name -> float ``[c * d]``; see :class:`Glyphs`.
    """
    style = Alphabet.invented(generator(seed, "glyphs", "alphabet", alphabet))
    hands = [generator(seed, "glyphs", "character", alphabet, c) for c in range(n_characters)]
    strokes, present = style.characters(
        torch.stack([torch.rand(N_TRIES, N_STROKES, 2, generator=g) for g in hands])
    )
    noise = torch.stack([_normal(g, n_drawers, len(FACTORS) + N_MOTOR) for g in hands])
    habits = _normal(generator(seed, "glyphs", "drawers", alphabet), n_drawers, len(FACTORS))
    within, motor = noise[..., : len(FACTORS)], noise[..., len(FACTORS) :]
    drawn = written(
        strokes.repeat_interleave(n_drawers, 0),
        present.repeat_interleave(n_drawers, 0),
        motor.flatten(0, 1),
    )
    placed, factors = posed(drawn, intended(habits, within))
    factors |= {name: size * factors[name] for name in LENGTHS}
    return render(size * placed, factors["thickness"], size), factors


def intended(habits: Tensor, within: Tensor) -> dict[str, Tensor]:
    """The factors, ``[c * d]`` each, that a drawer means to use; lengths in image sides.

    Args:
        habits: standard normal ``[d, len(FACTORS)]``, the drawers'.
        within: standard normal ``[c, d, len(FACTORS)]``, the drawings'.
    """
    factors = {}
    for i, (name, (mean, between_sd, within_sd)) in enumerate(FACTORS.items()):
        deviation = (between_sd * habits[:, i] + within_sd * within[..., i]).flatten()
        factors[name] = deviation.exp() * mean if name in LOG_NORMAL else deviation + mean
    return factors


def written(strokes: Tensor, present: Tensor, motor: Tensor) -> Tensor:
    """Characters as unsteady hands write them, their ink's centre of mass at the origin.

    Args:
        strokes, present: see :meth:`Alphabet.characters`; n of them.
        motor: standard normal ``[n, N_MOTOR]``.

    Returns:
        As ``strokes``; a stroke that is not present repeats the first.
    """
    motor = motor.view(-1, N_STROKES, 4 + 2 * N_BENDS)
    extent = (strokes.amax(2) - strokes.amin(2)).norm(dim=-1)[..., None, None]
    middle = strokes.mean(2, keepdim=True)
    drawn: Tensor = middle + (strokes - middle) * (PROPORTION * motor[:, :, None, :2]).exp()
    drawn = drawn + PLACE * motor[:, :, None, 2:4]
    bends = motor[..., 4:].reshape(-1, N_STROKES, N_BENDS, 2)
    drawn = drawn + BEND * extent * interpolation(N_BENDS, curved=1.0) @ bends
    # A stroke's samples are evenly spaced, so their mean is where its ink is.
    ink = (present * lengths(drawn))[..., None, None]
    centre = (ink * drawn.mean(2, keepdim=True)).sum(1, keepdim=True) / ink.sum(1, keepdim=True)
    drawn = torch.where(present[..., None, None], drawn, drawn[:, :1])
    return drawn - centre


def posed(strokes: Tensor, factors: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Slant, scale, turn and move drawings ``[n, s, p, 2]`` by factors ``[n]``, in this order.

    Nobody draws over the edge of the paper: what would is made smaller and moved inwards.

    Returns:
        strokes: where they are drawn, in image sides from the middle of the image.
        factors: as given but for the scale and translation that were really used.
    """
    x, y = strokes.unbind(3)
    x = x - factors["slant"][:, None, None] * y
    angle = factors["rotation"].deg2rad()[:, None, None]
    turned = torch.stack([angle.cos() * x - angle.sin() * y, angle.sin() * x + angle.cos() * y], 3)
    room = 0.5 - MARGIN - factors["thickness"][:, None] / 2
    low, high = turned.amin((1, 2)), turned.amax((1, 2))
    scale = torch.minimum(factors["scale"], (2 * room / (high - low)).amin(1))
    place = torch.stack([factors["translation_x"], factors["translation_y"]], 1)
    place = place.clamp(-room - scale[:, None] * low, room - scale[:, None] * high)
    used = {"scale": scale, "translation_x": place[:, 0], "translation_y": place[:, 1]}
    return scale[:, None, None, None] * turned + place[:, None, None], {**factors, **used}


class Glyphs(Dataset):
    """Procedural handwriting, the dataset that is always there.

    Attributes of its banks: ``alphabet``; ``drawer``, 0 … n_drawers - 1 within the alphabet, whose
    style persists over the alphabet's characters. Factors: ``rotation``, degrees clockwise;
    ``slant``, the step to the right per step up (italics are > 0); ``scale``, 1 on average;
    ``thickness``, pixels; ``translation_x`` (to the right) and ``translation_y`` (down), of the
    ink's centre of mass from the image's middle, pixels.

    Args:
        root: ignored: nothing is read.
        n_alphabets: 3 or more; the first train, the next validate, the last test.
        n_characters: in an alphabet, 1 … 30.
        n_drawers: of each alphabet, 1 or more; a class has as many images.
        size: an image's side in pixels, 8 or more.
        seed: of everything, >= 0.
        validation_alphabets: how many are held out for choices, 1 or more.
        test_alphabets: how many are held out for results, 1 or more.
        split: hold out whole ``alphabets``: characters nobody has seen; or the last fifths of the
            ``drawers`` of all alphabets: new drawings of known characters, for looking at what
            latents do rather than for few-shot errors.
        factor_bins: 2 or more: each factor is an attribute, too, by its name: 0 … factor_bins - 1,
            between the training images' quantiles; 2 tells right from left, thick from thin.
    """

    name: ClassVar[str] = "glyphs"

    def __init__(
        self,
        root: Path,
        *,
        n_alphabets: int = 20,
        n_characters: int = 20,
        n_drawers: int = 20,
        size: int = 28,
        seed: int = 0,
        validation_alphabets: int = 3,
        test_alphabets: int = 5,
        split: Literal["alphabets", "drawers"] = "alphabets",
        factor_bins: int = 0,
    ) -> None:
        super().__init__(root)
        self.n_alphabets = _within("n_alphabets", n_alphabets, 3)
        self.n_characters = _within("n_characters", n_characters, 1, MAX_CHARACTERS)
        self.n_drawers = _within("n_drawers", n_drawers, 1)
        self.size = _within("size", size, MIN_SIZE)
        self.seed = _within("seed", seed, 0)
        self.validation_alphabets = _within("validation_alphabets", validation_alphabets, 1)
        self.test_alphabets = _within("test_alphabets", test_alphabets, 1)
        self.split = split
        self.factor_bins = factor_bins and _within("factor_bins", factor_bins, 2)
        if split == "drawers":
            _within("n_drawers", n_drawers, 5)
        if validation_alphabets + test_alphabets >= n_alphabets:
            raise InputError(
                f"Glyphs.test_alphabets: {test_alphabets} leaves no alphabet for training "
                f"(n_alphabets: {n_alphabets}, validation_alphabets: {validation_alphabets})"
            )

    def splits(self) -> Splits:
        settings = {
            "renderer": RENDERER,
            "n_alphabets": self.n_alphabets,
            "n_characters": self.n_characters,
            "n_drawers": self.n_drawers,
            "size": self.size,
            "seed": self.seed,
        }
        bank = cached_bank(self.name, settings, self._build)
        splits = self._by_drawer(bank) if self.split == "drawers" else self._by_alphabet(bank)
        return with_binned_factors(splits, self.factor_bins) if self.factor_bins else splits

    def _by_drawer(self, bank: ImageBank) -> Splits:
        fifth = self.n_drawers // 5
        bounds = [0, self.n_drawers - 2 * fifth, self.n_drawers - fifth, self.n_drawers]
        drawer = bank.attributes["drawer"]
        parts = [(start <= drawer) & (drawer < stop) for start, stop in pairwise(bounds)]
        return Splits(*(bank.rows(part.nonzero().squeeze(1)) for part in parts))

    def _by_alphabet(self, bank: ImageBank) -> Splits:
        bounds = [0, *accumulate(self.class_counts().values())]
        return Splits(*(bank.classes(range(start, stop)) for start, stop in pairwise(bounds)))

    def class_counts(self) -> dict[SplitName, int]:
        if self.split == "drawers":
            every = self.n_alphabets * self.n_characters
            return {"train": every, "validation": every, "test": every}
        held_out = self.validation_alphabets + self.test_alphabets
        return {
            "train": self.n_characters * (self.n_alphabets - held_out),
            "validation": self.n_characters * self.validation_alphabets,
            "test": self.n_characters * self.test_alphabets,
        }

    def listing(self) -> Listing:
        classes = self.n_alphabets * self.n_characters
        return Listing(
            name=self.name,
            found=True,
            where="generated",
            classes=classes,
            images=classes * self.n_drawers,
            how_to_get="nothing: generated from its seed",
        )

    def _build(self) -> ImageBank:
        from tqdm import tqdm

        alphabets = tqdm(range(self.n_alphabets), desc="draw glyphs", leave=False, disable=None)
        images, factors = zip(
            *(
                draw_alphabet(self.seed, a, self.n_characters, self.n_drawers, self.size)
                for a in alphabets
            ),
            strict=True,
        )
        n_classes = self.n_alphabets * self.n_characters
        labels = torch.arange(n_classes).repeat_interleave(self.n_drawers)
        return ImageBank(
            torch.cat(images),
            labels,
            tuple(
                f"alphabet{a:02}/character{c:02}"
                for a in range(self.n_alphabets)
                for c in range(self.n_characters)
            ),
            {
                "alphabet": labels // self.n_characters,
                "drawer": torch.arange(self.n_drawers).repeat(n_classes),
            },
            {name: torch.cat([f[name] for f in factors]) for name in FACTORS},
        )


def _within(key: str, value: int, least: int, most: int | None = None) -> int:
    if value < least or (most is not None and value > most):
        wanted = f"{least} or more" if most is None else f"{least} … {most}"
        raise InputError(f"Glyphs.{key}: expected {wanted}, got {value}")
    return value
