"""Sparse codes of images as features."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from guided.backbones.base import Backbone, ImageShape
from guided.errors import InputError
from guided.ranges import Count, Positive
from guided.sparse_coding.lca import encode

FAINT = 1e-3
"""Norm of a constant image that rounding may leave; the faintest that 8 bits can tell has 4e-3."""
FAINT_PATCH = 1.0
"""Patches of a smaller norm, such as a stroke's end in a corner, stay faint."""
ROWS = 16_384
"""Patches that are encoded at a time."""


class SparseCode(Backbone):
    """The sparse code of an image, or of its patches, over a dictionary that no gradient changes.

    A whole image is standardised first, see :func:`standardised`. With ``patch`` its patches are,
    and their codes are averaged over the cells of a grid: a shifted stroke keeps most of its code.
    A training computes the dictionary, for example :class:`guided.SparseCoding`.

    Source: Rozell et al. (2008), Neural Computation 20, 2526-2563; see
    :func:`guided.sparse_coding.encode`.

    Args:
        input_shape: (C, H, W) of the images.
        atoms: of the dictionary, at least 1.
        sparsity: λ > 0; images and patches have norm 1.
        nonnegative: codes are at least 0.
        patch: side of the patches in pixels; null: the whole image.
        stride: pixels from one patch to the next.
        grid: cells along each side over which the codes of patches are averaged.
        steps: of the inference, at most.
        tolerance: the violation of the minimum's conditions at which it stops, > 0.
    """

    dictionary: Tensor

    def __init__(
        self,
        input_shape: ImageShape,
        *,
        atoms: Count = 512,
        sparsity: Positive = 0.1,
        nonnegative: bool = True,
        patch: Count | None = None,
        stride: Count = 3,
        grid: Count = 4,
        steps: Count = 200,
        tolerance: Positive = 1e-3,
    ) -> None:
        cut = {} if patch is None else {"patch": patch, "stride": stride, "grid": grid}
        super().__init__(
            input_shape,
            atoms=atoms,
            sparsity=sparsity,
            nonnegative=nonnegative,
            steps=steps,
            tolerance=tolerance,
            **cut,
        )
        channels, height, width = input_shape
        if patch is not None and patch > min(height, width):
            raise InputError(f"SparseCode.patch: {patch} is more than the images' {height}×{width}")
        self.sparsity, self.nonnegative = sparsity, nonnegative
        self.patch, self.stride, self.grid = patch, stride, grid
        self.steps, self.tolerance = steps, tolerance
        pixels = height * width if patch is None else patch * patch
        self.feature_dim = atoms if patch is None else atoms * grid * grid
        self.register_buffer("dictionary", torch.zeros(atoms, channels * pixels))

    def inputs(self, images: Tensor) -> Tensor:
        """The standardised images or patches that are encoded, ``[B, P, n]``.

        Args:
            images: float in [0, 1], ``[B, C, H, W]``.
        """
        if self.patch is None:
            return standardised(images)[:, None]
        patches = F.unfold(images, self.patch, stride=self.stride).mT
        return standardised(patches.flatten(0, 1), FAINT_PATCH).unflatten(0, patches.shape[:2])

    def forward(self, images: Tensor) -> Tensor:
        inputs = self.inputs(images)
        codes = torch.cat([self._codes(rows) for rows in inputs.flatten(0, 1).split(ROWS)])
        if self.patch is None:
            return codes
        columns = (images.shape[3] - self.patch) // self.stride + 1
        places = codes.unflatten(0, (len(images), -1, columns)).permute(0, 3, 1, 2)
        return F.adaptive_avg_pool2d(places, self.grid).flatten(1)

    def _codes(self, x: Tensor) -> Tensor:
        return encode(
            x,
            self.dictionary,
            self.sparsity,
            nonnegative=self.nonnegative,
            steps=self.steps,
            tolerance=self.tolerance,
        )

    def decoder(self, latent_dim: int) -> nn.Module:
        raise InputError(
            "SparseCode: has no decoder and cannot be pretrained; choose another backbone"
        )


def standardised(images: Tensor, faint: float = FAINT) -> Tensor:
    """Images less their mean, with norm 1, ``[B, C·H·W]``; 0 for a constant image.

    Args:
        images: float in [0, 1], ``[B, …]``.
        faint: norm below which an image is divided by this instead.
    """
    x = images.flatten(1)
    x = x - x.mean(1, keepdim=True)
    return x / x.norm(dim=1, keepdim=True).clamp_min(faint)
