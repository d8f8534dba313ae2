"""The study of latents: a linear classifier's error and sample quality, by arm and width."""

import dataclasses
from collections.abc import Callable
from functools import cached_property, partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from fewshot.config import describe
from fewshot.data.dataset import Splits
from fewshot.data.labels import labelled
from fewshot.evaluation import embed_bank
from fewshot.statistics import Errors
from fewshot.study.cells import Cell, Cells, foundation
from fewshot.study.executors import Executor, Serial
from fewshot.study.latents.config import ProbeArm, ProbeStudyConfig
from fewshot.study.latents.report import Key, LatentsResult, Probed, row_key, write_report
from fewshot.study.reuse import reuse
from fewshot.study.row_tests import RowTest
from guided.decoder import Decoder
from guided.encoder import Encoder
from guided.errors import InputError
from guided.figures import picture_figures
from guided.guided_vae import GuidedVAE
from guided.metrics.frechet import FrechetDistance
from guided.metrics.probe import linear_probe_wrong
from guided.progress import say as say_line
from guided.seeds import derive_seed
from guided.storage.files import read_arrays, write_arrays, write_figure
from guided.training.classifier import train_classifier
from guided.training.config import PretrainConfig
from guided.training.pretrain import build_model, pretrain


class Planned(NamedTuple):
    """The cells of one model.

    Attributes:
        key: of its row.
        seed: of its training.
        model: encoder and decoder.
        probe: the classifier's errors.
        samples: their distance; None for an untrained model.
    """

    key: Key
    seed: int
    model: Cell
    probe: Cell
    samples: Cell | None


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
        say: Callable[[str], object] = say_line,
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
        self._foundation = foundation(config.dataset, splits, device)
        self._images = labelled(splits.train)
        for arm, latent_dim in product(config.arms.values(), config.latent_dims):
            self._untrained(arm, latent_dim, seed=0)

    def result(self) -> LatentsResult:
        """Compute what is missing and write the report."""
        return write_report(self.config, self.run(), self.output, self.device)

    def run(self) -> Probed:
        """Compute every cell that is not finished yet."""
        planned = self.plan()
        self.cells.show_logs()
        if found := reuse(self.cells):
            self.say(found)
        self.executor.run(self.cells, self.config.study)
        wrong: dict[Key, list[NDArray[np.bool_]]] = {}
        distances: dict[Key, list[float]] = {}
        for key, _, model, probe, samples in planned:
            model.state_file.unlink(missing_ok=True)  # no training continues from it any more
            wrong.setdefault(key, []).append(_wrong(probe))
            if samples:
                distances.setdefault(key, []).append(samples.facts["distance"])
        features = {name: self._features.facts[name] for name in ("error", "training_images")}
        stacked = {key: np.stack(seeds) for key, seeds in wrong.items()}
        return Probed(stacked, distances, features, self.cells)

    def plan(self) -> list[Planned]:
        """The cells of each model."""
        self._features  # noqa: B018  (planned before what needs it)
        config = self.config
        tasks = product(config.seeds, config.latent_dims, config.arms, config.lengths)
        keys = [(seed, Key(name, dim, steps)) for seed, dim, name, steps in tasks]
        return [self._plan_model(key, seed) for seed, key in keys]

    def tests(self) -> list[RowTest]:
        """Each row with each of its seeds, planned."""
        return [
            RowTest(
                row_key(planned.key), planned.seed, planned.probe, partial(_errors, planned.probe)
            )
            for planned in self.plan()
        ]

    def _plan_model(self, key: Key, seed: int) -> Planned:
        trained = self.config.arms[key.arm].encoder == "pretrained"
        chosen = key if trained else key._replace(steps=None)
        model, name = self._model(chosen, seed), _name(chosen, seed)
        samples = self._samples(model, name, seed) if trained else None
        return Planned(key, seed, model, self._probe(model, name), samples)

    def _pretrain_config(
        self, arm: ProbeArm, latent_dim: int, steps: int | None = None
    ) -> PretrainConfig:
        shared = self.config.pretrain
        return dataclasses.replace(
            shared,
            guidance=arm.guidance,
            latent_dim=latent_dim,
            augmentation=arm.augmentation or shared.augmentation,
            steps=steps or shared.steps,
        )

    def _untrained(self, arm: ProbeArm, latent_dim: int, seed: int) -> GuidedVAE:
        model = build_model(self._pretrain_config(arm, latent_dim), self._images, seed)
        return model.to(self.device).eval()

    def _model(self, key: Key, seed: int) -> Cell:
        """The cell of an encoder and, where it is trained, its decoder."""
        arm, lengths = self.config.arms[key.arm], self.config.steps
        place = lengths.index(key.steps) if key.steps else 0
        shorter = key._replace(steps=lengths[place - 1]) if place else None
        pretraining = self._pretrain_config(arm, key.latent_dim, key.steps)
        depends = self._foundation | {
            "cell": "model",
            "encoder": arm.encoder,
            "pretrain": describe(pretraining),
            "seed": seed,
        }

        def work(cell: Cell) -> dict[str, Any]:
            history: list[dict[str, float]] = []
            if arm.encoder == "pretrained":
                model, history = self._pretrain(pretraining, cell, key, seed)
                Decoder.from_vae(model.vae).save(cell.decoder_file)
            else:
                model = self._untrained(arm, key.latent_dim, seed)
            model.vae.encoder.save(cell.encoder_file, **depends)
            return {"history": history}

        return self.cells.plan(
            f"model-{_name(key, seed)}",
            depends,
            work,
            start_from=self._model(shorter, seed) if shorter else None,
            keep_state=bool(key.steps) and key.steps != lengths[-1],
            log=_log(key, seed) if arm.encoder == "pretrained" else "",
        )

    def _pretrain(
        self, pretraining: PretrainConfig, cell: Cell, key: Key, seed: int
    ) -> tuple[GuidedVAE, list[dict[str, float]]]:
        name = f"{key.arm}, {key.latent_dim} latents, seed {seed}"
        trained = pretrain(
            self._images,
            self.splits.validation,
            pretraining,
            seed=seed,
            device=self.device,
            state_file=cell.state_file,
            log_folder=cell.log_folder(),
            description=f"pretrain {name}",
        )
        history = trained.progress.history
        self.say(
            f"{name}: {trained.progress.step} steps, held-out negative ELBO "
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

    def _samples(self, model: Cell, name: str, seed: int) -> Cell:
        """The cell of the distance between images decoded from the prior and test images."""

        def work(_: Cell) -> dict[str, Any]:
            encoder = Encoder.load(model.encoder_file)
            decoder = Decoder.load(model.decoder_file, encoder).to(self.device)
            images = decoder.sample(self.config.samples, seed=derive_seed(seed, "samples"))
            return {"distance": self._distance(images)}

        return self.cells.plan(
            f"samples-{name}",
            {"cell": "samples", "samples": self.config.samples},
            work,
            needs={"model": model, "features": self._features},
        )

    @cached_property
    def _features(self) -> Cell:
        """The cell of the classifier on whose features all samples are measured."""
        depends = self._foundation | {
            "cell": "features",
            "version": 2,  # raise it when a fact comes to mean another number
            "classifier": describe(self.config.features),
        }

        def work(cell: Cell) -> dict[str, Any]:
            classifier = train_classifier(self.config.features, self._images, self.device)
            test = self.splits.test
            error = classifier.error(test.images.to(self.device), test.labels.to(self.device))
            classifier.encoder.save(cell.encoder_file, **depends)
            train = self.splits.train.images
            # From all of the bank, which may be sorted by class.
            spread = torch.linspace(0, len(train) - 1, min(len(train), len(test))).long()
            same_number = train[spread].to(self.device)
            distance = FrechetDistance(classifier.encoder, test.images.to(self.device))
            self.say(f"feature classifier: test error {error:.2f} %")
            return {"error": error, "training_images": distance(same_number)}

        return self.cells.plan("features", depends, work)

    @cached_property
    def _distance(self) -> FrechetDistance:
        encoder = Encoder.load(self._features.encoder_file).to(self.device)
        return FrechetDistance(encoder, self.splits.test.images.to(self.device))


def _wrong(probe: Cell) -> NDArray[np.bool_]:
    return read_arrays(probe.folder / "wrong.npz")["wrong"]


def _errors(probe: Cell) -> Errors:
    """Percent, of each test image."""
    return 100.0 * _wrong(probe)


def _log(key: Key, seed: int) -> str:
    steps = f"{key.steps}_steps/" if key.steps else ""
    return f"{key.arm}/{key.latent_dim}_latents/{steps}seed{seed}"


def _name(key: Key, seed: int) -> str:
    return "-".join(str(part) for part in (*key, f"seed{seed}") if part is not None)
