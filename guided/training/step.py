"""One optimizer step of pretraining: a function of the seed and the step's number."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from guided.guided_vae import GuidedVAE, Objective
from guided.seeds import generator
from guided.training.config import PretrainConfig
from guided.training.data import Batches, LabelledImages
from guided.training.log import RunLog
from guided.training.log_tags import LOSS, MEASURED, WEIGHTED
from guided.training.precision import Precision, autocast


@dataclass(frozen=True)
class Step:
    """The results of one step.

    Attributes:
        objective: of the main optimizer.
        adversary: terms of the adversaries.
        targets: of the batch: attributes, and amounts of deformations.
        alone: of the encoder's own step, if a guidance alternates.
    """

    objective: Objective
    adversary: Mapping[str, Tensor]
    targets: Mapping[str, Tensor]
    alone: Objective | None = None

    @property
    def terms(self) -> dict[str, Tensor]:
        """Every term, unweighted."""
        alone = self.alone.terms if self.alone else {}
        return {**self.objective.terms, **self.adversary, **alone}

    def log(self, log: RunLog, model: GuidedVAE, step: int) -> None:
        """Write the terms, unweighted and weighted, and the guidances' measurements."""
        if not log.active:
            return
        terms = {name: term.detach() for name, term in self.terms.items()}
        weights = {**self.objective.weights, **(self.alone.weights if self.alone else {})}
        weighted = {name: weights[name] * term for name, term in terms.items() if name in weights}
        log.scalars(LOSS, {**terms, "total": sum(weighted.values())}, step)
        shown = {name: term for name, term in weighted.items() if weights[name] != 1}
        log.scalars(WEIGHTED, shown, step)
        if not model.autoencoder:
            kl = self.objective.posterior.precise().kl().mean(0)
            log.histogram("kl_per_latent", kl.detach(), step)
        for strategy in model.strategies:
            found = strategy.measurements(self.objective.posterior, self.targets)
            log.scalars(MEASURED, found, step)


class Trainer:
    """A model, its training images and its optimizers.

    Args:
        config: settings.
        model: trained in place.
        train: images to fit, on the model's device.
        seed: of batches, augmentation and noise.
        device: of the model and the images.
        precision: of the forward pass.
    """

    def __init__(
        self,
        config: PretrainConfig,
        model: GuidedVAE,
        train: LabelledImages,
        seed: int,
        device: torch.device,
        precision: Precision = "float32",
    ) -> None:
        self.config, self.model = config, model
        self.train, self.seed = train, seed
        self.device, self.precision = device, precision
        self.batches = Batches(
            len(train.images), config.batch_size, seed, device, shuffle=config.shuffle
        )
        self.main = torch.optim.Adam(model.main_parameters(), config.learning_rate, fused=True)
        adversarial = model.adversary_parameters()
        self.adversary = (
            torch.optim.Adam(adversarial, config.adversary_learning_rate, fused=True)
            if adversarial
            else None
        )

    @property
    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        optimizers: dict[str, torch.optim.Optimizer] = {"main": self.main}
        if self.adversary:
            optimizers["adversary"] = self.adversary
        return optimizers

    def step(self, number: int) -> Step:
        """Take one step.

        Args:
            number: of the step, counted from 0.
        """
        config, device = self.config, self.device
        rows = self.batches[number]
        labels = rows.repeat(config.augmentation.views)
        targets = {name: self.train.labels[name][labels] for name in self.model.attributes}
        images = self.model.vae.encoder.normalised(self.train.images[rows])
        chance = generator(self.seed, "pretrain", "augmentation", number, device=device)
        noise = generator(self.seed, "pretrain", "noise", number, device=device)
        deformed = config.augmentation.deform(images, chance)
        targets |= {f"applied {name}": a for name, a in deformed.amounts.items()}
        objective, adversary = self._minimised(deformed.images, targets, noise, number)
        alone = self._minimised_alone(deformed.images, targets, number)
        return Step(objective, adversary, targets, alone)

    def _minimised(
        self, images: Tensor, targets: Mapping[str, Tensor], noise: torch.Generator, number: int
    ) -> tuple[Objective, dict[str, Tensor]]:
        self.model.train()
        self.model.start_step(number)
        warmup = min(1.0, (number + 1) / self.config.kl_warmup) if self.config.kl_warmup else 1.0
        self._set_learning_rates(number)
        with autocast(self.precision, self.device):
            objective = self.model.objective(
                images,
                targets,
                kl_warmup=warmup,
                generator=noise,
                guidance_generator=generator(
                    self.seed, "pretrain", "guidance", number, device=self.device
                ),
            )
        _minimise(self.main, objective.total)
        with autocast(self.precision, self.device):
            adversary = self.model.adversary_losses(objective.z, targets)
        if self.adversary and adversary:
            _minimise(self.adversary, torch.stack(list(adversary.values())).sum())
        return objective, adversary

    def _minimised_alone(
        self, images: Tensor, targets: Mapping[str, Tensor], number: int
    ) -> Objective | None:
        """The encoder's own step, if any, by the main optimizer, which leaves parameters without a
        gradient alone. With noise of its own: the main step's stays paired with other arms'."""
        if not self.model.alternates:
            return None
        noise = generator(self.seed, "pretrain", "noise alone", number, device=self.device)
        with autocast(self.precision, self.device):
            objective = self.model.encoder_objective(images, targets, noise)
        _minimise(self.main, objective.total)
        return objective

    def _set_learning_rates(self, number: int) -> None:
        if self.config.schedule == "constant":
            return
        factor = 0.5 * (1 + math.cos(math.pi * number / self.config.steps))
        self.main.param_groups[0]["lr"] = self.config.learning_rate * factor
        if self.adversary:
            self.adversary.param_groups[0]["lr"] = self.config.adversary_learning_rate * factor


def _minimise(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
