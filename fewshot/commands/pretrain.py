"""``fewshot pretrain``: one encoder."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fewshot.commands.common import TrainingCommand, open_run, parse_command
from fewshot.config import describe
from fewshot.data import DatasetFactory, Splits, data_root
from fewshot.data.bank import ImageBank
from fewshot.environment import choose_device, hardware, versions
from fewshot.study.cells import Cell
from fewshot.study.diagnostics import diagnose, excited_slices
from guided.decoder import Decoder
from guided.encoder import Encoder
from guided.figures.traversals import augmentation_figure, picture_figures
from guided.files import write_figure, write_json
from guided.training.config import PretrainConfig
from guided.training.pretrain import Pretrained, pretrain


@dataclass(frozen=True)
class PretrainCommand(TrainingCommand):
    """Train a VAE, guided or not, and write its encoder.

    Args:
        dataset: where images come from; its training classes are fitted.
        pretrain: how.
        seed: of weights, batches and noise.
        beside_unguided: measure a VAE without guidance, of the same seed, at the same latents, too;
            its encoder is not kept.
        output: run folder; the checkpoint is encoder.safetensors in it.
    """

    dataset: DatasetFactory
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    seed: int = 0
    beside_unguided: bool = False
    output: Path = Path("runs/pretrain")


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    config = parse_command(PretrainCommand, arguments, "pretrain")
    device = choose_device(config.device)
    dataset = config.dataset(data_root(config.data_root))
    output = open_run(config.output, config, device)
    splits = dataset.splits()
    trained, depends = _pretrained(config, config.pretrain, splits, output, device)
    strategies = [entry["class_path"] for entry in describe(config.pretrain.guidance)]
    encoders = {" + ".join(strategies) or "unguided": trained.encoder}
    if config.beside_unguided and strategies:
        plain = replace(config.pretrain, guidance=[])
        encoders["unguided"] = _pretrained(config, plain, splits, output, device)[0].encoder
    trained.encoder.save(output / "encoder.safetensors", **depends, versions=versions())
    Decoder.of(trained.vae).save(output / "decoder.safetensors")
    _report(config, trained, encoders, splits.test, output, device)


def _report(
    config: PretrainCommand,
    trained: Pretrained,
    encoders: dict[str, Encoder],
    test: ImageBank,
    output: Path,
    device: str,
) -> None:
    """Pictures of the model and measurements of the encoders, on the test images."""
    figures = picture_figures(trained.model, test.images.to(device))
    if config.pretrain.augmentation.active:
        figures["augmentation"] = augmentation_figure(config.pretrain.augmentation, test.images[0])
    for name, figure in figures.items():
        write_figure(output / f"{name}.png", figure)
    slices = excited_slices(trained.encoder, test)
    measured = [
        {"arm": arm, **entry}
        for arm, encoder in encoders.items()
        for entry in diagnose(encoder, test, slices, device)
    ]
    progress = trained.progress
    results = {
        "diagnostics": measured,
        "history": progress.history,
        "versions": versions(),
        "hardware": hardware(device),
        "config": describe(config),
    }
    write_json(output / "results.json", results)
    file, shape = output / "encoder.safetensors", tuple(trained.encoder.input_shape)
    print(
        f"{progress.step} steps, kept step {progress.best_step}: held-out negative ELBO "
        f"{progress.best_score:.2f} nats per image\n{file}: {shape} images "
        f"to {trained.encoder.out_dim} latents"
    )
    for entry in measured:
        said = ("arm", "measure")
        values = ", ".join(f"{key} {value}" for key, value in entry.items() if key not in said)
        print(f"{entry['arm']}, {entry['measure']}: {values}")


def _pretrained(
    config: PretrainCommand,
    how: PretrainConfig,
    splits: Splits,
    output: Path,
    device: str,
) -> tuple[Pretrained, dict[str, Any]]:
    """What pretraining gave, and all that it is a function of."""
    depends = {
        "dataset": describe(config.dataset),
        "images": [splits.train.digest, splits.validation.digest],
        "pretrain": describe(how),
        "seed": config.seed,
        "device": device,
        "precision": config.precision,
    }
    cell = Cell.find(output / "cells", "encoder", depends)
    trained = pretrain(
        splits.train,
        splits.validation,
        how,
        seed=config.seed,
        device=device,
        precision=config.precision,
        state_file=cell.state_file,
        log_folder=output / "tensorboard" / cell.name,
    )
    return trained, depends
