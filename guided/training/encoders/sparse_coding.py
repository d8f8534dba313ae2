"""Sparse coding: dictionaries of images, linked to labels or not."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from guided.backbones.sparse_code import SparseCode
from guided.encoder import Encoder
from guided.errors import InputError
from guided.figures.grids import sheet_figure
from guided.progress import progress_bar
from guided.ranges import Count, NonNegative, Positive, PositiveShare
from guided.seeds import generator
from guided.sparse_coding.lca import TINY
from guided.sparse_coding.linked import LinkedDictionaries
from guided.training.data import Batches, LabelledImages
from guided.training.encoders.base import EncoderTraining, History, TrainingContext
from guided.training.log import RunLog
from guided.training.log_tags import MEASURED
from guided.training.state import ResumableState, check_finite

if TYPE_CHECKING:
    from matplotlib.figure import Figure

IMAGE = "image"
LOOSE = 1e-2
"""Tolerance of the codes that the dictionary is learned with."""
LOOSE_STEPS = 60
SHOWN = 100


@dataclass(frozen=True)
class SparseCoding(EncoderTraining):
    """A dictionary of image parts, whose sparse codes are the features.

    Source: Olshausen & Field (1996), Nature 381, 607-609, with codes by the locally competitive
    algorithm (Rozell et al. 2008). Atoms begin as training images; those that no image of a pass
    has used begin anew as others. With ``link``, the labels of training images have dictionaries of
    their own that share the codes, see :class:`guided.sparse_coding.LinkedDictionaries`; the
    features of a new image are inferred without labels.

    Args:
        atoms: in the dictionary, at most as many as images.
        sparsity: λ > 0; images have norm 1 and mean 0.
        sparsity_start: λ at the first step, from which it changes linearly; null: the same.
        nonnegative: codes are at least 0.
        patch, stride, grid: of :class:`guided.SparseCode`; null: atoms are whole images.
        link: attribute -> weight γ ≥ 0 of its label, a vector of norm 1, beside the image; 0 is no
            link. Up to γ = λ² an atom that is a label alone stays silent.
        passes: over the training images.
        batch_size: images a step.
        learning_rate: share of the way to the best atoms at the first step, in (0, 1]; falls
            linearly to 0.

    Raises:
        InputError: a number is out of its range.
    """

    fixed: ClassVar[bool] = True
    atoms: Count = 512
    sparsity: Positive = 0.1
    sparsity_start: Positive | None = None
    nonnegative: bool = True
    patch: Count | None = None
    stride: Count = 3
    grid: Count = 4
    link: dict[str, NonNegative] = field(default_factory=dict)
    passes: Count = 5
    batch_size: Count = 256
    learning_rate: PositiveShare = 1.0

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(attribute for attribute, weight in self.link.items() if weight)

    def build(self, images: LabelledImages) -> Encoder:
        for name in ("atoms", "batch_size"):
            if getattr(self, name) > len(images.images):
                raise InputError(
                    f"SparseCoding.{name}: {getattr(self, name)} is more than the "
                    f"{len(images.images)} training images"
                )
        return Encoder(self._backbone(images), None)

    def _backbone(self, images: LabelledImages) -> SparseCode:
        channels, height, width = images.images.shape[1:]
        return SparseCode(
            (channels, height, width),
            atoms=self.atoms,
            sparsity=self.sparsity,
            nonnegative=self.nonnegative,
            patch=self.patch,
            stride=self.stride,
            grid=self.grid,
        )

    def train(
        self,
        encoder: Encoder,
        images: LabelledImages,
        validation: LabelledImages | None,
        context: TrainingContext,
    ) -> History:
        dictionaries = self.fit(images, context)
        encoder.get_buffer("backbone.dictionary").copy_(dictionaries.part([IMAGE])[0])
        return []

    def fit(self, images: LabelledImages, context: TrainingContext) -> LinkedDictionaries:
        """Learn the dictionaries, of the kind ``image`` and of each attribute in ``link``.

        Args:
            images: as for :meth:`train`.
            context: of which seed, device, state file, folders and description are used.
        """
        examples = Examples(images, self.labels, self._backbone(images))
        dictionaries = LinkedDictionaries(
            examples.widths,
            self.atoms,
            weights=self.link,
            sparsity=self.sparsity,
            nonnegative=self.nonnegative,
            tolerance=LOOSE,
            steps=LOOSE_STEPS,
        ).to(context.device)
        every = torch.arange(self.atoms, device=context.device)
        dictionaries.replace(every, examples.drawn(self.atoms, context.seed, 0))
        state = ResumableState({"dictionaries": dictionaries})
        state.resume(context.state_file)
        with RunLog(context.log_folder, state.progress.step) as log:
            self._learn(dictionaries, examples, state, log, context)
            if log.active or context.picture_folder:
                file = context.picture_folder and context.picture_folder / "atoms.png"
                sheet = atoms_figure(dictionaries, self._shape(images))
                log.figure("atoms", sheet, state.progress.step, file=file)
        return dictionaries

    def _learn(
        self,
        dictionaries: LinkedDictionaries,
        examples: "Examples",
        state: ResumableState,
        log: RunLog,
        context: TrainingContext,
    ) -> None:
        batches = Batches(len(examples), self.batch_size, context.seed, context.device)
        last, progress = self.passes * batches.per_epoch, state.progress
        with progress_bar(context.description, last, progress.step, "step") as bar:
            while progress.step < last:
                done = progress.step / last
                codes = dictionaries.learn(
                    examples[batches[progress.step]],
                    self.learning_rate * (1 - done),
                    sparsity=self._sparsity(done),
                )
                progress.step += 1
                bar.update()
                if progress.step % batches.per_epoch == 0:
                    check_finite({"codes": codes.sum()}, progress.step, self.learning_rate)
                    dead = (dictionaries.used == 0).nonzero().squeeze(1)
                    active = (codes != 0).sum(1).float().mean()
                    log.scalars(MEASURED, {"active": active, "unused": len(dead)}, progress.step)
                    if progress.step < last:
                        drawn = examples.drawn(len(dead), context.seed, progress.step)
                        dictionaries.replace(dead, drawn)
                        dictionaries.used.zero_()
                    if context.state_file:
                        state.save(context.state_file)

    def _shape(self, images: LabelledImages) -> tuple[int, ...]:
        channels, *sides = images.images.shape[1:]
        return (channels, *(sides if self.patch is None else [self.patch] * 2))

    def _sparsity(self, done: float) -> float:
        start = self.sparsity if self.sparsity_start is None else self.sparsity_start
        return start + (self.sparsity - start) * done


class Examples:
    """Images or their patches, and labels, as vectors of norm 1; NaN for a label that is unknown.

    Args:
        images: with their labels.
        attributes: of the labels.
        backbone: standardises and cuts images.
    """

    def __init__(
        self, images: LabelledImages, attributes: tuple[str, ...], backbone: SparseCode
    ) -> None:
        self.images, self.backbone = images.images, backbone
        self.labels = {name: images.labels[name] for name in attributes}
        categories = {name: int(values.max()) + 1 for name, values in self.labels.items()}
        self.widths = {IMAGE: backbone.dictionary.shape[1], **categories}

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: Tensor) -> dict[str, Tensor]:
        """Kind -> ``[n · patches, n_m]``, of rows ``[n]``."""
        inputs = self.backbone.inputs(self.images[rows].float() / 255)
        parts = {IMAGE: inputs.flatten(0, 1)}
        for name, labels in self.labels.items():
            vectors = one_hot(labels[rows], self.widths[name])
            parts[name] = vectors.repeat_interleave(inputs.shape[1], 0)
        return parts

    def drawn(self, n: int, seed: int, step: int) -> dict[str, Tensor]:
        """Kind -> ``[n, n_m]``, each of another image, to begin atoms with; no faint patches."""
        chance = generator(seed, "atoms", step)
        rows = torch.randperm(len(self), generator=chance)[:n]
        parts = self[rows.to(self.images.device)]
        clear = (parts[IMAGE].norm(dim=1) > 0.9).cpu().view(n, -1 if n else 1)
        chosen = torch.multinomial(clear + TINY, 1, generator=chance).squeeze(1) if n else rows
        places = (chosen + torch.arange(n) * clear.shape[1]).to(self.images.device)
        return {kind: values[places] for kind, values in parts.items()}


def one_hot(labels: Tensor, n: int) -> Tensor:
    """Labels ``[B]`` as unit vectors ``[B, n]``; NaN for a label of -1."""
    vectors = F.one_hot(labels.clamp_min(0), n).float()
    return vectors.masked_fill((labels < 0)[:, None], torch.nan)


def atoms_figure(dictionaries: LinkedDictionaries, shape: tuple[int, ...]) -> "Figure":
    """The atoms of images ``[C, H, W]`` that were most active, the first of them most."""
    chosen = dictionaries.used.argsort(descending=True)[:SHOWN]
    atoms = dictionaries.atoms[chosen][:, dictionaries.places[IMAGE]]
    # Grey is 0: each atom in its own range.
    atoms = 0.5 + 0.5 * atoms / atoms.abs().amax(1, keepdim=True).clamp_min(1e-12)
    return sheet_figure(atoms.unflatten(1, shape))
