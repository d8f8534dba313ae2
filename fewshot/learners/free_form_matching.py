"""Free-form matching: a class is as likely as its support is smoothly deformed into the query."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fewshot.episodes import Episodes
from fewshot.learners.deformation.alignment import Alignment
from fewshot.learners.deformation.distortion import Explanation
from fewshot.learners.deformation.registration import Registration, explained, register
from fewshot.learners.deformation_matching import DeformationMatching
from guided.augment import Augmentation
from guided.deformations import Deformations, covariance_of
from guided.encoder import Encoder
from guided.errors import InputError, blaming
from guided.ranges import Positive

BY_HAND = Augmentation(rotation=20, scale=0.2, shear=0.3, translation=0.1, elastic=0.16)
"""The ranges with which the contrastive encoders of Omniglot are trained."""


class FreeFormMatching(
    DeformationMatching, fixed=["maps", "alignment", "window", "context", "stiffness", "direction"]
):
    """Scores a class by the cost of a smooth deformation of its support, and by a cosine.

    As :class:`DeformationMatching`, but the support is deformed as a whole, by 4 × 4 control points
    (:mod:`guided.free_form`), and how likely a deformation is beforehand is said by a Gaussian:
    that of deformations made by hand, or of those that were learned between neighbours. The cost

        min over c of Σ_features (q - s ∘ T(c))², averaged over pixels, + stiffness · cᵀ Σ⁻¹ c / 32

    has the squared Mahalanobis length of the deformation c under the covariance Σ. See
    :func:`~fewshot.learners.deformation.registration.register`.

    Args:
        encoder: as for :class:`DeformationMatching`.
        prior: Σ: the deformations that an :class:`~guided.Augmentation` draws, of which colours
            and thickness do not count; or a file of :class:`~guided.Deformations`, of which that
            of aligned images counts (of images as they are with ``alignment: none``).
        stiffness: cost of a deformation of the prior's size, > 0, beside squared differences of
            features averaged over pixels. 0.01 of six values from 0.005 to 0.5 had the lowest
            error on training characters of Omniglot.
        alignment: before it; see :class:`DeformationMatching`. Turning is left to the deformation.
        settings: others of :class:`DeformationMatching`.

    Raises:
        InputError: a setting is out of its range; the prior moves nothing, or its file is missing
            or damaged.
    """

    covariance: Tensor

    def __init__(
        self,
        encoder: Encoder,
        *,
        prior: Augmentation | Path = BY_HAND,
        stiffness: Positive = 0.01,
        alignment: Alignment = "scale",
        **settings: Any,
    ) -> None:
        super().__init__(encoder, alignment=alignment, stiffness=stiffness, **settings)
        if alignment == "rotation":
            raise InputError(
                f"{type(self).__name__}.alignment: expected none, position or scale; the prior "
                "holds rotations"
            )
        with blaming(f"{type(self).__name__}.prior"):
            covariance = self._covariance(prior)
        self.register_buffer("covariance", covariance, persistent=False)

    def _covariance(self, prior: Augmentation | Path) -> Tensor:
        if isinstance(prior, Augmentation):
            return covariance_of(prior)
        learned = Deformations.load(prior)
        return learned.covariance if self.alignment == "none" else learned.aligned

    @torch.no_grad()
    def costs(self, prepared: Episodes) -> Tensor:
        """Cost of each class for each query, ``[E, n_way * n_query, n_way]``.

        Args:
            prepared: episodes of :meth:`prepare`'s images.
        """
        query, support = prepared.query.flatten(1, 2), prepared.support.flatten(1, 2)
        with torch.autocast(query.device.type, enabled=False):
            costs = self.register(query, support).cost
        of_shots = costs.unflatten(2, (prepared.n_way, prepared.n_shot))
        return of_shots.amin(3) if self.shots == "templates" else of_shots.mean(3)

    def register(self, query: Tensor, support: Tensor) -> Registration:
        """Prepared support images ``[E, s, C, h, w]`` deformed into queries ``[E, q, C, h, w]``."""
        settings = {"stiffness": self.stiffness, "gradients": self.gradients}
        return register(query, support, self.covariance, **settings)

    @torch.no_grad()
    def explain(self, query: Tensor, support: Tensor) -> Explanation:
        """Queries explained by support images, pair by pair; displacements are in parts of pixels.

        Args:
            query: images ``[B, C, H, W]``, uint8 or float in [0, 1].
            support: images ``[B, C, H, W]``.
        """
        ours, theirs = self.prepare(query), self.prepare(support)
        return explained(ours, theirs, self.register(ours[:, None], theirs[:, None]))
