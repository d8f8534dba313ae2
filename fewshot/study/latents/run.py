"""What latents are worth: a linear classifier's error and sample quality, by arm and width."""

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from fewshot.config import describe
from fewshot.data.dataset import Splits
from fewshot.data.labels import labelled
from fewshot.evaluate import embed_bank
from fewshot.study.cells import Cell, foundation
from fewshot.study.latents.config import ProbeArm, ProbeStudyConfig
from guided.encoder import Encoder
from guided.errors import InputError
from guided.figures.traversals import picture_figures, prior_samples
from guided.files import write_arrays, write_bytes, write_figure
from guided.guided_vae import GuidedVAE
from guided.metrics.frechet import FrechetDistance
from guided.metrics.probe import linear_probe_wrong
from guided.seeds import derive_seed
from guided.training.classifier import train_classifier
from guided.training.config import PretrainConfig
from guided.training.pretrain import build_model, pretrain
from guided.training.state import progress_bar

FORMAT = 1  # part of every digest: raise it when the same configuration comes to mean new numbers

Key = tuple[str, int]
"""(arm, latent_dim): what a row of the results is about."""


@dataclass(frozen=True)
class Probed:
    """Everything that a study computed.

    Attributes:
        errors: float32 ``[seeds, test images]``, 100 where the linear classifier is wrong, else 0.
        distances: Fréchet distance of the samples of each seed; absent for untrained arms.
        features: ``error``: the feature classifier's on the test images, in percent;
            ``training_images``: the Fréchet distance of as many training as test images.
        seconds: of computing, summed over cells, those of earlier runs included.
    """

    errors: dict[Key, NDArray[np.float32]]
    distances: dict[Key, list[float]]
    features: dict[str, float]
    seconds: float


class ProbeStudy:
    """Runs a study's cells inside a folder.

    Both measurements are of the model as training ended: its encoder and its decoder.

    Args:
        config: what to compare.
        splits: the dataset's banks.
        output: the run folder; cells go below ``cells``.
        device: where to compute.
        say: receives one line for each finished training.

    Raises:
        InputError: training and test classes differ, or an arm needs more latents than it gets.
    """

    def __init__(
        self,
        config: ProbeStudyConfig,
        splits: Splits,
        output: Path,
        *,
        device: str = "cpu",
        say: Callable[[str], object] = tqdm.write,
    ) -> None:
        self.config, self.splits, self.output = config, splits, output
        self.device, self.say = device, say
        if splits.train.class_names != splits.test.class_names:
            raise InputError(
                "dataset: a linear classifier needs training and test images of the same classes, "
                f"these have {splits.train.n_classes} and {splits.test.n_classes} different ones"
            )
        self._foundation = foundation(FORMAT, config.dataset, splits, device)
        self._images = labelled(splits.train)
        for arm, latent_dim in product(config.arms.values(), config.latent_dims):
            self._untrained(arm, latent_dim, seed=0)

    def run(self) -> Probed:
        """Compute, or find, every cell."""
        config = self.config
        seconds = self._features.facts["seconds"]
        errors: dict[Key, list[NDArray[np.float32]]] = {}
        distances: dict[Key, list[float]] = {}
        tasks = list(product(config.seeds, config.latent_dims, config.arms))
        with progress_bar(config.study, len(tasks), 0, "encoder") as bar:
            for seed, latent_dim, name in tasks:
                model = self._model(name, latent_dim, seed)
                probe = self._probe(model, f"{name}-{latent_dim}-seed{seed}")
                cells = [model, probe]
                with np.load(probe.folder / "wrong.npz") as stored:
                    wrong = 100 * stored["wrong"].astype(np.float32)
                errors.setdefault((name, latent_dim), []).append(wrong)
                if config.arms[name].encoder == "pretrained":
                    cells.append(self._samples(model, name, latent_dim, seed))
                    distances.setdefault((name, latent_dim), []).append(cells[-1].facts["distance"])
                seconds += sum(cell.facts["seconds"] for cell in cells)
                bar.update()
        features = {k: self._features.facts[k] for k in ("error", "training_images")}
        stacked = {key: np.stack(seeds) for key, seeds in errors.items()}
        return Probed(stacked, distances, features, seconds)

    def _cell(self, name: str, depends: dict[str, Any]) -> Cell:
        return Cell.of(self.output / "cells", name, depends)

    def _pretrain_config(self, arm: ProbeArm, latent_dim: int) -> PretrainConfig:
        return dataclasses.replace(
            self.config.pretrain, guidance=arm.guidance, latent_dim=latent_dim
        )

    def _untrained(self, arm: ProbeArm, latent_dim: int, seed: int) -> GuidedVAE:
        model = build_model(self._pretrain_config(arm, latent_dim), self._images, seed)
        return model.to(self.device).eval()

    def _model(self, name: str, latent_dim: int, seed: int) -> Cell:
        """An encoder and, where it is trained, its decoder."""
        arm = self.config.arms[name]
        pretraining = self._pretrain_config(arm, latent_dim)
        depends = self._foundation | {
            "cell": "model",
            "encoder": arm.encoder,
            "pretrain": describe(pretraining),
            "seed": seed,
        }
        cell = self._cell(f"model-{name}-{latent_dim}-seed{seed}", depends)
        if cell.done:
            return cell
        start = time.perf_counter()
        history: list[dict[str, float]] = []
        if arm.encoder == "pretrained":
            model, history = self._pretrain(pretraining, cell, f"{name}, {latent_dim}", seed)
            _write_decoder(model, cell)
        else:
            model = self._untrained(arm, latent_dim, seed)
        model.vae.encoder.save(cell.encoder_file, **depends)
        cell.finish(start, history=history)
        return cell

    def _pretrain(
        self, pretraining: PretrainConfig, cell: Cell, name: str, seed: int
    ) -> tuple[GuidedVAE, list[dict[str, float]]]:
        trained = pretrain(
            self._images,
            self.splits.validation,
            pretraining,
            seed=seed,
            device=self.device,
            state_file=cell.state_file,
            log_folder=self.output / "tensorboard" / cell.name,
            description=f"pretrain {name} latents, seed {seed}",
        )
        history = trained.progress.history
        self.say(
            f"{name} latents, seed {seed}: {trained.progress.step} steps, held-out negative ELBO "
            f"{history[-1]['negative_elbo']:.2f} nats per image"
        )
        images = self.splits.validation.images.to(self.device)
        for title, figure in picture_figures(trained.model, images).items():
            write_figure(cell.folder / f"{title}.png", figure)
        return trained.model, history

    def _probe(self, model: Cell, name: str) -> Cell:
        """Which test images a linear classifier of the latents gets wrong."""
        cell = self._cell(f"probe-{name}", {"cell": "probe", "model": model.name})
        if not cell.done:
            start = time.perf_counter()
            encoder = Encoder.load(model.encoder_file).to(self.device)
            train, test = (
                (embed_bank(encoder, bank, self.device).cpu().numpy(), bank.labels.numpy())
                for bank in (self.splits.train, self.splits.test)
            )
            wrong = linear_probe_wrong(train, test)
            write_arrays(cell.folder / "wrong.npz", {"wrong": wrong})
            cell.finish(start, error=100 * float(wrong.mean()))
        return cell

    def _samples(self, model: Cell, name: str, latent_dim: int, seed: int) -> Cell:
        """How far images decoded from the prior are from the test images."""
        depends = {
            "cell": "samples",
            "model": model.name,
            "features": self._features.name,
            "samples": self.config.samples,
        }
        cell = self._cell(f"samples-{name}-{latent_dim}-seed{seed}", depends)
        if not cell.done:
            start = time.perf_counter()
            vae = self._untrained(self.config.arms[name], latent_dim, seed).vae
            _read_decoder(vae.decoder, model)
            draws = derive_seed(seed, "samples")
            images = prior_samples(vae, self.config.samples, seed=draws)
            cell.finish(start, distance=self._distance(images))
        return cell

    @cached_property
    def _features(self) -> Cell:
        """The classifier whose features samples are measured by, the same for all."""
        depends = self._foundation | {
            "cell": "features",
            "classifier": describe(self.config.features),
        }
        cell = self._cell("features", depends)
        if not cell.done:
            start = time.perf_counter()
            classifier = train_classifier(self.config.features, self._images, self.device)
            test = self.splits.test
            error = classifier.error(test.images.to(self.device), test.labels.to(self.device))
            classifier.encoder.save(cell.encoder_file, **depends)
            same_number = self.splits.train.images[: len(test)].to(self.device)
            distance = FrechetDistance(classifier.encoder, test.images.to(self.device))
            self.say(f"feature classifier: test error {error:.2f} %")
            cell.finish(start, error=error, training_images=distance(same_number))
        return cell

    @cached_property
    def _distance(self) -> FrechetDistance:
        encoder = Encoder.load(self._features.encoder_file).to(self.device)
        return FrechetDistance(encoder, self.splits.test.images.to(self.device))


def _write_decoder(model: GuidedVAE, cell: Cell) -> None:
    from safetensors.torch import save

    weights = {k: v.detach().cpu().contiguous() for k, v in model.vae.decoder.state_dict().items()}
    write_bytes(cell.folder / "decoder.safetensors", save(weights))


def _read_decoder(decoder: nn.Module, cell: Cell) -> None:
    from safetensors.torch import load

    decoder.load_state_dict(load((cell.folder / "decoder.safetensors").read_bytes()))
