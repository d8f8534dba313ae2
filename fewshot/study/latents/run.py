"""The study of latents: a linear classifier's error and sample quality, by arm and width."""

import dataclasses
from collections.abc import Callable
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from fewshot.config import describe
from fewshot.data.dataset import Splits
from fewshot.data.labels import labelled
from fewshot.evaluation import embed_bank
from fewshot.study.cells import Cell, Cells, foundation
from fewshot.study.executors import Executor, Serial
from fewshot.study.latents.config import ProbeArm, ProbeStudyConfig
from fewshot.study.latents.report import Key, LatentsResult, Probed, write_report
from guided.decoder import Decoder
from guided.encoder import Encoder
from guided.errors import InputError
from guided.figures import picture_figures
from guided.files import write_arrays, write_figure
from guided.guided_vae import GuidedVAE
from guided.metrics.frechet import FrechetDistance
from guided.metrics.probe import linear_probe_wrong
from guided.seeds import derive_seed
from guided.training.classifier import train_classifier
from guided.training.config import PretrainConfig
from guided.training.pretrain import build_model, pretrain

FORMAT = 4  # part of every digest: raise it when the same configuration comes to mean new numbers


class ProbeStudy:
    """Computes a study's cells inside a run folder.

    Both measurements are of the model as training ended: its encoder and its decoder.

    Args:
        config: what to compare.
        splits: the dataset's banks.
        output: the run folder; cells go below its folder ``cells``.
        device: where to compute.
        say: receives one line after each training.
        executor: computes the cells.

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
        executor: Executor | None = None,
    ) -> None:
        self.config, self.splits, self.output = config, splits, output
        self.device, self.say = device, say
        self.executor = executor or Serial()
        self.cells = Cells(output, config.threads)
        if splits.train.class_names != splits.test.class_names:
            raise InputError(
                "dataset: a linear classifier needs training and test images of the same classes, "
                f"these have {splits.train.n_classes} and {splits.test.n_classes} different ones"
            )
        self._foundation = foundation(FORMAT, config.dataset, splits, device, config.threads)
        self._images = labelled(splits.train)
        for arm, latent_dim in product(config.arms.values(), config.latent_dims):
            self._untrained(arm, latent_dim, seed=0)

    def result(self) -> LatentsResult:
        """Compute what is missing and write the report."""
        return write_report(self.config, self.run(), self.output, self.device)

    def run(self) -> Probed:
        """Compute every cell that is not finished yet."""
        planned = self.plan()
        self.executor.run(self.cells, self.config.study)
        wrong: dict[Key, list[NDArray[np.bool_]]] = {}
        distances: dict[Key, list[float]] = {}
        for name, latent_dim, probe, samples in planned:
            with np.load(probe.folder / "wrong.npz") as stored:
                wrong.setdefault((name, latent_dim), []).append(stored["wrong"])
            if samples:
                distances.setdefault((name, latent_dim), []).append(samples.facts["distance"])
        features = {name: self._features.facts[name] for name in ("error", "training_images")}
        stacked = {key: np.stack(seeds) for key, seeds in wrong.items()}
        return Probed(stacked, distances, features, self.cells.seconds)

    def plan(self) -> list[tuple[str, int, Cell, Cell | None]]:
        """Arm, number of latents, and the cells of errors and samples, of each model."""
        self._features  # noqa: B018  (planned before what needs it)
        tasks = product(self.config.seeds, self.config.latent_dims, self.config.arms)
        return [(name, dim, *self._plan_model(name, dim, seed)) for seed, dim, name in tasks]

    def _plan_model(self, name: str, latent_dim: int, seed: int) -> tuple[Cell, Cell | None]:
        """The cells of the classifier's errors, and of the samples of a trained model."""
        model = self._model(name, latent_dim, seed)
        probe = self._probe(model, f"{name}-{latent_dim}-seed{seed}")
        trained = self.config.arms[name].encoder == "pretrained"
        return probe, self._samples(model, name, latent_dim, seed) if trained else None

    def _pretrain_config(self, arm: ProbeArm, latent_dim: int) -> PretrainConfig:
        shared = self.config.pretrain
        augmentation = arm.augmentation or shared.augmentation
        return dataclasses.replace(
            shared, guidance=arm.guidance, latent_dim=latent_dim, augmentation=augmentation
        )

    def _untrained(self, arm: ProbeArm, latent_dim: int, seed: int) -> GuidedVAE:
        model = build_model(self._pretrain_config(arm, latent_dim), self._images, seed)
        return model.to(self.device).eval()

    def _model(self, name: str, latent_dim: int, seed: int) -> Cell:
        """The cell of an encoder and, where it is trained, its decoder."""
        arm = self.config.arms[name]
        pretraining = self._pretrain_config(arm, latent_dim)
        depends = self._foundation | {
            "cell": "model",
            "encoder": arm.encoder,
            "pretrain": describe(pretraining),
            "seed": seed,
        }

        def work(cell: Cell) -> dict[str, Any]:
            history: list[dict[str, float]] = []
            if arm.encoder == "pretrained":
                model, history = self._pretrain(pretraining, cell, f"{name}, {latent_dim}", seed)
                Decoder.from_vae(model.vae).save(cell.decoder_file)
            else:
                model = self._untrained(arm, latent_dim, seed)
            model.vae.encoder.save(cell.encoder_file, **depends)
            return {"history": history}

        return self.cells.plan(f"model-{name}-{latent_dim}-seed{seed}", depends, work)

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
        """The cell of the test images that a linear classifier of the latents gets wrong."""

        def work(cell: Cell) -> dict[str, Any]:
            encoder = Encoder.load(model.encoder_file).to(self.device)
            train, test = (
                (embed_bank(encoder, bank, self.device).cpu().numpy(), bank.labels.numpy())
                for bank in (self.splits.train, self.splits.test)
            )
            wrong = linear_probe_wrong(train, test)
            write_arrays(cell.folder / "wrong.npz", {"wrong": wrong})
            return {"error": 100 * float(wrong.mean())}

        return self.cells.plan(f"probe-{name}", {"cell": "probe"}, work, needs={"model": model})

    def _samples(self, model: Cell, name: str, latent_dim: int, seed: int) -> Cell:
        """The cell of the distance between images decoded from the prior and test images."""

        def work(_: Cell) -> dict[str, Any]:
            encoder = Encoder.load(model.encoder_file)
            decoder = Decoder.load(model.decoder_file, encoder).to(self.device)
            images = decoder.sample(self.config.samples, seed=derive_seed(seed, "samples"))
            return {"distance": self._distance(images)}

        return self.cells.plan(
            f"samples-{name}-{latent_dim}-seed{seed}",
            {"cell": "samples", "samples": self.config.samples},
            work,
            needs={"model": model, "features": self._features},
        )

    @cached_property
    def _features(self) -> Cell:
        """The cell of the classifier on whose features all samples are measured."""
        depends = self._foundation | {
            "cell": "features",
            "classifier": describe(self.config.features),
        }

        def work(cell: Cell) -> dict[str, Any]:
            classifier = train_classifier(self.config.features, self._images, self.device)
            test = self.splits.test
            error = classifier.error(test.images.to(self.device), test.labels.to(self.device))
            classifier.encoder.save(cell.encoder_file, **depends)
            same_number = self.splits.train.images[: len(test)].to(self.device)
            distance = FrechetDistance(classifier.encoder, test.images.to(self.device))
            self.say(f"feature classifier: test error {error:.2f} %")
            return {"error": error, "training_images": distance(same_number)}

        return self.cells.plan("features", depends, work)

    @cached_property
    def _distance(self) -> FrechetDistance:
        encoder = Encoder.load(self._features.encoder_file).to(self.device)
        return FrechetDistance(encoder, self.splits.test.images.to(self.device))
