"""The configuration of one arm of a study: an encoder."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from guided.augment import Augmentation
from guided.backbones import BackboneFactory, ImageShape
from guided.encoder import Encoder
from guided.errors import InputError
from guided.guidance.base import Guidance
from guided.ranges import Checked, Count, PositiveShare
from guided.training.encoders.base import EncoderTraining

Kind = Literal["pretrained", "random", "pixels", "checkpoint", "trained", "embeddings"]

IMPORTED = "imported"


@dataclass(frozen=True)
class ArmConfig(Checked):
    """One encoder under comparison.

    Args:
        encoder: pretrained; random: the same network, untrained; pixels: no network; embeddings:
            those of an ``Embeddings`` dataset as they are; checkpoint: read from a file; trained:
            by a ``training`` of its own; or a network from elsewhere, ``{class_path: Torchvision,
            init_args: {model: resnet18, weights: FILE}}``.
        guidance: strategies that shape a pretrained encoder's latents; none: a plain VAE.
        labelled: share of the training classes whose labels guidance, a training and meta-training
            may use; pretraining sees all images. The classes depend on the seed, not on the arm.
        baseline: the arms that it is paired with, if not the study's: a name, or several.
        latents: what the learners are fed, one after the other: all, a slice's name, several
            names joined by +, features.
            The first one is what the arm's best state is chosen by.
        checkpoint: the file of an encoder that was trained elsewhere; ``{seed}`` in its path stands
            for the study's seed, without it one encoder serves all seeds.
        elbo: false: trained by its guidance alone, without the VAE's own terms.
        autoencoder: true: trained by the reconstruction, without noise and KL, and its guidance.
        augmentation: of its pretraining, in place of the study's; null: the study's.
        steps: of its pretraining, in place of the study's; null: the study's.
        backbone: of its network, in place of that of the study's ``pretrain``; null: that one.
        training: of a trained encoder: a class and its settings, e.g. PixelPCA.
        deformations: the arm whose encoder says which images are alike; what is learned between
            these (:class:`~fewshot.deformations.DeformationFit`) is the ``learned`` of this arm's
            augmentation; null: none.
        group: a name shared by arms that differ only in ``labelled``: one line of a figure, one
            name in a table; null: the arm's own.
    """

    encoder: Kind | BackboneFactory = "pretrained"
    guidance: list[Guidance] = field(default_factory=list)
    labelled: PositiveShare = 1.0
    baseline: str | list[str] | None = None
    latents: list[str] = field(default_factory=lambda: ["all"])
    checkpoint: Path | None = None
    elbo: bool = True
    autoencoder: bool = False
    augmentation: Augmentation | None = None
    steps: Count | None = None
    backbone: BackboneFactory | None = None
    training: EncoderTraining | None = None
    deformations: str | None = None
    group: str | None = None

    def _repr_html_(self) -> str:
        from fewshot.study.html.notebook import settings_html

        return settings_html(f"{self.encoder} encoder", self)

    def check(self, key: str) -> None:
        """Refuse settings that contradict each other.

        Args:
            key: the arm's key in a configuration, for the message.

        Raises:
            InputError: which names the key.
        """
        if not self.latents:
            raise InputError(f"{key}.latents: at least one is needed, e.g. [all]")
        kind = f"{'an' if self.kind[0] in 'aeiou' else 'a'} {self.kind} encoder"
        if self.guidance and self.encoder != "pretrained":
            raise InputError(f"{key}.guidance: {kind} cannot be guided")
        if not self.elbo and not self.guidance:
            raise InputError(
                f"{key}.elbo: without it the arm needs guidance, or nothing is trained"
            )
        if self.autoencoder and self.encoder != "pretrained":
            raise InputError(f"{key}.autoencoder: {kind} is not pretrained")
        if self.autoencoder and not self.elbo:
            raise InputError(f"{key}.autoencoder: decodes images; leave elbo true")
        for name in ("augmentation", "steps", "backbone", "deformations"):
            if getattr(self, name) is not None and self.encoder == "trained":
                raise InputError(f"{key}.{name}: {kind} is trained as its training says")
        for name in ("augmentation", "steps", "deformations"):
            if getattr(self, name) is not None and self.encoder != "pretrained":
                raise InputError(f"{key}.{name}: {kind} is not trained here")
        if self.backbone is not None and self.encoder not in ("pretrained", "random"):
            raise InputError(f"{key}.backbone: {kind} has none of its own")
        if self.checkpoint is None and self.encoder == "checkpoint":
            raise InputError(f"{key}.checkpoint: missing; name the encoder's file")
        if self.checkpoint is not None and self.encoder != "checkpoint":
            raise InputError(f"{key}.checkpoint: {kind} is not read from a file")
        if self.training is None and self.encoder == "trained":
            raise InputError(f"{key}.training: missing; name its class, e.g. PixelPCA")
        if self.training is not None and self.encoder != "trained":
            raise InputError(f"{key}.training: {kind} has none; set encoder to trained")

    @property
    def kind(self) -> str:
        """The word for its encoder; ``imported`` for a network from elsewhere."""
        return self.encoder if isinstance(self.encoder, str) else IMPORTED

    @property
    def from_elsewhere(self) -> BackboneFactory | None:
        """Makes the network of an imported encoder; None for any other."""
        return None if isinstance(self.encoder, str) else self.encoder

    @property
    def fixed(self) -> bool:
        """True if the encoder has no weights that episodes could train."""
        return self.encoder in ("pixels", "embeddings") or (
            self.training is not None and self.training.fixed
        )

    @property
    def has_decoder(self) -> bool:
        """True if the encoder's decoder is kept, that of a VAE."""
        return self.encoder == "pretrained" and self.elbo

    @property
    def posterior(self) -> bool:
        """True if the encoder is a VAE's, whose posterior the KL has shaped."""
        return self.has_decoder and not self.autoencoder

    def checkpoint_file(self, seed: int) -> Path:
        """The encoder's file for a seed."""
        return Path(str(self.checkpoint).replace("{seed}", str(seed)))


def load_checkpoint(file: Path, shape: ImageShape) -> Encoder:
    """Load the encoder of an arm from a file, with all its latents.

    Raises:
        InputError: the file is missing or holds no encoder, was made for images of another shape,
            or its output is a projection, which an arm's latents would leave out.
    """
    encoder = Encoder.load(file)
    if encoder.input_shape != shape:
        raise InputError(
            f"{file}: made for images {encoder.input_shape}, the dataset's are {shape}"
        )
    if encoder.projection:
        raise InputError(f"{file}: ends in a projection; a study needs an encoder without one")
    return encoder.select("all")
