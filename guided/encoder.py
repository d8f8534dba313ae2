"""Encoders and their files: all that is needed to rebuild one, and nothing to unpickle."""

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from guided import backbones
from guided.augment import Augmentation
from guided.backbones import Backbone, ImageShape
from guided.backbones.foreign.base import Foreign
from guided.backbones.foreign.weights import is_pytorch_file
from guided.errors import InputError
from guided.latents import LatentLayout
from guided.naming import class_of, name_of
from guided.ranges import Checked, Whole
from guided.readers.encoder_file import check_weights, read_description
from guided.storage.checksums import DamageError
from guided.storage.files import read_weights, write_weights

FORMAT = "guided-fewshot encoder 2"


class Encoder(Checked, nn.Module):
    """Images to embeddings, normalisation included: the input of every few-shot learner.

    Args:
        backbone: images to features.
        layout: the latents' names; ``None`` for an encoder whose output is its features.
        latents: what ``forward`` returns: ``all`` (the posterior mean), a name in the layout
            (that slice of it), several joined by ``+``, or ``features`` (the backbone's, without
            the linear head).
        projection: width of a linear map on top of that, trained episodically; 0: none.

    Raises:
        InputError: the layout has no such latents.
    """

    chosen: Tensor

    def __init__(
        self,
        backbone: Backbone,
        layout: LatentLayout | None,
        latents: str = "all",
        projection: Whole = 0,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.layout = layout
        self.latents = latents
        latent_dim = layout.latent_dim if layout else 0
        self.head = nn.Linear(backbone.feature_dim, 2 * latent_dim) if layout else None
        self.register_buffer(
            "chosen", torch.tensor(self._indices(latents), dtype=torch.int64), persistent=False
        )
        self.projection = nn.Linear(self.width, projection) if projection else None
        self.to(memory_format=torch.channels_last)

    def _indices(self, latents: str) -> list[int]:
        if latents == "features":
            return []
        if self.layout is None:
            if latents == "all":
                return []
            if not self.backbone.parts:
                raise InputError(f"latents: {latents!r}, but this encoder has none; expected all")
            return LatentLayout(self.backbone.parts).indices(*latents.split("+"))
        return self.layout.indices(*latents.split("+"))

    @property
    def input_shape(self) -> ImageShape:
        return self.backbone.input_shape

    @property
    def width(self) -> int:
        """Number of latents or features that are read."""
        return len(self.chosen) or self.backbone.feature_dim

    @property
    def out_dim(self) -> int:
        """Width of what ``forward`` returns."""
        return self.projection.out_features if self.projection else self.width

    @property
    def _returns_features(self) -> bool:
        return self.head is None or self.latents == "features"

    @property
    def reads_embeddings(self) -> bool:
        """True if what it is given are embeddings ``[B, d, 1, 1]`` and no images."""
        return self.input_shape[1:] == (1, 1)

    @property
    def latent_head(self) -> nn.Linear:
        """From features to means, then log variances."""
        if self.head is None:
            raise InputError("this encoder has no latents, only features")
        return self.head

    def moments(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of q(z|x), each ``[B, latent_dim]``."""
        mean, logvar = self.latent_head(self.backbone(self.normalised(images))).chunk(2, dim=1)
        return mean, logvar

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings ``[B, out_dim]`` of images ``[B, C, H, W]``, uint8 or float in [0, 1]."""
        read = self.read(images)
        return self.projection(read) if self.projection else read

    def averaged(self, images: Tensor, augmentation: Augmentation) -> Tensor:
        """Mean embedding of each image and its deformed copies, ``[B, out_dim]``.

        All images are deformed alike, by draws that are always the same: an image's embedding
        depends on nothing but the image (and the kind of device that draws).

        Args:
            images: as for :meth:`forward`.
            augmentation: the deformations; its ``views`` is the number of copies.
        """
        images = self.normalised(images)
        generator = torch.Generator(images.device).manual_seed(0)
        total = self(images)
        for _ in range(augmentation.views):
            total = total + self(augmentation.deform(images, generator, alike=True, views=1).images)
        mean: Tensor = total / (augmentation.views + 1)
        return mean

    def read(self, images: Tensor) -> Tensor:
        """The chosen latents or features, ``[B, width]``, without the projection."""
        if self._returns_features:
            features = self.backbone(self.normalised(images))
            return features.index_select(1, self.chosen) if len(self.chosen) else features
        mean, _ = self.moments(images)
        return mean if self.latents == "all" else mean.index_select(1, self.chosen)

    def normalised(self, images: Tensor) -> Tensor:
        """uint8 images as float32 in [0, 1], channels last; float ones as they are.

        Raises:
            InputError: the images have another shape than the encoder was made for.
        """
        if tuple(images.shape[1:]) != self.input_shape:
            raise InputError(
                f"images of shape {tuple(images.shape[1:])} given to an encoder "
                f"made for {self.input_shape}"
            )
        if images.dtype == torch.uint8:
            return images.float().div_(255).contiguous(memory_format=torch.channels_last)
        return images

    def select(self, latents: str) -> "Encoder":
        """An encoder with the same weights, another output and no projection.

        Args:
            latents: as in the constructor.
        """
        other = Encoder.__new__(Encoder)
        nn.Module.__init__(other)
        other.backbone, other.layout, other.head = self.backbone, self.layout, self.head
        other.projection = None
        other.latents = latents
        indices = torch.tensor(self._indices(latents), dtype=torch.int64)
        other.register_buffer("chosen", indices.to(self.chosen.device), persistent=False)
        return other.train(self.training)

    def with_projection(self, width: int) -> "Encoder":
        """A copy with a new linear map of a width on top; 0: without one."""
        other = copy.deepcopy(self)
        # Assigning None over a module would leave an empty slot, which learn2learn cannot copy.
        del other.projection
        other.projection = nn.Linear(self.width, width) if width else None
        return other

    def description(self) -> dict[str, Any]:
        """JSON-able facts from which :meth:`from_description` builds an encoder of this shape."""
        layout = self.layout
        return {
            "backbone": name_of(type(self.backbone), backbones),
            "settings": self.backbone.settings,
            "input_shape": list(self.input_shape),
            "layout": {k: list(v) for k, v in layout.slices.items()} if layout else None,
            "roles": dict(layout.roles) if layout else {},
            "latents": self.latents,
            "projection": self.projection.out_features if self.projection else 0,
        }

    @staticmethod
    def from_description(description: dict[str, Any]) -> "Encoder":
        """An encoder with new weights, of the shape that :meth:`description` gave.

        Raises:
            InputError: the description's backbone is unknown, or is not imported.
        """
        channels, height, width = description["input_shape"]
        network = class_of(description["backbone"], backbones, Backbone)
        backbone = network.rebuilt((channels, height, width), description["settings"])
        slices = description["layout"]
        layout = None
        if slices:
            places = {name: (start, stop) for name, (start, stop) in slices.items()}
            layout = LatentLayout(places, description.get("roles", {}))
        return Encoder(backbone, layout, description["latents"], description["projection"])

    def save(self, path: Path | str, **provenance: Any) -> None:
        """Write a self-describing safetensors file, atomically.

        Args:
            path: ends in ``.safetensors`` by convention.
            provenance: JSON-able facts to keep beside the weights (config, seed, step, versions).

        Raises:
            InputError: the backbone's class cannot be named; the file cannot be written.
        """
        network = type(self.backbone)
        if "." in network.__qualname__:
            raise InputError(
                f"{path}: {network.__qualname__} is defined inside a class or function; "
                "define it at the top of a module, so that the file can name it"
            )
        metadata = {
            "format": FORMAT,
            "encoder": json.dumps(self.description()),
            "provenance": json.dumps(provenance),
        }
        write_weights(path, self.state_dict(), metadata)

    @staticmethod
    def load(path: Path | str, latents: str | None = None) -> "Encoder":
        """Read a file that :meth:`save` wrote; in evaluation mode, on the CPU.

        Args:
            path: the file. A backbone from outside this package must have been imported.
            latents: another output than the saved one.

        Raises:
            InputError: the file is missing, damaged or not an encoder's; its backbone is not
                imported.
        """
        from safetensors import SafetensorError

        try:
            weights, metadata = read_weights(path)
            if metadata.get("format") != FORMAT:
                raise InputError(f"is not an encoder checkpoint ({FORMAT!r}); {_elsewhere(path)}")
            encoder = _rebuilt(metadata["encoder"], weights)
        except FileNotFoundError as error:
            raise InputError(f"{path}: no such encoder checkpoint") from error
        except DamageError:
            raise
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        except SafetensorError as error:
            if is_pytorch_file(path):
                raise InputError(
                    f"{path}: is a PyTorch file, not an encoder checkpoint; {_elsewhere(path)}"
                ) from error
            raise _damaged(path, error) from error
        # What a file states as settings is passed to a constructor, which may raise anything.
        except Exception as error:
            raise _damaged(path, error) from error
        encoder.eval()
        return encoder.select(latents) if latents else encoder


def _rebuilt(text: str, weights: dict[str, Tensor]) -> Encoder:
    """The encoder of a description, with its weights."""
    description = read_description(text)
    network = class_of(description["backbone"], backbones, Backbone)
    if not issubclass(network, Foreign):  # these have to be run to know their shapes
        with torch.device("meta"):  # no memory: the file may state any width
            check_weights(weights, Encoder.from_description(description))
    encoder = Encoder.from_description(description)
    check_weights(weights, encoder)
    encoder.load_state_dict(weights)
    return encoder


def _elsewhere(path: Path | str) -> str:
    """The way in which weights of other programs are brought in."""
    return (
        "bring its weights in with their network, as encoder: {class_path: Torchvision, "
        f"init_args: {{model: resnet18, weights: {path}}}}}, or by Timm, or by Imported for a "
        "module of your own"
    )


def _damaged(path: Path | str, error: Exception) -> InputError:
    reason = " ".join(str(error).split())
    return InputError(f"{path}: damaged encoder checkpoint ({reason[:120]})")


def provenance(path: Path | str) -> dict[str, Any]:
    """The facts that were saved beside an encoder's weights."""
    try:
        facts = json.loads(read_weights(path)[1]["provenance"])
    except (KeyError, ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise _damaged(path, error) from error
    return facts if isinstance(facts, dict) else {}


def digest(encoder: Encoder) -> str:
    """A short digest of an encoder's shape and weights."""
    hashed = hashlib.blake2b(json.dumps(encoder.description()).encode(), digest_size=8)
    for weights in encoder.state_dict().values():
        hashed.update(weights.detach().cpu().contiguous().numpy())
    return hashed.hexdigest()
