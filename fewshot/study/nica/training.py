"""Generalized contrastive learning of vectors, all seeds at once."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from fewshot.study.nica.config import Estimator
from fewshot.study.nica.sources import Samples
from guided.guidance.contrast import LabelScores, logistic_loss
from guided.seeds import generator, seeded_initialisation
from guided.training.state import check_finite


class Contrast(nn.Module):
    """h, a multilayer perceptron of vectors, and the scores of its outputs.

    Args:
        settings: of the estimator.
        width: of the hidden layers of h.
        number: of sources.
        segments: values of the auxiliary variable.
    """

    def __init__(self, settings: Estimator, width: int, number: int, segments: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before in [number, *[width] * (settings.layers - 1)]:
            layers += [nn.Linear(before, width), nn.LeakyReLU(0.2)]
        self.unmix = nn.Sequential(*layers, nn.Linear(width, number))
        self.scores = LabelScores(number, segments, settings.hidden)

    def forward(self, mixtures: Tensor, segments: Tensor) -> Tensor:
        """The loss of a batch drawn at random: mixtures ``[B, n]``, segments int64 ``[B]``."""
        features = self.scores.features(self.unmix(mixtures))
        # The next row's segment: the rows are independent of each other.
        negative = self.scores.score(features, segments.roll(1, 0))
        return logistic_loss(self.scores.score(features, segments), negative[None])


def build(settings: Estimator, width: int, number: int, segments: int, seed: int) -> Contrast:
    """An untrained model; its weights are a function of the seed."""
    with seeded_initialisation(seed, "nica", "weights"):
        return Contrast(settings, width, number, segments)


def train(
    models: Sequence[Contrast],
    samples: Sequence[Samples],
    settings: Estimator,
    seeds: Sequence[int],
) -> None:
    """Train models of one shape in place, each on samples of its own, in one sequence of steps.

    Adam works on each weight alone, so that this is the training of each model by itself.

    Args:
        models: one a seed.
        samples: of the same number; standardised mixtures.
        settings: of the training.
        seeds: of the batches.

    Raises:
        InputError: a loss is not finite.
    """
    x = torch.stack([data.mixtures for data in samples])
    segments = samples[0].segments.to(x.device)
    weights, buffers = stack_module_state(list(models))
    optimizer = torch.optim.Adam(weights.values(), settings.learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
    shape = settings.steps, settings.batch_size
    drawn = [generator(seed, "nica", "batches") for seed in seeds]
    rows = torch.stack(
        [torch.randint(len(segments), shape, generator=chance) for chance in drawn], 1
    ).to(x.device)

    def loss(own: dict[str, Tensor], x: Tensor, u: Tensor) -> Tensor:
        return functional_call(models[0], (own, buffers), (x, u))

    every = torch.arange(len(models), device=x.device)[:, None]
    losses = x.new_zeros(len(models))
    for step in range(settings.steps):
        batch = rows[step]
        losses = vmap(loss)(weights, x[every, batch], segments[batch])
        optimizer.zero_grad()
        losses.sum().backward()
        optimizer.step()
        schedule.step()
    check_finite({"contrast": losses.sum()}, settings.steps, settings.learning_rate)
    for i, model in enumerate(models):
        model.load_state_dict({name: value[i].detach() for name, value in weights.items()})
