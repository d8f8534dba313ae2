"""Base classes of the learners that adapt to an episode by gradient steps on its support."""

import copy
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewshot.episodes import Episodes
from fewshot.learners.base import BatchNormPolicy, Learner
from fewshot.learners.gradient.adaptation import (
    Engine,
    InnerLoop,
    episode_logits,
    require_learn2learn,
    vectorised_logits,
)
from fewshot.learners.gradient.cores import loss_with_gradients, over_cores
from guided.encoder import Encoder
from guided.errors import InputError
from guided.ranges import Count, Positive, Several


class Network(nn.Module):
    """An encoder and a linear layer: images ``[B, C, H, W]`` to logits ``[B, n_way]``."""

    def __init__(self, encoder: Encoder, classifier: nn.Linear) -> None:
        super().__init__()
        self.encoder, self.classifier = encoder, classifier

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.encoder(images))
        return logits


class GradientLearner(Learner):
    """Takes gradient steps on the cross-entropy of the support, then classifies the queries.

    Args:
        encoder: images ``[B, C, H, W]`` to embeddings ``[B, out_dim]``; it is copied.
        steps: inner steps, at least 1.
        evaluation_steps: inner steps at evaluation; null: as many as ``steps``.
        learning_rate: learning rate of the inner steps, > 0.
        first_order: treat the inner gradients as constants in meta-training.
        adapt: names of the parameters that the inner steps change, or their prefixes, e.g.
            ``[encoder.head, classifier]``; null: all that are not frozen and reach the logits.
        batch_norm: ``support``: statistics of the support, in the inner steps and for the
            queries. ``transductive``: the queries are normalised by their own statistics, as in
            the code of MAML's authors. ``frozen``: running statistics of the encoder.
        engine: ``looped``: one episode after the other; ``vectorised``: all at once; ``auto``:
            the latter on a GPU only; ``learn2learn``: looped, by the clones of that package.

    Raises:
        InputError: a setting is out of range, or the engine is not installed. In the first
            episode: ``adapt`` names a parameter that does not exist, is frozen or does not reach
            the logits.
    """

    adapts_encoder: ClassVar[bool] = True

    def __init__(
        self,
        encoder: Encoder,
        *,
        steps: Count = 1,
        evaluation_steps: Count | None = None,
        learning_rate: Positive = 0.1,
        first_order: bool = False,
        adapt: Sequence[str] | None = None,
        batch_norm: BatchNormPolicy = "support",
        engine: Engine | Literal["auto"] = "auto",
    ) -> None:
        # In torch's default memory layout: on batches as small as episodes oneDNN is faster then.
        own = copy.deepcopy(encoder).to(memory_format=torch.contiguous_format)
        super().__init__(own, batch_norm)
        evaluation_steps = steps if evaluation_steps is None else evaluation_steps
        self.steps = steps
        self.evaluation_steps = evaluation_steps
        self.learning_rate = learning_rate
        self.first_order = first_order
        self.adapt = adapt
        self.engine: Engine | Literal["auto"] = engine
        if engine == "learn2learn":
            require_learn2learn(f"{type(self).__name__}.engine")
        self._adapted: tuple[str, ...] | None = None

    @abstractmethod
    def classifier_for(self, n_way: int) -> nn.Linear:
        """The linear layer ``[out_dim, n_way]`` from which an episode's adaptation starts."""

    def train(self, mode: bool = True) -> "GradientLearner":
        """Set the mode of the learner; the encoder's batch norm never updates its statistics."""
        super().train(mode)
        self.encoder.eval()
        return self

    def logits(self, episodes: Episodes) -> Tensor:
        support, query = self._inputs(episodes)
        network, labels = self._network(episodes.n_way), episodes.support_labels()
        loop = self._loop(network, support[0], labels)
        if loop.engine == "vectorised":
            return vectorised_logits(network, loop, support, labels, query)

        def task(own: nn.Module, e: int) -> Tensor:
            return episode_logits(own, loop, support[e], labels, query[e])

        return torch.stack([*over_cores(task, network, len(episodes))])

    def loss(self, episodes: Episodes) -> Tensor:
        """Cross-entropy of the queries after adaptation, nats per query, a scalar."""
        if self._engine == "vectorised" or not torch.is_grad_enabled():
            return super().loss(episodes)
        support, query = self._inputs(episodes)
        network, labels = self._network(episodes.n_way), episodes.support_labels()
        loop, targets = self._loop(network, support[0], labels), episodes.query_labels()

        def task(own: nn.Module, e: int) -> Tensor:
            logits = episode_logits(own, loop, support[e], labels, query[e])
            return F.cross_entropy(logits, targets)

        return loss_with_gradients(task, network, len(episodes), self.trainable())

    def trainable(self) -> list[nn.Parameter]:
        """The parameters that meta-training updates."""
        return [p for p in self.parameters() if p.requires_grad]

    def rates(self, adapted: Sequence[str]) -> Mapping[str, Tensor | float]:
        """The learning rate of each adapted parameter."""
        return dict.fromkeys(adapted, self.learning_rate)

    @property
    def _engine(self) -> Engine:
        if self.engine != "auto":
            return self.engine
        # Pixels and embeddings have no parameters.
        return "vectorised" if self.encoder.chosen.is_cuda else "looped"

    def _inputs(self, episodes: Episodes) -> tuple[Tensor, Tensor]:
        """Normalised support ``[E, n, C, H, W]`` and query ``[E, q, C, H, W]``."""

        def flat(images: Tensor) -> Tensor:
            normalised = self.encoder.normalised(images.flatten(0, 2))
            return normalised.contiguous().unflatten(0, (len(images), -1))

        return flat(episodes.support), flat(episodes.query)

    def _network(self, n_way: int) -> nn.Module:
        return Network(self.encoder, self.classifier_for(n_way))

    def _loop(self, network: nn.Module, support: Tensor, labels: Tensor) -> InnerLoop:
        if self._adapted is None:
            self._adapted = self._usable(network, support, labels)
        return InnerLoop(
            rates=self.rates(self._adapted),
            steps=self.steps if self.training else self.evaluation_steps,
            first_order=self.first_order,
            batch_norm=self.batch_norm,
            engine=self._engine,
        )

    def _usable(self, network: nn.Module, support: Tensor, labels: Tensor) -> tuple[str, ...]:
        """The parameters to adapt, by name.

        Autograd refuses a parameter that is frozen or does not reach the logits, in a message
        that does not name it. Here the error names it if it was asked for in ``adapt``; the
        others are left out.
        """
        parameters = dict(network.named_parameters())
        kind = type(self).__name__
        for prefix in self.adapt or ():
            if not any(_begins(name, prefix) for name in parameters):
                raise InputError(
                    f"{kind}.adapt: no parameter is called {prefix!r}; "
                    f"expected some of {', '.join(parameters)}"
                )
        chosen = [
            name
            for name in parameters
            if self.adapt is None or any(_begins(name, prefix) for prefix in self.adapt)
        ]
        trainable = [name for name in chosen if parameters[name].requires_grad]
        used = _reaching(network, trainable, support, labels) if trainable else []
        for name in chosen if self.adapt is not None else ():
            if name not in used:
                why = "does not reach the logits" if name in trainable else "is frozen"
                raise InputError(f"{kind}.adapt: {name} {why} and cannot be adapted")
        if not used:
            raise InputError(f"{kind}: every parameter is frozen, none can be adapted")
        return tuple(used)


def _reaching(
    network: nn.Module, names: Sequence[str], support: Tensor, labels: Tensor
) -> list[str]:
    """Names of the parameters that the logits depend on."""
    parameters = dict(network.named_parameters())
    with torch.enable_grad():
        loss = F.cross_entropy(network(support), labels)
        gradients = torch.autograd.grad(loss, [parameters[n] for n in names], allow_unused=True)
    return [name for name, g in zip(names, gradients, strict=True) if g is not None]


def _begins(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")


class MetaLearner(GradientLearner):
    """A gradient learner whose classifier is meta-trained together with the encoder.

    Args:
        encoder: images to embeddings; it is copied.
        n_way: classes in an episode, in training and at evaluation; at least 2.
        settings: those of :class:`GradientLearner`.

    Attributes:
        classifier: the linear layer from which the adaptation to every episode starts.
    """

    needs_training: ClassVar[bool] = True

    def __init__(self, encoder: Encoder, *, n_way: Several = 5, **settings: Any) -> None:
        super().__init__(encoder, **settings)
        self.n_way = n_way
        self.classifier = nn.Linear(encoder.out_dim, n_way)

    def classifier_for(self, n_way: int) -> nn.Linear:
        self.check_ways(n_way)
        return self.classifier
