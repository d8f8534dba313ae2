"""Deformations that are learned between images that an encoder holds for the same."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fewshot.learners.deformation.alignment import alignments, ink, reduced
from fewshot.learners.deformation.distortion import image_features
from fewshot.learners.free_form_matching import FreeFormMatching
from guided.deformations import Deformations, shrunk
from guided.encoder import Encoder
from guided.errors import InputError
from guided.free_form import GRID, N_COEFFICIENTS, coefficients_of, places, slopes, weights
from guided.ranges import Checked, Count, Positive, PositiveShare, Several
from guided.seeds import generator

CHUNK = 1024
"""Images that are embedded, and whose cosines are kept, at a time."""


@dataclass(frozen=True, eq=False)
class Learned:
    """Deformations, and what they were learned from.

    Attributes:
        deformations: the model.
        pairs: rows of the images that were deformed into each other, int64 ``[P, 2]``.
        left: what is left over of each pair, as a share of the images' own features, ``[P]``.
        kept: the pairs that counted, bool ``[P]``.
    """

    deformations: Deformations
    pairs: Tensor
    left: Tensor
    kept: Tensor

    def __str__(self) -> str:
        """The numbers of pairs."""
        return f"{int(self.kept.sum())} of {len(self.pairs)} pairs of neighbours kept"

    @property
    def facts(self) -> dict[str, float]:
        """Plain numbers: pairs that were fitted and kept, and the threshold between them."""
        return {
            "pairs": len(self.pairs),
            "kept": int(self.kept.sum()),
            "threshold": round(float(self.left[self.kept].max()), 4),
        }


@dataclass(frozen=True)
class DeformationFit(Checked):
    """Learns the deformations between images that an encoder holds for alike, without labels.

    Two images are a pair if each is among the other's nearest ones, by the cosine of an encoder's
    embeddings. Each is deformed into the other, after alignment, as :class:`FreeFormMatching` does
    it, with deformations made by hand as the prior; the pairs of which least is left over are kept.
    A draw for each from Laplace's approximation of its posterior gives the covariance
    (:func:`guided.deformations.shrunk`), which is the prior of the next round: stochastic EM
    (Celeux & Diebolt 1985). Where images do not tell, the prior of the round before thus stays.

    The deformations of images as they are follow by undoing both alignments.

    Args:
        neighbours: nearest ones of an image among which the other has to be.
        pairs: the most that are fitted, drawn at random if there are more.
        keep: share of the pairs that are kept: those of which the least is left over, in both
            directions together, as a share of what both images' features are.
        rounds: of fitting.
        stiffness: of the fit; see :class:`FreeFormMatching`. 0.05 of two values (0.02) taught
            views with a lower error on validation characters of Omniglot.
    """

    neighbours: Count = 3
    pairs: Several = 2000
    keep: PositiveShare = 0.5
    rounds: Count = 2
    stiffness: Positive = 0.05

    @torch.no_grad()
    def learn(
        self, encoder: Encoder, images: Tensor, *, seed: int = 0, device: str | torch.device = "cpu"
    ) -> Learned:
        """The deformations between neighbours.

        Args:
            encoder: in evaluation mode; its output decides who is near.
            images: uint8 ``[N, C, H, W]``, or float in [0, 1].
            seed: of the choice of pairs and of the draws.
            device: where to compute.

        Raises:
            InputError: fewer than two pairs.
        """
        encoder = encoder.to(device).eval()
        codes = torch.cat([encoder(part.to(device)) for part in images.split(CHUNK)])
        pairs = mutual_pairs(codes, self.neighbours).cpu()
        order = torch.randperm(len(pairs), generator=generator(seed, "deformations", "pairs"))
        pairs = pairs[order[: self.pairs].sort().values]
        if len(pairs) < 2:
            raise InputError(
                f"neighbours: {self.neighbours} nearest ones give {len(pairs)} pairs of "
                f"{len(images)} images; ask for more neighbours"
            )
        return self.between(encoder, images, pairs, seed=seed, device=device)

    @torch.no_grad()
    def between(
        self,
        encoder: Encoder,
        images: Tensor,
        pairs: Tensor,
        *,
        seed: int = 0,
        device: str | torch.device = "cpu",
    ) -> Learned:
        """The deformations between given pairs.

        Args:
            encoder: what :class:`FreeFormMatching` is made with; it says the images' shape.
            images: as for :meth:`learn`.
            pairs: rows of images, int64 ``[P, 2]``.
            seed: of the draws.
            device: where to compute.
        """
        matcher = FreeFormMatching(encoder, stiffness=self.stiffness).to(device)
        both = torch.cat([pairs, pairs.flip(1)])
        drawings = [images[rows].to(device) for rows in both.unbind(1)]
        fixed, moving = (torch.cat([matcher.prepare(x) for x in d.split(CHUNK)]) for d in drawings)
        energy = _energy(matcher, fixed) + _energy(matcher, moving)
        kept = torch.ones(len(pairs), dtype=torch.bool, device=device)
        left = energy
        for number in range(self.rounds):
            found = matcher.register(fixed[:, None], moving[:, None])
            left = (2 * found.residual[:, 0, 0] / energy.clamp(min=1e-12)).view(2, -1).mean(0)
            kept = left <= left.quantile(self.keep)
            chance = generator(seed, "deformations", "draws", number, device=left.device)
            size = len(both), N_COEFFICIENTS
            normal = torch.randn(size, generator=chance, device=left.device)
            scale = torch.linalg.cholesky_ex(found.spread[:, 0]).L
            drawn = found.coefficients[:, 0, 0] + (scale @ normal.unsqueeze(2))[..., 0]
            matcher.covariance = shrunk(drawn[kept.repeat(2)])
        maps = [_alignments(matcher, d)[kept.repeat(2)] for d in drawings]
        as_they_are = _undone(drawn[kept.repeat(2)], *maps)
        covariances = shrunk(as_they_are).cpu(), matcher.covariance.cpu()
        return Learned(Deformations(*covariances), pairs, left.cpu(), kept.cpu())


def mutual_pairs(codes: Tensor, neighbours: int) -> Tensor:
    """Pairs of rows that are each among the other's nearest, by cosine, the lower row first.

    Args:
        codes: ``[N, d]``.
        neighbours: how many are the nearest.

    Returns:
        int64 ``[P, 2]``.
    """
    codes = F.normalize(codes, dim=1)
    neighbours = min(neighbours, len(codes) - 1)
    rows = torch.arange(len(codes), device=codes.device)
    nearest = []
    for part in rows.split(CHUNK):
        cosines = codes[part] @ codes.T
        cosines.scatter_(1, part[:, None], -torch.inf)
        nearest.append(cosines.topk(neighbours).indices)
    found = torch.cat(nearest)
    mutual = (found[found] == rows[:, None, None]).any(2) & (found > rows[:, None])
    first, place = mutual.nonzero(as_tuple=True)
    return torch.stack([first, found[first, place]], 1)


def _energy(matcher: FreeFormMatching, prepared: Tensor) -> Tensor:
    """Squares of the features, summed over them and averaged over pixels, ``[B]``."""
    return image_features(prepared, matcher.gradients).square().sum(1).mean((1, 2))


def _alignments(matcher: FreeFormMatching, images: Tensor) -> Tensor:
    """The maps of its alignment, ``[B, 2, 3]``."""
    return alignments(ink(reduced(images, matcher.size)), matcher.spread, matcher.stretch)


def _undone(coefficients: Tensor, fixed: Tensor, moving: Tensor) -> Tensor:
    """Deformations of images as they are from those of aligned ones, ``[P, 32]``.

    Args:
        coefficients: of the aligned moving image into the aligned fixed one, ``[P, 32]``.
        fixed, moving: the alignments, ``[P, 2, 3]``.
    """
    at = places(GRID, GRID).to(coefficients).flatten(0, 1)
    scales = [matrix.diagonal(dim1=1, dim2=2).unsqueeze(1) for matrix in (fixed, moving)]
    aligned = (at - fixed[:, None, :, 2]) / scales[0]
    # A cubic says nothing beyond the image: there its affine part alone continues.
    inside = aligned.clamp(-1, 1)
    control = coefficients.unflatten(1, (2, -1))
    shifts = torch.einsum("bpk,bdk->bpd", weights(inside), control)
    shifts = shifts + (aligned - inside) @ (control @ slopes().to(control).T).mT
    moved = scales[1] * (aligned + shifts) + moving[:, None, :, 2]
    return coefficients_of((moved - at).unflatten(1, (GRID, GRID)))
