"""Sparse codes of images as features."""

import torch
from torch import Tensor, nn

from guided.backbones.base import Backbone, ImageShape
from guided.errors import InputError, check_positive
from guided.sparse_coding.lca import encode

FAINT = 1e-3
"""Norm of a constant image that rounding may leave; the faintest that 8 bits can tell has 4e-3."""


class SparseCode(Backbone):
    """The sparse code of an image over a dictionary that no gradient changes.

    Images are standardised first, see :func:`standardised`. A training computes the dictionary, for
    example :class:`guided.SparseCoding`.

    Source: Rozell et al. (2008), Neural Computation 20, 2526-2563; see
    :func:`guided.sparse_coding.encode`.

    Args:
        input_shape: (C, H, W) of the images.
        atoms: of the dictionary, at least 1; the number of features.
        sparsity: λ > 0; images have norm 1.
        nonnegative: codes are at least 0.
        steps: of the inference, at most.
        tolerance: the violation of the minimum's conditions at which it stops, > 0.
    """

    dictionary: Tensor

    def __init__(
        self,
        input_shape: ImageShape,
        *,
        atoms: int = 512,
        sparsity: float = 0.1,
        nonnegative: bool = True,
        steps: int = 200,
        tolerance: float = 1e-3,
    ) -> None:
        super().__init__(
            input_shape,
            atoms=atoms,
            sparsity=sparsity,
            nonnegative=nonnegative,
            steps=steps,
            tolerance=tolerance,
        )
        check_positive(
            "SparseCode", atoms=atoms, sparsity=sparsity, steps=steps, tolerance=tolerance
        )
        self.feature_dim, self.sparsity, self.nonnegative = atoms, sparsity, nonnegative
        self.steps, self.tolerance = steps, tolerance
        channels, height, width = input_shape
        self.register_buffer("dictionary", torch.zeros(atoms, channels * height * width))

    def forward(self, images: Tensor) -> Tensor:
        return encode(
            standardised(images),
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


def standardised(images: Tensor) -> Tensor:
    """Images less their mean, with norm 1, ``[B, C·H·W]``; 0 for a constant image.

    Args:
        images: float in [0, 1], ``[B, C, H, W]``.
    """
    x = images.flatten(1)
    x = x - x.mean(1, keepdim=True)
    return x / x.norm(dim=1, keepdim=True).clamp_min(FAINT)
