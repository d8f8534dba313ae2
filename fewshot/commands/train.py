"""``fewshot train``: meta-train a learner, from a checkpoint or from scratch."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from fewshot.commands.common import TrainingCommand, check_ways, finished, splits_of
from fewshot.config import describe, parse, short_name
from fewshot.data import DatasetFactory, Splits, data_root
from fewshot.environment import choose_device, versions
from fewshot.learners.base import LearnerFactory
from fewshot.learners.prototypical import Prototypical
from fewshot.logs import show_logs
from fewshot.meta_train import MetaTrained, TrainConfig, meta_train, starting_learner
from fewshot.runs import PLACES, Finish, file_digest, only_one, open_run, state_to_continue
from fewshot.sampler import EpisodeSampler
from fewshot.study.cells import FORMAT, Cell
from fewshot.study.html.page import FILE as PAGE
from fewshot.study.html.single.page import write_runs
from fewshot.study.html.single.run import FinishedRun
from fewshot.study.result import made_by_command
from fewshot.threads import computing_with, in_use
from guided.backbones import BackboneFactory, Conv4, ImageShape
from guided.decoder import Decoder
from guided.encoder import Encoder, digest
from guided.errors import InputError
from guided.latents import LatentLayout
from guided.ranges import Count, Whole
from guided.seeds import seeded_initialisation
from guided.storage.files import write_json


@dataclass(frozen=True)
class TrainCommand(TrainingCommand):
    """Meta-train a learner on episodes, from any encoder.

    Args:
        dataset: episodes come from its training classes; the best state is chosen on its
            validation classes.
        encoder: a checkpoint to start from; without one, a fresh backbone. Its VAE's decoder is
            looked for beside it, as decoder.safetensors, where tasks are decoded.
        backbone: of a fresh encoder, Conv4 if not given; beside `encoder`, the one it must have.
        latent_dim: of a fresh encoder, 64 if not given; beside `encoder`, as many as it must have.
        latents: what the learner is fed; see the arms of a study.
        learner: the class and its settings.
        train: how.
        seed: of fresh weights and of the episodes.
        output: run folder; the checkpoint is encoder.safetensors in it, beside
            learner.safetensors if the learner has weights of its own.
    """

    dataset: DatasetFactory
    encoder: Path | None = None
    backbone: BackboneFactory | None = None
    latent_dim: Count | None = None
    latents: str = "all"
    learner: LearnerFactory = field(default_factory=lambda: partial(Prototypical))
    train: TrainConfig = field(default_factory=TrainConfig)
    seed: Whole = 0
    output: Path = Path("runs/train")

    def __post_init__(self) -> None:
        own = (self.output / FILES[0]).resolve()
        if self.encoder and self.encoder.resolve() == own:
            raise InputError(f"output: {self.output} holds the encoder that is read; name another")


LATENTS = 64  # of a fresh encoder
FILES = ("encoder.safetensors", "results.json", PAGE, "learner.safetensors")


def main(arguments: Sequence[str]) -> Path:
    """Run the command; returns the file of results."""
    config = parse(TrainCommand, arguments, "fewshot train")
    with computing_with(config.threads):
        return _run(config)


def _run(config: TrainCommand) -> Path:
    begun = time.perf_counter()
    device = choose_device(config.device)
    dataset = config.dataset(data_root(config.data_root))
    by_labels = [] if config.train.tasks else [config.train.setting]
    check_ways(dataset, train=by_labels, validation=[config.train.validation])
    loaded = Encoder.load(config.encoder, config.latents) if config.encoder else None
    if loaded:
        _check_network(config, loaded)
    splits, _ = splits_of(dataset, "train", "validation")
    encoder = loaded or _fresh(config, splits.train.image_shape)
    decoder_file = _decoder_file(config)
    decoder = Decoder.load(decoder_file, encoder) if decoder_file else None
    starting_learner(config.train, config.learner, encoder, config.seed)  # refuses what cannot be
    start = {"encoder": digest(encoder), "decoder": decoder_file and file_digest(decoder_file)}
    if config.train.tasks is None:
        EpisodeSampler(splits.train, config.train.setting, seed=0)
    EpisodeSampler(splits.validation, config.train.validation, seed=0)
    finish = Finish.from_run(config.output, config, splits, device, start=start, **in_use(device))
    with only_one(config.output):
        if not finish.said_before():
            open_run(config.output, config, device)
            trained, depends = _trained(config, encoder, decoder, splits, start, device)
            _write(config, trained, depends, finish, begun, device)
    return config.output / FILES[1]


def _write(
    config: TrainCommand,
    trained: MetaTrained,
    depends: dict[str, Any],
    finish: Finish,
    begun: float,
    device: str,
) -> None:
    """Write and print what was trained."""
    file = config.output / FILES[0]
    trained.encoder.save(file, **depends | {"versions": versions()})
    files = [FILES[0]]
    if trained.learner.own_state():
        trained.learner.save(config.output / FILES[3])
        files.append(FILES[3])
    progress, shape = trained.progress, config.train.validation
    results = {
        "history": progress.history,
        **made_by_command("train", config, device, time.perf_counter() - begun),
    }
    write_json(config.output / FILES[1], results)
    write_runs([FinishedRun.load(config.output)], config.output / PAGE)
    words = (
        f"{progress.step} steps; kept step {progress.best_step}, whose {shape.n_way}-way "
        f"{shape.n_shot}-shot error on the validation classes is {progress.best_score:.2f} %\n"
        + "\n".join(str(config.output / name) for name in files)
    )
    finish.write(words, [*files, *FILES[1:3]])
    print(f"{words}\n{finished(config.output)}")


def _trained(
    config: TrainCommand,
    encoder: Encoder,
    decoder: Decoder | None,
    splits: Splits,
    start: dict[str, Any],
    device: str,
) -> tuple[MetaTrained, dict[str, Any]]:
    """A meta-trained learner, and all that it is a function of."""
    described = {key: item for key, item in describe(config).items() if key not in PLACES}
    depends = {
        "format": FORMAT,
        "config": described | {"device": device, **in_use(device)},
        **start,
        "images": [splits.train.digest, splits.validation.digest],
        "versions": {name: versions()[name] for name in ("guided-fewshot", "torch")},
    }
    # Nothing in a training depends on its number of steps: a longer one goes on.
    shared = describe(replace(config.train, steps=1))
    cell = Cell.find(
        config.output / "cells",
        "train",
        depends | {"config": depends["config"] | {"train": shared}},
        f"seed{config.seed}",
    )
    show_logs(config.output, {cell.digest: cell.log})
    trained = meta_train(
        config.train,
        config.learner,
        encoder,
        splits.train,
        splits.validation,
        seed=config.seed,
        device=device,
        precision=config.precision,
        state_file=state_to_continue(cell.folder, config.train.steps),
        log_folder=cell.log_folder(),
        decoder=decoder,
    )
    return trained, depends


def _check_network(config: TrainCommand, loaded: Encoder) -> None:
    """Refuse a backbone or a number of latents that the encoder's file does not have."""
    own = loaded.backbone
    if config.backbone is not None:
        asked = config.backbone(loaded.input_shape)
        if (type(asked), asked.settings) != (type(own), own.settings):
            settings = ", ".join(f"{key} {value}" for key, value in own.settings.items())
            raise InputError(
                f"backbone: {config.encoder} has {short_name(type(own))} ({settings}); "
                "remove the key, or the encoder"
            )
    n = loaded.layout.latent_dim if loaded.layout else 0
    if config.latent_dim not in (None, n):
        raise InputError(f"latent_dim: {config.encoder} has {n}; remove the key, or the encoder")


def _decoder_file(config: TrainCommand) -> Path | None:
    """The decoder of the encoder's VAE, beside the encoder's file, if tasks may need it."""
    if config.train.tasks is None or config.encoder is None:
        return None
    file = config.encoder.with_name("decoder.safetensors")
    return file if file.exists() else None


def _fresh(config: TrainCommand, shape: ImageShape) -> Encoder:
    layout = LatentLayout({"content": (0, config.latent_dim or LATENTS)})
    with seeded_initialisation(config.seed, "train", "weights"):
        return Encoder((config.backbone or Conv4)(shape), layout, config.latents)
