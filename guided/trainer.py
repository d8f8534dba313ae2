"""One optimizer step of pretraining: a function of the seed and the step's number."""

import math
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from guided.batches import Batches
from guided.compiled import translating
from guided.guided_vae import GuidedVAE, Objective
from guided.hardware import Processes
from guided.parallel import sharing
from guided.randomness import generator
from guided.recipe import LabelledImages, PretrainConfig
from guided.runlog import RunLog


@dataclass(frozen=True)
class Step:
    """What a step has computed.

    Attributes:
        objective: the main optimizer's.
        adversary: the adversaries' terms.
        targets: of the batch; attributes and what was done to each image.
    """

    objective: Objective
    adversary: Mapping[str, Tensor]
    targets: Mapping[str, Tensor]

    @property
    def terms(self) -> dict[str, Tensor]:
        """Every term, unweighted."""
        return {**self.objective.terms, **self.adversary}

    def log(self, log: RunLog, model: GuidedVAE, step: int) -> None:
        """Write the terms, unweighted and weighted, and what the guidances measure."""
        if not log.active:
            return
        weights, terms = self.objective.weights, self.objective.terms
        log.scalars("loss", {name: term.detach() for name, term in self.terms.items()}, step)
        weighted = {name: weights[name] * term.detach() for name, term in terms.items()}
        log.scalars("loss_weighted", {**weighted, "total": sum(weighted.values())}, step)
        log.histogram("kl_per_latent", self.objective.posterior.kl().mean(0).detach(), step)
        for strategy in model.strategies:
            found = strategy.measurements(self.objective.posterior, self.targets)
            log.scalars("guidance", found, step)


class Trainer:
    """A model, its training images and its optimizers.

    Args:
        config: how.
        model: is trained in place.
        train: what to fit, on the model's device.
        seed: of batches, augmentation and noise.
        processes: this process, among those that share every batch.
    """

    def __init__(
        self,
        config: PretrainConfig,
        model: GuidedVAE,
        train: LabelledImages,
        seed: int,
        processes: Processes,
    ) -> None:
        self.config, self.model, self.processes = config, model, processes
        self.train, self.seed = train, seed
        self.share = processes.share(config.augmentation.views)
        self.part = self.share.part(config.batch_size)
        self.batches = Batches(
            len(train.images), config.batch_size, seed, processes.device, shuffle=config.shuffle
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
        """Take a step; its number counts from 0."""
        config, device = self.config, self.processes.device
        rows = self.batches[number][self.part]
        labels = rows.repeat(config.augmentation.views)
        targets = {name: self.train.targets[name][labels] for name in self.model.attributes}
        images = self.model.vae.encoder.normalised(self.train.images[rows])
        chance = generator(self.seed, "pretrain", "augmentation", number, device=device)
        noise = generator(self.seed, "pretrain", "noise", number, device=device)
        with sharing(self.share):
            deformed = config.augmentation.deform(images, chance)
            targets |= {f"applied {name}": a for name, a in deformed.amounts.items()}
            objective, adversary = self._minimised(deformed.images, targets, noise, number)
        return Step(objective, adversary, targets)

    def _minimised(
        self, images: Tensor, targets: Mapping[str, Tensor], noise: torch.Generator, number: int
    ) -> tuple[Objective, dict[str, Tensor]]:
        self.model.train()
        warmup = min(1.0, (number + 1) / self.config.kl_warmup) if self.config.kl_warmup else 1.0
        self._set_learning_rates(number)
        with translating() if self.config.compile else nullcontext():
            with self.processes.autocast():
                objective = self.model.objective(images, targets, kl_warmup=warmup, generator=noise)
            self._minimise(self.main, objective.total)
        with self.processes.autocast():
            adversary = self.model.adversary_losses(objective.z, targets)
        if self.adversary and adversary:
            self._minimise(self.adversary, torch.stack(list(adversary.values())).sum())
        return objective, adversary

    def _minimise(self, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()
        self.processes.average_gradients(optimizer.param_groups[0]["params"])
        optimizer.step()

    def _set_learning_rates(self, number: int) -> None:
        if self.config.schedule == "constant":
            return
        factor = 0.5 * (1 + math.cos(math.pi * number / self.config.steps))
        self.main.param_groups[0]["lr"] = self.config.learning_rate * factor
        if self.adversary:
            self.adversary.param_groups[0]["lr"] = self.config.adversary_learning_rate * factor
