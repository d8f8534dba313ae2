"""Cells that score encoders, and the truth itself, against ground-truth factors."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fewshot.config import describe
from fewshot.data.bank import ImageBank
from fewshot.study.cells import Cell, Cells
from fewshot.study.disentanglement.config import DisentanglementConfig
from guided.encoder import Encoder
from guided.errors import InputError, blaming
from guided.finite import check_embeddings
from guided.metrics.disentanglement import disentanglement_scores
from guided.metrics.fixed_factor import made_with_fixed_factor, rows_with_fixed_factor
from guided.seeds import derive_seed

VERSION = 1  # part of every digest: raise it when a score comes to mean another number
CHUNK = 4096  # images at a time

Codes = NDArray[np.floating]


class FactorScorer:
    """Plans the scores of a study's encoders.

    What is drawn depends on the study's seed and not on the arm: arms are paired.

    Args:
        config: which scores.
        bank: of the images with factors.
        cells: the run folder's cells.
        foundation: what every cell depends on.
        device: where to encode.

    Raises:
        InputError: the images have fewer than two factors.
    """

    def __init__(
        self,
        config: DisentanglementConfig,
        bank: ImageBank,
        cells: Cells,
        foundation: dict[str, Any],
        device: str,
    ) -> None:
        if len(bank.factors) < 2:
            raise InputError(
                "disentanglement: needs images of at least two known factors, such as those of "
                f"Sprites or Glyphs; these have {len(bank.factors)}"
            )
        self.config, self.bank, self.cells = config, bank, cells
        self.foundation, self.device = foundation, device

    def encoder(self, name: str, seed: int, encoder: Cell, trained: bool = True) -> Cell:
        """The cell of an encoder's scores; see :meth:`score`."""

        def work(_: Cell) -> dict[str, Any]:
            with blaming(f"arm {name}, seed {seed}"):
                return {"scores": self.score(Encoder.load(encoder.encoder_file), seed, trained)}

        return self.cells.plan(
            f"disentanglement-{name}-seed{seed}",
            {"cell": "disentanglement", "seed": seed, **self._depends},
            work,
            needs={"encoder": encoder},
        )

    def truth(self, seed: int) -> Cell:
        """The cell of the scores of the factors themselves, taken for codes."""
        return self.cells.plan(
            f"disentanglement-truth-seed{seed}",
            {**self.foundation, "cell": "truth", "seed": seed, **self._depends},
            lambda _: {"scores": self.true_scores(seed)},
        )

    @property
    def _depends(self) -> dict[str, Any]:
        return {"version": VERSION, "disentanglement": describe(self.config, full=True)}

    def score(self, encoder: Encoder, seed: int, trained: bool = True) -> dict[str, float]:
        """The scores of an encoder's latents.

        Args:
            encoder: with all its latents.
            seed: of the study.
            trained: false: codes are divided by their spread, which training alone gives a meaning:
                FactorVAE's score would take all latents of an untrained network for dead.
        """
        encoder = encoder.to(self.device).eval()
        renderer = self.bank.renderer
        codes = self._encoded(encoder, self.bank.images.__getitem__)
        spread = codes.std(0) if not trained else np.ones(codes.shape[1])
        spread[spread == 0] = 1

        def made(numbers: Tensor) -> Codes:
            assert renderer is not None
            return self._encoded(encoder, renderer, numbers) / spread

        return self._scores(codes / spread, made, seed)

    def true_scores(self, seed: int) -> dict[str, float]:
        """The scores of the factors, taken for codes."""
        return self._scores(columns(self.bank), lambda numbers: numbers.double().numpy(), seed)

    def _scores(self, codes: Codes, made: Callable[[Tensor], Codes], seed: int) -> dict[str, float]:
        """The scores of codes of the bank's images.

        Args:
            codes: ``[n, d]``.
            made: codes of images that are made of the numbers of their factors' values.
            seed: of the study.
        """
        bank = self.bank
        if bank.renderer:
            n_values = list(bank.renderer.n_values.values())
            sampler = made_with_fixed_factor(n_values, lambda n: made(torch.from_numpy(n)))
        else:
            sampler = rows_with_fixed_factor(codes, columns(bank, numbered=True))
        return disentanglement_scores(
            codes,
            columns(bank),
            draws_seed(seed),
            only=self.config.scores,
            sampler=sampler,
            points=self.config.points,
        )

    @torch.no_grad()
    def _encoded(
        self,
        encoder: Encoder,
        images_of: Callable[[Tensor], Tensor],
        rows: Tensor | None = None,
    ) -> Codes:
        """Posterior means ``[n, latent_dim]``, a chunk at a time.

        Args:
            encoder: of the images.
            images_of: some of the images.
            rows: what they are made or picked by; all rows of the bank if not given.
        """
        rows = torch.arange(len(self.bank)) if rows is None else rows
        parts = (images_of(some).to(self.device) for some in rows.split(CHUNK))
        return check_embeddings(torch.cat([encoder(part).cpu() for part in parts])).numpy()


def draws_seed(seed: int) -> int:
    """The seed of what is drawn for scores of a study's seed, in the 32 bits of scikit-learn."""
    return derive_seed(seed, "disentanglement") % 2**32


def columns(bank: ImageBank, *, numbered: bool = False) -> Codes:
    """The factors of a bank's images, ``[n, k]``.

    Args:
        bank: of the images.
        numbered: in place of a factor's value its number, where the bank knows it as an attribute
            of the same name.
    """
    known = {**bank.factors, **({} if not numbered else bank.attributes)}
    return np.column_stack([known[name].double().numpy() for name in bank.factors])
