"""``Glyphs``: procedural handwriting, a dataset that needs no files.

It resembles Omniglot (Lake et al. 2015, Science 350:1332): alphabets of characters, each of which
is drawn once by each of the alphabet's drawers, about as hard to classify by their pixels. The
rotation, slant, scale, thickness and position of each drawing are known.
"""

from collections.abc import Mapping
from itertools import accumulate, pairwise
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from fewshot.data.bank import ImageBank
from fewshot.data.dataset import SPLITS, Dataset, Listing, SplitName, Splits
from fewshot.data.glyphs.factor_bins import with_binned_factors
from fewshot.data.glyphs.handwriting import CAUSES, FACTORS, draw_alphabet, with_effect
from fewshot.data.glyphs.strokes import MAX_CHARACTERS
from fewshot.data.io.cache import cached_bank
from fewshot.data.roots import Roots
from guided.errors import InputError
from guided.ranges import Count, Range, Several, Whole, check

RENDERER = 2  # part of the cache's key: raise it when the same seed gives other images
Split = Literal["alphabets", "drawers"]
MIN_SIZE = 8  # pixels; smaller characters are blots


class Glyphs(Dataset):
    """Procedural handwriting: ink 255 on 0; a class is a character with an image by each drawer.

    Attributes of its banks: ``alphabet``; ``drawer``, 0 … n_drawers - 1 within the alphabet, whose
    style persists over the alphabet's characters. Factors: ``rotation``, degrees clockwise;
    ``slant``, step to the right per step up (> 0 for italics); ``scale``, 1 on average;
    ``thickness``, pixels; ``translation_x`` (to the right) and ``translation_y`` (down), pixels
    from the middle of the image to the centre of mass of the ink.

    Args:
        root: ignored, since nothing is read.
        n_alphabets: at least 3; the first are for training, the next for validation, the last for
            testing.
        n_characters: characters in an alphabet, 1 … 30.
        n_drawers: drawers of each alphabet, at least 1; each class has as many images.
        size: height and width of the images in pixels, at least 8.
        seed: of everything, >= 0.
        validation_alphabets: number of alphabets in the validation split, at least 1.
        test_alphabets: number of alphabets in the test split, at least 1.
        split: ``alphabets`` holds out whole alphabets, so that test characters are new;
            ``drawers`` holds out the last two fifths of the drawers of every alphabet, so that
            test images are new drawings of known characters: for studying latents, not for
            few-shot errors.
        factor_bins: if not 0, each factor is also an attribute of the same name, 0 …
            factor_bins - 1, divided at the quantiles of the training images; at least 2.
        causal: who writes larger also presses harder, and who turns characters also slants them:
            :attr:`graph` says which factor causes which. A drawing too large for its image is
            made smaller after that, at the same thickness.

    Raises:
        InputError: a setting is out of range.
    """

    name: ClassVar[str] = "glyphs"

    def __init__(
        self,
        root: Roots | None = None,
        *,
        n_alphabets: Annotated[int, Range(3)] = 20,
        n_characters: Annotated[int, Range(1, MAX_CHARACTERS)] = 20,
        n_drawers: Count = 20,
        size: Annotated[int, Range(MIN_SIZE)] = 28,
        seed: Whole = 0,
        validation_alphabets: Count = 3,
        test_alphabets: Count = 5,
        split: Split = "alphabets",
        factor_bins: Whole = 0,
        causal: bool = False,
    ) -> None:
        super().__init__(root)
        self.n_alphabets, self.n_characters, self.n_drawers = n_alphabets, n_characters, n_drawers
        self.size, self.seed, self.split, self.causal = size, seed, split, causal
        self.validation_alphabets, self.test_alphabets = validation_alphabets, test_alphabets
        self.factor_bins = factor_bins
        if factor_bins:
            check(Several, factor_bins, "Glyphs.factor_bins")
        if split == "drawers":
            check(Annotated[int, Range(5)], n_drawers, "Glyphs.n_drawers")
        if validation_alphabets + test_alphabets >= n_alphabets:
            raise InputError(
                f"Glyphs: validation_alphabets ({validation_alphabets}) + test_alphabets "
                f"({test_alphabets}): expected fewer than n_alphabets ({n_alphabets})"
            )

    @property
    def graph(self) -> dict[str, tuple[str, ...]]:
        causes = CAUSES if self.causal else {}
        return {name: (causes[name][0],) if name in causes else () for name in FACTORS}

    def counterfactual(
        self, factors: Mapping[str, Tensor], name: str, values: Tensor
    ) -> dict[str, Tensor]:
        after = {**factors, name: values}
        for effect, (cause, _) in CAUSES.items():
            if self.causal and cause == name:
                after[effect] = with_effect(effect, factors[effect], factors[name], values)
        return after

    def splits(self) -> Splits:
        settings = {
            "renderer": RENDERER,
            "n_alphabets": self.n_alphabets,
            "n_characters": self.n_characters,
            "n_drawers": self.n_drawers,
            "size": self.size,
            "seed": self.seed,
        }
        if self.causal:  # without it, banks that were cached before the option are still used
            settings["causal"] = True
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
            return dict.fromkeys(SPLITS, self.n_alphabets * self.n_characters)
        held_out = self.validation_alphabets + self.test_alphabets
        return {
            "train": self.n_characters * (self.n_alphabets - held_out),
            "validation": self.n_characters * self.validation_alphabets,
            "test": self.n_characters * self.test_alphabets,
        }

    def listing(self) -> Listing:
        classes = self.n_alphabets * self.n_characters
        return self.present("generated", classes, classes * self.n_drawers)

    @property
    def how_to_get(self) -> str:
        return "always there: generated from a seed"

    def download(self) -> None:
        """Do nothing: there is nothing to download."""

    def _build(self) -> ImageBank:
        from tqdm.auto import tqdm

        from guided.progress import hidden

        alphabets = tqdm(range(self.n_alphabets), desc="draw glyphs", leave=False, disable=hidden())
        images, factors = zip(
            *(
                draw_alphabet(
                    self.seed, a, self.n_characters, self.n_drawers, self.size, self.causal
                )
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
