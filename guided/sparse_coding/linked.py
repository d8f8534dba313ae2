"""Dictionaries of several kinds of data that share one code."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from guided.errors import InputError
from guided.ranges import Checked, Count, NonNegative, Positive
from guided.sparse_coding.lca import TINY, encode


class LinkedDictionaries(Checked, nn.Module):
    """One sparse code for several kinds of data, such as an image and the label of its class.

    A code a minimises ½ Σ γ_m ‖x_m − a D_m‖² + λ ‖a‖₁ over the kinds m that are known: LCA on the
    √γ_m x_m side by side, with atoms of norm 1. From some kinds alone it is inferred with their
    part of each atom, rescaled to norm 1, and scaled back, so that it means the same (the rescaling
    of D-KSVD; Zhang & Li 2010, CVPR). Any kind m is then predicted as a D_m: the class from an
    image, or an image from its class.

    Args:
        widths: kind -> its number of values.
        atoms: their number K.
        weights: kind -> γ ≥ 0; 1 if not given; 0 leaves the kind out.
        sparsity: λ > 0.
        nonnegative: a ≥ 0.
        options: further arguments of :func:`guided.sparse_coding.encode`.

    Raises:
        InputError: a weight is negative, or no kind is left.
    """

    atoms: Tensor
    used: Tensor

    def __init__(
        self,
        widths: Mapping[str, Count],
        atoms: Count,
        *,
        weights: Mapping[str, NonNegative] | None = None,
        sparsity: Positive = 0.1,
        nonnegative: bool = True,
        **options: Any,
    ) -> None:
        super().__init__()
        self.sparsity, self.nonnegative, self.options = sparsity, nonnegative, options
        self.places: dict[str, slice] = {}
        self.roots: dict[str, float] = {}
        width = 0
        for kind, values in widths.items():
            weight = (weights or {}).get(kind, 1.0)
            if weight:
                self.roots[kind] = weight**0.5
                self.places[kind] = slice(width, width + values)
                width += values
        if not width:
            raise InputError("weights: a kind with a weight above 0 is needed")
        self.register_buffer("atoms", torch.zeros(atoms, width))
        self.register_buffer("used", torch.zeros(atoms))

    def part(self, kinds: Iterable[str]) -> tuple[Tensor, Tensor]:
        """Atoms of some kinds: their parts side by side, of norm 1 ``[K, n]``, and their norms."""
        columns = torch.cat([self.atoms[:, self.places[kind]] for kind in kinds], 1)
        norms = columns.norm(dim=1).clamp_min(TINY)
        return columns / norms[:, None], norms

    def code(self, parts: Mapping[str, Tensor], *, sparsity: float | None = None) -> Tensor:
        """Codes ``[B, K]`` of examples of which some kinds are known.

        Args:
            parts: kind -> ``[B, n_m]``, at least one that is not left out.
            sparsity: λ in place of the usual.
        """
        kinds = [kind for kind in self.places if kind in parts]
        atoms, norms = self.part(kinds)
        x = torch.cat([self.roots[kind] * parts[kind] for kind in kinds], 1)
        codes = encode(
            x, atoms, sparsity or self.sparsity, nonnegative=self.nonnegative, **self.options
        )
        return codes / norms

    def predict(self, codes: Tensor, kind: str) -> Tensor:
        """The values of a kind that codes ``[B, K]`` stand for, ``[B, n_m]``."""
        return codes @ self.atoms[:, self.places[kind]] / self.roots[kind]

    @torch.no_grad()
    def replace(self, which: Tensor, parts: Mapping[str, Tensor]) -> None:
        """Make examples the atoms at ``which``.

        Args:
            which: bool ``[K]``, or indices ``[n]``.
            parts: as for :meth:`learn`, one example for each.
        """
        self.atoms[which] = F.normalize(self._joined(parts).nan_to_num())

    @torch.no_grad()
    def learn(
        self, parts: Mapping[str, Tensor], rate: float, *, sparsity: float | None = None
    ) -> Tensor:
        """Move the atoms by one Hebbian step on examples; returns their codes, ``[B, K]``.

        Each atom moves by rate · Σ a r / (Σ a² + the mean of that over atoms), summed over the
        examples, r being what the code leaves unexplained, and is rescaled to norm 1. The rule is
        local: it needs an atom's own activity and the residual. ``used`` adds up the activity.

        Differs from lcapt, which divides by one more than the number of active examples: here rate
        is a share of the way to the atom that fits the examples best, whatever the scale of codes.

        Args:
            parts: kind -> ``[B, n_m]``; rows of NaN where a kind is unknown.
            rate: in (0, 1].
            sparsity: λ in place of the usual.
        """
        known = torch.stack([~parts[kind][:, 0].isnan() for kind in self.places], 1)
        codes = self.atoms.new_zeros(len(known), len(self.atoms))
        for there in known.unique(dim=0):
            rows = (known == there).all(1)
            kinds = [kind for kind, is_known in zip(self.places, there, strict=True) if is_known]
            if kinds:
                these = {kind: parts[kind][rows] for kind in kinds}
                codes[rows] = self.code(these, sparsity=sparsity)
        rest = (self._joined(parts) - codes @ self.atoms).nan_to_num()
        energy = codes.square().sum(0)[:, None]
        step = rate * (codes.mT @ rest) / (energy + energy.mean()).clamp_min(TINY)
        self.atoms.copy_(F.normalize(self.atoms + step))
        self.used += codes.abs().sum(0)
        return codes

    def _joined(self, parts: Mapping[str, Tensor]) -> Tensor:
        return torch.cat([self.roots[kind] * parts[kind] for kind in self.places], 1)
