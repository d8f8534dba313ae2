"""The base class of learners: support and query of many episodes to logits of the queries."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewshot.config.classes import class_name, short_name
from fewshot.episodes import Episodes
from guided.augment import Augmentation
from guided.backbones.batch_norm import group_statistics
from guided.encoder import Encoder
from guided.errors import InputError, reason_of
from guided.ranges import Checked
from guided.storage.files import read_weights, write_weights

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BatchNormPolicy = Literal["frozen", "support", "transductive"]


class Learner(Checked, nn.Module, ABC):
    """Classifies the queries of E episodes at once.

    A subclass implements :meth:`logits`. Its constructor takes the encoder first; its keyword
    arguments are its configuration. Settings that it takes as ``**settings`` and hands to its
    base class are part of its signature: ``class Mine(Ridge, fixed=["penalty"])`` takes all
    settings of ``Ridge`` but ``penalty``.

    Args:
        encoder: images ``[B, C, H, W]`` to embeddings ``[B, out_dim]``.
        batch_norm: where batch norm takes its statistics. ``frozen``: from training (in
            meta-training: from the images of the step). ``support``: from the support of the
            episode. ``transductive``: from its support and queries.

    Attributes:
        transductive: True if the logits of a query depend on the other queries.
        n_way: the only number of classes in an episode that the learner accepts; None: any.
        n_classes: largest number of training classes that it can be meta-trained on; None: any.
        adapts_encoder: True if the encoder changes with the episode, so that no embedding can be
            computed before the episode is known.
        needs_training: True if the learner has weights that are random until it is meta-trained.
        needs_images: True if it looks at images beside or without the encoder, so that embeddings
            alone cannot take their place.
        views: deformed copies of a test image whose embeddings are averaged with its own.
        beside_embedding: settings of what :meth:`embedding` returns besides the encoder's output;
            None if it returns that alone. Equal ones return the same.
    """

    transductive: bool = False
    n_way: int | None = None
    n_classes: int | None = None
    adapts_encoder: ClassVar[bool] = False
    needs_training: ClassVar[bool] = False
    needs_images: ClassVar[bool] = False
    views: Augmentation | None = None
    beside_embedding: Hashable = None
    __signature__: ClassVar[inspect.Signature]

    def __init_subclass__(cls, *, fixed: Collection[str] = (), **keywords: Any) -> None:
        """Put the settings that a subclass hands to its base class into its signature.

        Args:
            fixed: settings of the base class that the subclass does not take.
            keywords: of other base classes.
        """
        super().__init_subclass__(**keywords)
        if "__init__" in vars(cls):
            cls.__signature__ = _signature(cls, fixed)

    def __init__(self, encoder: Encoder, batch_norm: BatchNormPolicy = "frozen") -> None:
        super().__init__()
        if self.needs_images and encoder.reads_embeddings:
            raise InputError(
                f"{type(self).__name__}: looks at images, and the dataset has embeddings alone; "
                "choose another learner"
            )
        self.encoder = encoder
        self.batch_norm: BatchNormPolicy = batch_norm
        self.transductive = type(self).transductive or batch_norm == "transductive"

    @property
    def reads_images(self) -> bool:
        """True if :meth:`logits` needs images, because embeddings depend on the episode."""
        return self.adapts_encoder or self.batch_norm != "frozen"

    @abstractmethod
    def logits(self, episodes: Episodes) -> Tensor:
        """Class scores ``[E, n_way * n_query, n_way]``; their softmax is a probability.

        Args:
            episodes: episodes of images ``[C, H, W]`` (uint8, or float in [0, 1]), or of what
                :meth:`embedding` returns for them, unless :attr:`reads_images`.
        """

    def loss(self, episodes: Episodes) -> Tensor:
        """Mean cross-entropy of the queries in nats, a scalar."""
        logits = self.logits(episodes)
        labels = episodes.query_labels().repeat(len(episodes))
        return F.cross_entropy(logits.flatten(0, 1), labels)

    def figures(self, episodes: Episodes, predicted: Tensor) -> "dict[str, Figure]":
        """Figures that explain the answers to an episode, by name; a study writes them as PNG.

        Args:
            episodes: one episode of images.
            predicted: classes of its queries, int64 ``[n_way, n_query]``.
        """
        return {}

    def check_ways(self, n_way: int) -> None:
        """Refuse episodes with another number of classes than this learner was made for.

        Raises:
            InputError: the numbers do not agree.
        """
        if self.n_way is not None and n_way != self.n_way:
            raise InputError(
                f"{type(self).__name__}.n_way: made for {self.n_way}-way episodes, "
                f"these are {n_way}-way; set n_way to {n_way}"
            )

    def check_classes(self, n_classes: int) -> None:
        """Refuse more training classes than this learner was made for.

        Raises:
            InputError: the numbers do not agree.
        """
        if self.n_classes is not None and n_classes > self.n_classes:
            raise InputError(
                f"{type(self).__name__}.n_classes: made for {self.n_classes} training classes, "
                f"there are {n_classes}; set n_classes to {n_classes}"
            )

    def embed(self, episodes: Episodes) -> Episodes:
        """Episodes of embeddings ``[out_dim]``; episodes of embeddings are returned unchanged."""
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

    @property
    def apart(self) -> Hashable:
        """Key of its embeddings among those of learners with the same encoder and :attr:`views`.

        None for the encoder's own; learners with equal keys have the same embeddings.
        """
        if type(self).embedding is Learner.embedding:
            return self.beside_embedding
        # A subclass that does not say what its own depend on shares them with no other learner.
        own = object() if self.beside_embedding is None else self.beside_embedding
        return type(self).embedding, own

    def own_state(self) -> dict[str, Tensor]:
        """Weights and buffers outside the encoder."""
        return {k: v for k, v in self.state_dict().items() if not k.startswith("encoder.")}

    def save(self, path: Path | str) -> None:
        """Write :meth:`own_state` as a safetensors file, which names the class.

        The encoder has a file of its own (:meth:`guided.Encoder.save`).
        """
        write_weights(path, self.own_state(), {"learner": class_name(type(self))})

    def restore(self, path: Path | str) -> Self:
        """Load the weights that :meth:`save` wrote, and return the learner itself.

        Raises:
            InputError: the file is missing or damaged, or its weights are those of another class
                or of other shapes.
        """
        from safetensors import SafetensorError

        try:
            state, texts = read_weights(path)
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from error
        except SafetensorError as error:
            raise InputError(f"{path}: is not a safetensors file ({reason_of(error)})") from error
        name, owner = class_name(type(self)), texts.get("learner")
        if owner not in (name, short_name(type(self))):  # version 0.1 left out the path
            raise InputError(f"{path}: weights of {owner}, expected those of {name}")
        shapes = {name: tuple(value.shape) for name, value in self.own_state().items()}
        found = {name: tuple(value.shape) for name, value in state.items()}
        if shapes != found:
            raise InputError(f"{path}: weights {found}, {name} expects {shapes}")
        self.load_state_dict(state, strict=False)
        return self


LearnerFactory = Callable[[Encoder], Learner]
"""Makes a learner around an encoder: a class, or ``functools.partial(Class, setting=value)``."""


def _signature(cls: type, fixed: Collection[str]) -> inspect.Signature:
    """The constructor's parameters; those of the base class in the place of ``**settings``."""
    constructor = cls.__init__  # type: ignore[misc]
    try:
        found = inspect.signature(constructor, eval_str=True)
    except NameError:  # an annotation that exists for type checkers alone
        found = inspect.signature(constructor)
    _, *parameters = found.parameters.values()
    if parameters[-1].kind is not inspect.Parameter.VAR_KEYWORD:
        return inspect.Signature(parameters)
    known = {p.name for p in parameters} | set(fixed)
    inherited = [
        p.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for p in inspect.signature(cls.__mro__[1]).parameters.values()
        if p.name not in known
    ]
    return inspect.Signature([*parameters[:-1], *inherited])
