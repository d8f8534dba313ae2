"""Deformation matching: a class is as likely as its support is easily deformed into the query."""

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
from torch import Tensor

from fewshot.episodes import Episodes
from fewshot.learners.base import BatchNormPolicy, Learner
from fewshot.learners.deformation.alignment import (
    Alignment,
    aligned,
    blurred,
    ink,
    reduced,
    reduced_shape,
    turned,
)
from fewshot.learners.deformation.distortion import (
    Direction,
    Explanation,
    deformation_costs,
    explanation,
    image_features,
)
from fewshot.learners.deformation.pictures import explanation_figure
from fewshot.learners.similarity import Temperature, similarity
from guided.encoder import Encoder
from guided.errors import InputError
from guided.ranges import Count, NonNegative, Positive, Range, Share, Whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Shots = Literal["templates", "mean"]

TURNS = (-15, 0, 15)
"""Degrees by which the support is turned for ``alignment: rotation``."""

MAP_WINDOW = 1
"""Largest displacement on feature maps."""

SHOWN = 6
"""Wrong and right answers in a figure, each."""


class DeformationMatching(Learner):
    """Scores a class by the cost of deforming its support into the query, and by a cosine.

    Source: Keysers, Deselaers, Gollan & Ney (2007), "Deformation models for image recognition",
    IEEE TPAMI 29(8), the image distortion model with local context and derivatives; see
    :func:`~fewshot.learners.deformation.distortion.deformation_costs`. The score is

        cosine(query, mean of the support) - weight · cost / mean cost of the query over the classes

    of embeddings and of images. The mean makes the weight independent of the size and contrast of
    images; it uses the support and this query alone.

    With ``maps``, part of the cost is that of deforming the encoder's feature maps of the aligned
    images (:meth:`guided.backbones.Backbone.maps`) rather than their pixels.

    Differs from the paper: both images are aligned first; both directions count; a displacement
    has a cost of its own; the cosine; the feature maps.

    Args:
        encoder: images ``[B, C, H, W]`` to embeddings ``[B, out_dim]``.
        weight: of the cost, > 0.
        cosine: add the cosine of embeddings; false: the cost alone, without the encoder.
        relative: in place of the cosine, less the cosine distance as a share of the query's mean
            distance over the classes: for encoders whose cosines are all near 1, such as networks
            that were meta-trained with Euclidean distances.
        maps: share of the cost, in [0, 1], that is the feature maps'; 0: pixels alone, 1: maps
            alone. For encoders that were trained without labels, with a backbone that has maps;
            not while meta-training.
        alignment: ``position``: the centre of ink moves to the image's; ``scale``: it is also
            brought to one size; ``rotation``: the support is also matched turned by 15 degrees
            either way, at three times the time. Ink is what differs from the border, so that
            ``none`` is for photographs, which fill their frame.
        spread: the standard deviation of ink that ``scale`` leads to, in half image widths, > 0: a
            larger one makes the window smaller beside the drawing.
        stretch: how far ``scale`` brings both axes to the same spread, in [0, 1]: 0 keeps
            proportions, 1 makes the spreads equal.
        size: largest side of a matched image in pixels, at least 4; larger images are reduced to
            it (area averages).
        blur: standard deviation in pixels of the Gaussian before matching, >= 0.
        gradients: factor, >= 0, of the two derivatives that are compared beside the intensity at
            each pixel (Sobel's, in units of intensity per pixel); 0: the intensity alone.
        window: largest displacement of a pixel along each axis, >= 0.
        context: side of the surroundings that are compared at a pixel, odd.
        stiffness: cost of a displacement by one pixel, >= 0, which grows with the squared distance.
        direction: ``query``: the support explains every pixel of the query; ``support``: the
            reverse; ``both``: the mean of the two costs.
        shots: ``templates``: the cost of a class is the least of its support images'; ``mean``:
            their mean.
        temperature: divides the scores, > 0; it affects only meta-training, in which gradients
            reach the encoder through the cosine alone.
        learn_temperature: meta-train the temperature, starting at ``temperature``.
        batch_norm: where batch norm takes its statistics; see :class:`Learner`.

    Raises:
        InputError: a setting is out of its range.
    """

    needs_images = True

    def __init__(
        self,
        encoder: Encoder,
        *,
        weight: Positive = 2.0,
        cosine: bool = True,
        relative: bool = False,
        maps: Share = 0.0,
        alignment: Alignment = "scale",
        spread: Positive = 0.4,
        stretch: Share = 0.5,
        size: Annotated[int, Range(4)] = 28,
        blur: NonNegative = 0.7,
        gradients: NonNegative = 3.0,
        window: Whole = 3,
        context: Count = 3,
        stiffness: NonNegative = 0.002,
        direction: Direction = "both",
        shots: Shots = "templates",
        temperature: Positive = 0.1,
        learn_temperature: bool = False,
        batch_norm: BatchNormPolicy = "frozen",
    ) -> None:
        super().__init__(encoder, batch_norm)
        if context % 2 == 0:
            raise InputError(
                f"{type(self).__name__}.context: expected an odd number, got {context}"
            )
        self.weight, self.cosine, self.relative, self.maps = weight, cosine, relative, maps
        self.alignment: Alignment = alignment
        self.spread, self.size, self.blur = spread, size, blur
        self.stretch, self.gradients = stretch, gradients
        self.window, self.context, self.stiffness = window, context, stiffness
        self.direction: Direction = direction
        self.shots: Shots = shots
        self.temperature = Temperature(temperature, learned=learn_temperature)
        self.beside_embedding = (cosine, alignment, spread, stretch, size, blur)
        self._check_maps()

    def _check_maps(self) -> None:
        """Refuse a share out of range, and images of another size than the encoder's."""
        name = f"{type(self).__name__}.maps"
        if self.maps and self.prepared_shape != self.encoder.input_shape:
            raise InputError(
                f"{name}: the encoder reads images of {self.encoder.input_shape}, those that are "
                f"matched are {self.prepared_shape}; set size to the encoder's, or maps to 0"
            )

    @property
    def _width(self) -> int:
        """Length of the part of an embedding that is the encoder's."""
        return self.encoder.out_dim if self.cosine else 0

    @property
    def prepared_shape(self) -> tuple[int, int, int]:
        """Shape of the images that are matched."""
        channels, height, width = self.encoder.input_shape
        return (channels, *reduced_shape(height, width, self.size))

    @torch.no_grad()
    def prepare(self, images: Tensor) -> Tensor:
        """Images ready to be matched, ``[B, *prepared_shape]``: reduced, aligned and blurred.

        Each depends on its image alone. They lie around 0, the background, unless ``alignment`` is
        ``none``.

        Args:
            images: ``[B, C, H, W]``, uint8 or float in [0, 1].
        """
        with torch.autocast(images.device.type, enabled=False):
            pixels = reduced(images, self.size)
            if self.alignment != "none":
                spread = None if self.alignment == "position" else self.spread
                pixels = aligned(ink(pixels), spread, self.stretch)
            return blurred(pixels, self.blur)

    def embedding(self, images: Tensor) -> Tensor:
        """The encoder's embeddings (over :attr:`views` if any), then the prepared images, flat.

        Returns:
            ``[B, out_dim + C h w]``, or without ``cosine`` ``[B, C h w]``.
        """
        prepared = self.prepare(images).flatten(1)
        if not self.cosine:
            return prepared
        return torch.cat([super().embedding(images).to(prepared.dtype), prepared], 1)

    def logits(self, episodes: Episodes) -> Tensor:
        embedded, prepared = self._parts(episodes)
        return self._scores(embedded, self._cost_shares(prepared))

    def logits_from(self, episodes: Episodes, costs: Tensor) -> Tensor:
        """As :meth:`logits`, ``[E, n_way * n_query, n_way]``, from costs that are known.

        Args:
            episodes: of what :meth:`embedding` returns.
            costs: :meth:`costs_of` the same episodes, of the same shape.
        """
        return self._scores(self._parts(episodes)[0], _shares(costs))

    def costs_of(self, episodes: Episodes) -> Tensor:
        """Costs ``[E, n_way * n_query, n_way]``, which no encoder changes; see :meth:`costs`.

        Args:
            episodes: of what :meth:`embedding` returns.
        """
        return self.costs(self._parts(episodes)[1])

    def _scores(self, embedded: Episodes | None, shares: Tensor) -> Tensor:
        scores = -self.weight * shares
        if embedded is not None:
            prototypes = embedded.support.mean(2)
            cosines = similarity(embedded.query.flatten(1, 2), prototypes, "cosine")
            scores = scores + (-_shares(1 - cosines) if self.relative else cosines)
        return self.temperature(scores)

    def loss(self, episodes: Episodes) -> Tensor:
        if not self.cosine:
            raise InputError(
                f"{type(self).__name__}.cosine: nothing else is meta-trained; set it to true"
            )
        if self.maps:
            raise InputError(
                f"{type(self).__name__}.maps: the maps change while the encoder is meta-trained; "
                "meta-train with maps: 0"
            )
        return super().loss(episodes)

    def _parts(self, episodes: Episodes) -> tuple[Episodes | None, Episodes]:
        """Embeddings, if the cosine is wanted, and prepared images of the episodes."""
        shape = self.prepared_shape
        if self.reads_images and episodes.support.ndim > 4:
            embedded = super().embed(episodes) if self.cosine else None
            return embedded, episodes.map(self.prepare)
        table, width = self.embed(episodes), self._width
        expected = width + math.prod(shape)
        if table.support.shape[3] != expected:
            raise InputError(
                f"{type(self).__name__}: episodes of {table.support.shape[3]} numbers an image, "
                f"expected {expected}, what its embedding() returns"
            )
        prepared = table.map(lambda x: x[:, width:].unflatten(1, shape))
        return table.map(lambda x: x[:, :width]) if self.cosine else None, prepared

    def _cost_shares(self, prepared: Episodes) -> Tensor:
        """Costs of the classes as shares of the query's mean: of pixels, of maps, or of both."""
        if self.maps == 0:
            return _shares(self.costs(prepared))
        of_maps = _shares(self.map_costs(prepared))
        if self.maps == 1:
            return of_maps
        return (1 - self.maps) * _shares(self.costs(prepared)) + self.maps * of_maps

    def costs(self, prepared: Episodes) -> Tensor:
        """Cost of each class for each query, ``[E, n_way * n_query, n_way]``.

        Args:
            prepared: episodes of :meth:`prepare`'s images.
        """
        return self._costs(
            prepared,
            partial(image_features, gradients=self.gradients),
            window=self.window,
            context=self.context,
            stiffness=self.stiffness,
        )

    def map_costs(self, prepared: Episodes) -> Tensor:
        """As :meth:`costs`, of deforming the encoder's feature maps of the same images.

        Their vectors are brought to nearly the same length, so that the direction counts.
        """
        return self._costs(prepared, self._maps, window=MAP_WINDOW, context=1)

    def _maps(self, images: Tensor) -> Tensor:
        maps = self.encoder.backbone.maps(images)
        squares = maps.square().sum(1, keepdim=True)
        # The floor keeps what is weak weak: on the empty ground a direction means nothing.
        floor = squares.mean((2, 3), keepdim=True) / 4
        return maps / (squares + floor).clamp(min=1e-12).sqrt()

    @torch.no_grad()
    def _costs(
        self, prepared: Episodes, features: Callable[[Tensor], Tensor], **settings: Any
    ) -> Tensor:
        """Costs of classes, by what is compared at a place."""
        turns = TURNS if self.alignment == "rotation" else (0,)
        images = prepared.support.flatten(0, 2)
        per_episode = prepared.n_way * prepared.n_shot * len(turns)
        # In full precision: costs are small differences of large numbers.
        with torch.autocast(images.device.type, enabled=False):
            support = torch.stack([turned(images, t) if t else images for t in turns], 1)
            query = features(prepared.query.flatten(0, 2))
            costs = deformation_costs(
                query.unflatten(0, (len(prepared), -1)),
                features(support.flatten(0, 1)).unflatten(0, (-1, per_episode)),
                direction=self.direction,
                **settings,
            )
        least = costs.unflatten(2, (prepared.n_way, prepared.n_shot, len(turns))).amin(4)
        return least.amin(3) if self.shots == "templates" else least.mean(3)

    def explain(self, query: Tensor, support: Tensor) -> Explanation:
        """Queries explained by support images, pair by pair, both as they are matched.

        Args:
            query: images ``[B, C, H, W]``, uint8 or float in [0, 1].
            support: images ``[B, C, H, W]``.
        """
        return explanation(
            self.prepare(query),
            self.prepare(support),
            gradients=self.gradients,
            window=self.window,
            context=self.context,
            stiffness=self.stiffness,
        )

    @torch.no_grad()
    def figures(self, episodes: Episodes, predicted: Tensor) -> "dict[str, Figure]":
        """``explanations``: queries as the deformed support of the class they are taken for.

        Args:
            episodes: one episode of images.
            predicted: classes of its queries, int64 ``[n_way, n_query]``.
        """
        right = predicted == torch.arange(episodes.n_way, device=predicted.device)[:, None]
        shown = torch.cat([(~right).nonzero()[:SHOWN], right.nonzero()[:SHOWN]])
        query = episodes.query[0, shown[:, 0], shown[:, 1]]
        support = episodes.support[0, predicted[shown[:, 0], shown[:, 1]]]
        n_shot = support.shape[1]
        found = self.explain(query.repeat_interleave(n_shot, 0), support.flatten(0, 1))
        best = found.cost.mean((1, 2)).view(-1, n_shot).argmin(1)  # of the shots
        best = best + n_shot * torch.arange(len(best), device=best.device)
        labels = ["right" if right[tuple(place)] else "wrong" for place in shown.tolist()]
        template = self.prepare(support.flatten(0, 1)[best])
        return {"explanations": explanation_figure(template, found.chosen(best), labels)}


def _shares(costs: Tensor) -> Tensor:
    """Costs ``[E, q, n_way]`` as shares of each query's mean cost over the classes."""
    return costs / costs.mean(2, keepdim=True).clamp(min=1e-12)
