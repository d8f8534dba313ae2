"""``fewshot train``: meta-train a learner, from a checkpoint or from scratch."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from fewshot.commands.common import TrainingCommand, check_ways, open_run, parse_command
from fewshot.config import describe
from fewshot.data import DatasetFactory, data_root
from fewshot.environment import choose_device, versions
from fewshot.learners.base import LearnerFactory
from fewshot.learners.prototypical import Prototypical
from fewshot.meta_train import TrainConfig, meta_train, starting_learner
from fewshot.study.cells import Cell
from guided.backbones import BackboneFactory, Conv4, ImageShape
from guided.decoder import Decoder
from guided.encoder import Encoder, digest
from guided.latents import LatentLayout
from guided.seeds import seeded_initialisation


@dataclass(frozen=True)
class TrainCommand(TrainingCommand):
    """Meta-train a learner on episodes, from any encoder.

    Args:
        dataset: episodes come from its training classes; the best state is chosen on its
            validation classes.
        encoder: a checkpoint to start from; without one, a fresh backbone. Its VAE's decoder is
            looked for beside it, as decoder.safetensors, where tasks are decoded.
        backbone: of a fresh encoder.
        latent_dim: of a fresh encoder.
        latents: what the learner is fed; see the arms of a study.
        learner: the class and its settings.
        train: how.
        seed: of fresh weights and of the episodes.
        output: run folder; the checkpoint is encoder.safetensors in it, beside
            learner.safetensors if the learner has weights of its own.
    """

    dataset: DatasetFactory
    encoder: Path | None = None
    backbone: BackboneFactory = field(default_factory=lambda: partial(Conv4))
    latent_dim: int = 64
    latents: str = "all"
    learner: LearnerFactory = field(default_factory=lambda: partial(Prototypical))
    train: TrainConfig = field(default_factory=TrainConfig)
    seed: int = 0
    output: Path = Path("runs/train")


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    config = parse_command(TrainCommand, arguments, "train")
    device = choose_device(config.device)
    dataset = config.dataset(data_root(config.data_root))
    by_labels = [] if config.train.tasks else [config.train.setting]
    check_ways(dataset, train=by_labels, validation=[config.train.validation])
    loaded = Encoder.load(config.encoder, config.latents) if config.encoder else None
    splits = dataset.splits()
    encoder = loaded or _fresh(config, splits.train.image_shape)
    starting_learner(config.train, config.learner, encoder, config.seed)  # refuses what cannot be
    output = open_run(config.output, config, device)
    depends = {
        "config": describe(config) | {"output": None, "data_root": None, "device": device},
        "encoder": digest(encoder),
        "images": [splits.train.digest, splits.validation.digest],
    }
    cell = Cell.find(output / "cells", "train", depends)
    trained = meta_train(
        config.train,
        config.learner,
        encoder,
        splits.train,
        splits.validation,
        seed=config.seed,
        device=device,
        precision=config.precision,
        state_file=cell.state_file,
        log_folder=output / "tensorboard" / cell.name,
        decoder=_decoder(config, encoder),
    )
    file = output / "encoder.safetensors"
    trained.encoder.save(file, **depends, versions=versions())
    if trained.learner.own_state():
        trained.learner.save(output / "learner.safetensors")
    progress, shape = trained.progress, config.train.validation
    print(
        f"{progress.step} steps, kept step {progress.best_step}: {shape.n_way}-way "
        f"{shape.n_shot}-shot error {progress.best_score:.2f} % on the validation classes\n{file}"
    )


def _decoder(config: TrainCommand, encoder: Encoder) -> Decoder | None:
    """The other half of the encoder's VAE, where it is beside it, for tasks that it draws."""
    if config.train.tasks is None or config.encoder is None:
        return None
    file = config.encoder.with_name("decoder.safetensors")
    return Decoder.load(file, encoder) if file.exists() else None


def _fresh(config: TrainCommand, shape: ImageShape) -> Encoder:
    layout = LatentLayout({"content": (0, config.latent_dim)})
    with seeded_initialisation(config.seed, "train", "weights"):
        return Encoder(config.backbone(shape), layout, config.latents)
