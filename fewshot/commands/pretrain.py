"""``fewshot pretrain``: one encoder."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fewshot.cells import Cell
from fewshot.commands.common import open_run, parse_command
from fewshot.config import describe
from fewshot.data import DatasetFactory, data_root
from fewshot.diagnose import diagnose, excited_slices
from fewshot.environment import choose_device, hardware, versions
from fewshot.labels import labelled
from guided.files import write_figure, write_json
from guided.pictures import spaced, traversal_figures
from guided.pretrain import PretrainConfig, pretrain


@dataclass(frozen=True)
class PretrainCommand:
    """Train a VAE, guided or not, and write its encoder.

    Args:
        dataset: where images come from; its training classes are fitted.
        pretrain: how.
        seed: of weights, batches and noise.
        output: run folder; the checkpoint is encoder.safetensors in it.
        data_root: where the datasets are.
        device: auto, cpu or cuda.
    """

    dataset: DatasetFactory
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    seed: int = 0
    output: Path = Path("runs/pretrain")
    data_root: Path | None = None
    device: str = "auto"


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    config = parse_command(PretrainCommand, arguments, "pretrain")
    device = choose_device(config.device)
    dataset = config.dataset(data_root(config.data_root))
    output = open_run(config.output, config, device)
    splits = dataset.splits()
    depends = {
        "dataset": describe(config.dataset),
        "images": [splits.train.digest, splits.validation.digest],
        "pretrain": describe(config.pretrain),
        "seed": config.seed,
        "device": device,
    }
    cell = Cell.of(output / "cells", "encoder", depends)
    trained = pretrain(
        config.pretrain,
        labelled(splits.train),
        labelled(splits.validation),
        seed=config.seed,
        device=device,
        state_file=cell.state_file,
        log_folder=output / "tensorboard" / cell.name,
    )
    file = output / "encoder.safetensors"
    trained.encoder.save(file, **depends, versions=versions())
    images = spaced(splits.test.images, 256).to(device)
    for name, figure in traversal_figures(trained.model, images).items():
        write_figure(output / f"{name}.png", figure)
    measured = diagnose(
        trained.encoder, splits.test, excited_slices(trained.encoder, splits.test), device
    )
    progress = trained.progress
    strategies = [entry["class_path"] for entry in describe(config.pretrain.guidance)]
    results = {
        "diagnostics": [{"arm": " + ".join(strategies) or "unguided", **m} for m in measured],
        "history": progress.history,
        "versions": versions(),
        "hardware": hardware(device),
        "config": describe(config),
    }
    write_json(output / "results.json", results)
    print(
        f"{progress.step} steps, kept step {progress.best_step}: held-out negative ELBO "
        f"{progress.best_score:.2f} nats per image\n{file}: {tuple(trained.encoder.input_shape)} "
        f"images to {trained.encoder.out_dim} latents"
    )
    for entry in measured:
        values = ", ".join(f"{key} {value}" for key, value in entry.items() if key != "measure")
        print(f"{entry['measure']}: {values}")
