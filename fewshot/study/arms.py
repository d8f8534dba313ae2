"""The encoders under comparison, each in a resumable cell."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from fewshot.config import describe
from fewshot.data.dataset import Splits
from fewshot.data.labels import labelled
from fewshot.data.roots import data_root
from fewshot.evaluation import episode_errors, table_for
from fewshot.sampler import EpisodeSampler
from fewshot.study.arm_config import ArmConfig, load_checkpoint
from fewshot.study.cells import Cell, Cells
from fewshot.study.config import StudyConfig
from fewshot.study.diagnostics import examine
from fewshot.study.foreign_arms import import_encoder, imported_facts
from guided.decoder import Decoder
from guided.deformations import Deformations
from guided.encoder import Encoder, digest
from guided.errors import blaming
from guided.figures import Sheet, deformations_figure, spaced
from guided.guided_vae import GuidedVAE
from guided.storage.files import write_figure
from guided.training.config import PretrainConfig
from guided.training.data import LabelledImages
from guided.training.encoders.base import (
    EncoderTraining,
    TrainingContext,
    build_encoder,
    train_encoder,
)
from guided.training.log_tags import FEW_SHOT_ERROR
from guided.training.pretrain import build_model, pretrain
from guided.training.state import Score

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 3
"""Images that a figure of deformations moves."""


class Arms:
    """Makes the encoders of a study.

    Args:
        config: the study.
        splits: the dataset's banks.
        judge: draws the selection episodes.
        cells: the run folder's cells.
        foundation: what every cell depends on.
        device: where to pretrain.
        say: receives one line after each training.
    """

    def __init__(
        self,
        config: StudyConfig,
        splits: Splits,
        judge: EpisodeSampler,
        cells: Cells,
        foundation: dict[str, Any],
        device: str,
        say: Callable[[str], object],
    ) -> None:
        self.config, self.splits, self.judge = config, splits, judge
        self.cells, self.foundation = cells, foundation
        self.device, self.say = device, say
        self._imported: dict[tuple[str, int], dict[str, str]] = {}
        self._described: dict[str, dict[str, Any]] = {}
        self.first_learner = next(iter(config.learners.values())).learner

    def _shared_config(self, arm: ArmConfig) -> PretrainConfig:
        """The settings of the arm's pretraining, except its guidance."""
        shared = self.config.pretrain
        return dataclasses.replace(
            shared,
            augmentation=arm.augmentation or shared.augmentation,
            steps=arm.steps or shared.steps,
            backbone=arm.backbone or shared.backbone,
        )

    def _pretrain_config(self, arm: ArmConfig) -> PretrainConfig:
        return dataclasses.replace(
            self._shared_config(arm),
            guidance=arm.guidance,
            elbo=arm.elbo,
            autoencoder=arm.autoencoder,
        )

    def untrained(self, arm: ArmConfig, seed: int) -> Encoder:
        """The arm's encoder before its training: random weights, pixels, or a file's."""
        shape = self.splits.train.image_shape
        if arm.encoder in ("pixels", "embeddings"):
            return self.splits.train.plain_encoder()
        if network := arm.from_elsewhere:
            return import_encoder(network, shape, seed)
        if arm.checkpoint:
            return load_checkpoint(arm.checkpoint_file(seed), shape)
        if arm.training:
            return build_encoder(arm.training, self._images(arm, seed), seed)
        return self._model(arm, seed).vae.encoder.eval()

    def _images(self, arm: ArmConfig, seed: int) -> LabelledImages:
        """The training images with the labels that the arm may use."""
        return labelled(self.splits.train, arm.labelled, seed)

    def _model(self, arm: ArmConfig, seed: int) -> GuidedVAE:
        return build_model(self._pretrain_config(arm), self._images(arm, seed), seed)

    def cell(self, name: str, arm: ArmConfig, seed: int) -> Cell:
        """The cell that holds the arm's encoder, planned."""
        depends = self._depends(name, arm, seed)
        needs = {}
        if arm.deformations is not None:
            needs["deformations"] = self.deformations(arm.deformations, seed)

        def work(cell: Cell) -> dict[str, Any]:
            with blaming(f"arm {name}, seed {seed}"):
                encoder, facts = self._made(name, arm, seed, cell)
            encoder.save(cell.encoder_file, **depends)
            return facts

        log = f"{name}/seed{seed}" if arm.encoder == "pretrained" or arm.training else ""
        title = f"encoder-{name}-seed{seed}"
        return self.cells.plan(title, depends, work, needs=needs, log=log)

    def deformations(self, name: str, seed: int) -> Cell:
        """The cell of what is learned between neighbours of an arm's encoder, planned."""
        arm = self.config.arms[name]
        encoder, latents = self.cell(name, arm, seed), arm.latents[0]
        depends = {
            "cell": "deformations",
            "fit": describe(self.config.fit),
            "latents": latents,
            "seed": seed,
        }

        def work(cell: Cell) -> dict[str, Any]:
            made = Encoder.load(encoder.encoder_file, latents)
            with blaming(f"deformations of arm {name}, seed {seed}"):
                images = self.splits.train.images
                found = self.config.fit.learn(made, images, seed=seed, device=self.device)
            found.deformations.save(cell.deformations_file)
            write_figure(cell.folder / "deformations.png", self._shown(found.deformations))
            self.say(f"deformations of {name}, seed {seed}: {found}")
            return found.facts

        title = f"deformations-{name}-seed{seed}-{latents}"
        return self.cells.plan(title, depends, work, needs={"encoder": encoder})

    def _shown(self, deformations: Deformations) -> "Figure":
        return deformations_figure(deformations, spaced(self.splits.train.images, SHOWN))

    def _made(
        self, name: str, arm: ArmConfig, seed: int, cell: Cell
    ) -> tuple[Encoder, dict[str, Any]]:
        if arm.encoder == "pretrained":
            return self._pretrain(name, arm, seed, cell)
        if arm.training:
            return self._train(name, arm, arm.training, seed, cell)
        return self.untrained(arm, seed), {"history": []}

    def _depends(self, name: str, arm: ArmConfig, seed: int) -> dict[str, Any]:
        if name not in self._described:
            self._described[name] = self._describe(arm)
        depends = self._described[name] | {"seed": seed}
        if arm.checkpoint:
            depends["checkpoint"] = digest(self.untrained(arm, seed))
        if arm.from_elsewhere:
            depends |= self._imported_facts(name, arm, seed)
        return depends

    def _imported_facts(self, name: str, arm: ArmConfig, seed: int) -> dict[str, str]:
        """Of the weights as they are now; read once."""
        if (name, seed) not in self._imported:
            self._imported[name, seed] = imported_facts(self.untrained(arm, seed))
        return self._imported[name, seed]

    def _describe(self, arm: ArmConfig) -> dict[str, Any]:
        """All that the arm's cells depend on besides their seed."""
        pretrained, training = arm.encoder == "pretrained", arm.training
        selects = pretrained or (training is not None and training.selects)
        of_this_study = arm.encoder in ("pretrained", "random")
        depends = self.foundation | {
            "cell": "encoder",
            "encoder": _described(arm),
            "guidance": describe(arm.guidance),
            "pretrain": describe(self._shared_config(arm)) if of_this_study else None,
            "selection": self._selection(arm) if selects else None,
        }
        if training:
            depends["training"] = describe(training)
        if not arm.elbo:
            depends["elbo"] = False
        if arm.autoencoder:
            depends["autoencoder"] = True
        if arm.labelled < 1 and self._reads_labels(arm):
            depends["labelled"] = arm.labelled
        return depends

    def _reads_labels(self, arm: ArmConfig) -> bool:
        if arm.training:
            return bool(arm.training.labels)
        return arm.encoder == "pretrained" and bool(self._model(arm, seed=0).attributes)

    def _pretrain(
        self, name: str, arm: ArmConfig, seed: int, cell: Cell
    ) -> tuple[Encoder, dict[str, Any]]:
        config = self._pretrain_config(arm)
        if arm.deformations is not None:
            learned = self.deformations(arm.deformations, seed).deformations_file
            augmentation = dataclasses.replace(config.augmentation, learned=learned)
            config = dataclasses.replace(config, augmentation=augmentation)
            sheet = Sheet.of(self._shown(Deformations.load(learned)))
            sheet.save(cell.folder / "sheets" / "learned_deformations.png")
        trained = pretrain(
            self._images(arm, seed),
            self.splits.validation,
            config,
            seed=seed,
            device=self.device,
            precision=self.config.precision,
            state_file=cell.state_file,
            log_folder=cell.log_folder(),
            picture_folder=cell.folder,
            score=self._score(arm),
            score_name=FEW_SHOT_ERROR,
            description=f"pretrain {name}, seed {seed}",
        )
        progress, by = trained.progress, self.config.select_by
        score = "reconstruction" if arm.autoencoder and by == "negative_elbo" else by
        self.say(
            f"{name}, seed {seed}: {progress.step} steps, kept step {progress.best_step} "
            f"({score} {progress.best_score:.2f} on the validation classes)"
        )
        if arm.elbo:
            Decoder.from_vae(trained.vae).save(cell.decoder_file)
        facts: dict[str, Any] = {"history": progress.history}
        if arm.guidance:
            dataset = self.config.dataset(data_root(None))  # reads nothing; for the truth it knows
            if measured := examine(trained.model, self.splits.test, dataset):
                facts["measurements"] = measured
        return trained.encoder, facts

    def _train(
        self, name: str, arm: ArmConfig, training: EncoderTraining, seed: int, cell: Cell
    ) -> tuple[Encoder, dict[str, Any]]:
        context = TrainingContext(
            seed=seed,
            device=torch.device(self.device),
            precision=self.config.precision,
            state_file=cell.state_file,
            log_folder=cell.log_folder(),
            picture_folder=cell.folder,
            score=self._score(arm) if training.selects else None,
            score_name=FEW_SHOT_ERROR,
            description=f"train {name}, seed {seed}",
        )
        images, validation = self._images(arm, seed), self.splits.validation
        trained = train_encoder(training, images, validation, context)
        self.say(f"{name}, seed {seed}: trained by {type(training).__name__}")
        return trained.encoder, {"history": list(trained.history)}

    def _score(self, arm: ArmConfig) -> Score | None:
        """Judges states of the arm's encoder; None: they are compared by their objective."""
        if self.config.select_by == "negative_elbo":
            return None
        return lambda encoder: self._validation_error(encoder, arm.latents[0])

    def _selection(self, arm: ArmConfig) -> dict[str, Any]:
        if self.config.select_by == "negative_elbo":
            return {"by": "negative_elbo"}
        return {
            "by": self.config.select_by,
            "latents": arm.latents[0],
            "learner": describe(self.first_learner),
            "setting": describe(self.config.selection),
            "episodes": self.config.selection_episodes,
            "episode_seed": self.config.episode_seed,
        }

    def _validation_error(self, encoder: Encoder, latents: str) -> float:
        learner = self.first_learner(encoder.select(latents))
        table = table_for(learner, self.splits.validation, self.device)
        n_episodes = self.config.selection_episodes
        return float(episode_errors(learner, table, self.judge, n_episodes).mean())


def _described(arm: ArmConfig) -> Any:
    """The encoder as digests know it: weights count by their content, not by their place."""
    described = describe(arm.encoder)
    if arm.from_elsewhere:
        described.get("init_args", {}).pop("weights", None)
    return described
