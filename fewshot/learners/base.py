"""What a learner is: support and query of many episodes in, logits of the queries out."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewshot.episodes import Episodes
from guided.augment import Augmentation
from guided.backbones.batch_norm import group_statistics
from guided.encoder import Encoder
from guided.errors import InputError
from guided.files import write_bytes

BatchNormPolicy = Literal["frozen", "support", "transductive"]


class Learner(nn.Module, ABC):
    """Classifies the queries of E episodes at once.

    A learner's constructor takes the encoder first; its keyword arguments are its configuration.

    Args:
        encoder: images to embeddings.
        batch_norm: where batch norm takes its statistics. ``frozen``: from training (in
            meta-training: from the step's images). ``support``: from the episode's support.
            ``transductive``: from support and queries.

    Attributes:
        transductive: whether a query's logits depend on the other queries.
        n_way: the only number of classes that it answers, if its weights fix one.
        n_classes: the most training classes that it can be meta-trained on, if it tells them apart.
        adapts_encoder: whether an episode changes the encoder, so that no embedding can be
            computed before the episode is known.
        needs_training: whether it has weights without which it answers at random.
        views: deformed copies whose mean embedding stands for an image's, at test time.
    """

    transductive: bool = False
    n_way: int | None = None
    n_classes: int | None = None
    adapts_encoder: ClassVar[bool] = False
    needs_training: ClassVar[bool] = False
    views: Augmentation | None = None

    def __init__(self, encoder: Encoder, batch_norm: BatchNormPolicy = "frozen") -> None:
        super().__init__()
        self.encoder = encoder
        self.batch_norm: BatchNormPolicy = batch_norm
        self.transductive = type(self).transductive or batch_norm == "transductive"

    @property
    def reads_images(self) -> bool:
        """Whether ``logits`` needs images: embeddings of them depend on the episode."""
        return self.adapts_encoder or self.batch_norm != "frozen"

    @abstractmethod
    def logits(self, episodes: Episodes) -> Tensor:
        """Class scores, ``[E, n_way * n_query, n_way]``.

        Args:
            episodes: of images (uint8 or float in [0, 1]), or of the encoder's embeddings, unless
                ``reads_images``.
        """

    def loss(self, episodes: Episodes) -> Tensor:
        """Cross-entropy of the queries, nats per query, a scalar."""
        logits = self.logits(episodes)
        labels = episodes.query_labels().repeat(len(episodes))
        return F.cross_entropy(logits.flatten(0, 1), labels)

    def check_ways(self, n_way: int) -> None:
        """Refuse episodes of a number of classes that this learner was not made for.

        Raises:
            InputError: names both numbers.
        """
        if self.n_way is not None and n_way != self.n_way:
            raise InputError(
                f"{type(self).__name__}.n_way: made for {self.n_way}-way episodes, "
                f"these are {n_way}-way"
            )

    def check_classes(self, n_classes: int) -> None:
        """Refuse more training classes than this learner was made for.

        Raises:
            InputError: names both numbers.
        """
        if self.n_classes is not None and n_classes > self.n_classes:
            raise InputError(
                f"{type(self).__name__}.n_classes: made for {self.n_classes} training classes, "
                f"there are {n_classes}"
            )

    def embed(self, episodes: Episodes) -> Episodes:
        """Episodes of embeddings; those that are embeddings already pass through."""
        if episodes.support.ndim == 4:
            return episodes
        if self.batch_norm == "frozen":
            return episodes.map(self.embedding)
        n_support = episodes.n_way * episodes.n_shot
        images = torch.cat([episodes.support.flatten(1, 2), episodes.query.flatten(1, 2)], 1)
        reference = n_support if self.batch_norm == "support" else None
        with group_statistics(len(episodes), reference):
            embedded = self.encoder(images.flatten(0, 1)).unflatten(0, images.shape[:2])
        return Episodes(
            embedded[:, :n_support].unflatten(1, episodes.support.shape[1:3]),
            embedded[:, n_support:].unflatten(1, episodes.query.shape[1:3]),
            episodes.classes,
        )

    def embedding(self, images: Tensor) -> Tensor:
        """Embeddings ``[B, out_dim]`` of images ``[B, C, H, W]``, over :attr:`views` if any."""
        embedded: Tensor = (
            self.encoder.averaged(images, self.views) if self.views else self.encoder(images)
        )
        return embedded

    def own_parameters(self) -> list[nn.Parameter]:
        """The parameters that are not the encoder's: a classifier, a scale, learning rates …"""
        return [p for name, p in self.named_parameters() if not name.startswith("encoder.")]

    def own_state(self) -> dict[str, Tensor]:
        """Weights and buffers that are not the encoder's."""
        return {k: v for k, v in self.state_dict().items() if not k.startswith("encoder.")}

    def save(self, path: Path) -> None:
        """Write :meth:`own_state` as safetensors; the encoder has a file of its own."""
        from safetensors.torch import save

        state = {name: value.cpu().contiguous() for name, value in self.own_state().items()}
        write_bytes(path, save(state, {"learner": type(self).__name__}))

    def restore(self, path: Path) -> "Learner":
        """Read what :meth:`save` wrote; returns itself.

        Raises:
            InputError: the file is missing, damaged, or of a learner of another kind or shape.
        """
        from safetensors import SafetensorError, safe_open
        from safetensors.torch import load

        try:
            state = load(path.read_bytes())
            with safe_open(path, framework="pt") as file:
                owner = (file.metadata() or {}).get("learner")
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from error
        except SafetensorError as error:
            raise InputError(f"{path}: is not a safetensors file ({error})") from error
        if owner != type(self).__name__:
            raise InputError(f"{path}: weights of {owner}, expected those of {type(self).__name__}")
        shapes = {name: tuple(value.shape) for name, value in self.own_state().items()}
        found = {name: tuple(value.shape) for name, value in state.items()}
        if shapes != found:
            raise InputError(f"{path}: weights {found}, {type(self).__name__} expects {shapes}")
        self.load_state_dict(state, strict=False)
        return self


LearnerFactory = Callable[[Encoder], Learner]
