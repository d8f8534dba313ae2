"""``fewshot pretrain``: one encoder."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from fewshot.commands.common import TrainingCommand, finished, splits_of
from fewshot.config import describe, parse, short_name
from fewshot.data import DatasetFactory, Splits, data_root
from fewshot.data.bank import ImageBank
from fewshot.data.dataset import Dataset, SplitName
from fewshot.environment import choose_device, versions
from fewshot.logs import show_logs
from fewshot.printing import columns, filled, width
from fewshot.runs import Finish, only_one, open_run, state_to_continue
from fewshot.study.cells import FORMAT, Cell
from fewshot.study.diagnostics import diagnose, examine, excited_slices, latent_facts
from fewshot.study.encoder_facts import EncoderFacts, cautions
from fewshot.study.html.page import FILE as PAGE
from fewshot.study.html.single.page import write_runs
from fewshot.study.html.single.run import FinishedRun
from fewshot.study.measurement import Measurement
from fewshot.study.result import made_by_command
from fewshot.threads import computing_with, in_use
from guided.decoder import Decoder
from guided.encoder import Encoder
from guided.figures import augmentation_figure, picture_figures, save_sheets
from guided.guidance.base import Guidance
from guided.ranges import Whole
from guided.storage.files import write_figure, write_json
from guided.training.config import PretrainConfig
from guided.training.pretrain import Pretrained, check_pretraining, pretrain

FILES = ("encoder.safetensors", "decoder.safetensors", "results.json", PAGE)

STILL = ("reconstructions", "samples")
"""Figures that are no traversals."""


@dataclass(frozen=True)
class PretrainCommand(TrainingCommand):
    """Train a VAE, guided or not, and write its encoder.

    Args:
        dataset: where images come from; its training classes are fitted, and its validation
            classes choose the best step. Test classes, if there are any, are measured.
        pretrain: how.
        seed: of weights, batches and noise.
        beside_unguided: measure a VAE without guidance, of the same seed, at the same latents, too;
            its encoder is not kept.
        output: run folder; the checkpoint is encoder.safetensors in it.
    """

    dataset: DatasetFactory
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    seed: Whole = 0
    beside_unguided: bool = False
    output: Path = Path("runs/pretrain")


def main(arguments: Sequence[str]) -> Path:
    """Run the command; returns the file of results."""
    config = parse(PretrainCommand, arguments, "fewshot pretrain")
    with computing_with(config.threads):
        return _run(config)


def _run(config: PretrainCommand) -> Path:
    start = time.perf_counter()
    device = choose_device(config.device)
    dataset = config.dataset(data_root(config.data_root))
    splits, _ = splits_of(dataset, "train", "validation")
    held_out: SplitName = "test" if splits.test.n_classes else "validation"
    check_pretraining(config.pretrain, splits.train, splits.validation, seed=config.seed)
    finish = Finish.from_run(config.output, config, splits, device, **in_use(device))
    with only_one(config.output):
        if not finish.said_before():
            open_run(config.output, config, device)
            words = _made(config, dataset, splits, held_out, device, start)
            finish.write(words, FILES)
            print(f"{words}\n{finished(config.output)}")
    return config.output / FILES[2]


def _made(
    config: PretrainCommand,
    dataset: Dataset,
    splits: Splits,
    held_out: SplitName,
    device: str,
    start: float,
) -> str:
    """Train and write all files; returns the last words."""
    images = splits.bank(held_out)
    planned = [_planned(config, config.pretrain, splits, device, f"seed{config.seed}")]
    strategies = [short_name(type(entry)) for entry in config.pretrain.guidance]
    if config.beside_unguided and strategies:
        plain = replace(config.pretrain, guidance=[])
        planned.append(_planned(config, plain, splits, device, f"unguided/seed{config.seed}"))
    show_logs(config.output, {one.cell.digest: one.cell.log for one in planned})
    trained, *beside = [_pretrained(config, one, splits, device) for one in planned]
    names = [" + ".join(strategies) or "unguided", "unguided"]
    encoders = {n: one.encoder for n, one in zip(names, [trained, *beside], strict=False)}
    depends = planned[0].depends
    trained.encoder.save(config.output / FILES[0], **depends | {"versions": versions()})
    Decoder.from_vae(trained.vae).save(config.output / FILES[1])
    _draw(config, trained, images, device)
    measured = _measured(encoders, images, device, config.pretrain.guidance)
    facts = _facts(config, trained, images, device, next(iter(encoders)))
    found = examine(trained.model, images, dataset)
    measured += [{"arm": next(iter(encoders)), **entry} for entry in found]
    results = {
        "arm": next(iter(encoders)),
        "encoder": _described(trained.encoder),
        "images": {name: len(bank.images) for name, bank in vars(splits).items()},
        "diagnostics": measured,
        "encoders": [facts.to_json()],
        "history": trained.progress.history,
        **made_by_command("pretrain", config, device, time.perf_counter() - start),
    }
    write_json(config.output / FILES[2], results)
    write_runs([FinishedRun.load(config.output)], config.output / PAGE)
    words = summary(config.output / FILES[0], trained, measured, held_out)
    return "\n".join([words, *(filled(f"warning: {line}", width()) for line in cautions([facts]))])


def _described(encoder: Encoder) -> dict[str, Any]:
    """Sizes and latents, JSON-able."""
    layout = encoder.layout
    return {
        "input_shape": list(encoder.input_shape),
        "out_dim": encoder.out_dim,
        "slices": {name: list(place) for name, place in layout.slices.items()} if layout else {},
    }


def _draw(config: PretrainCommand, trained: Pretrained, held_out: ImageBank, device: str) -> None:
    """Pictures of the model, on held-out images."""
    images = held_out.images.to(device)
    figures = picture_figures(trained.model, images)
    moved = {name: figures[name] for name in figures if name not in STILL}
    save_sheets(trained.model, images, moved, config.output / "sheets")
    if config.pretrain.augmentation.active:
        figures["augmentation"] = augmentation_figure(config.pretrain.augmentation, images[0].cpu())
    for name, figure in figures.items():
        write_figure(config.output / f"{name}.png", figure)


def _facts(
    config: PretrainCommand, trained: Pretrained, test: ImageBank, device: str, name: str
) -> EncoderFacts:
    settings = config.pretrain
    posterior = settings.elbo and not settings.autoencoder
    return EncoderFacts.of(
        name,
        config.seed,
        trained.progress.history,
        latent_facts(trained.encoder, test, device, posterior=posterior),
        any(guidance.basis for guidance in settings.guidance),
    )


def _measured(
    encoders: dict[str, Encoder], test: ImageBank, device: str, guidance: Sequence[Guidance]
) -> list[dict[str, Any]]:
    """Measurements of each encoder at the latents of the first."""
    slices = excited_slices(next(iter(encoders.values())), test)
    return [
        {"arm": arm, **entry}
        for arm, encoder in encoders.items()
        for entry in diagnose(encoder, test, slices, device, guidance=guidance)
    ]


def summary(file: Path, trained: Pretrained, measured: Sequence[dict[str, Any]], split: str) -> str:
    """The training in two lines, and a table of the measurements."""
    shape = " × ".join(map(str, trained.encoder.input_shape))
    lines = [
        str(trained),
        f"{file}: {shape} images to {trained.encoder.out_dim} latents",
    ]
    return "\n".join([*lines, *_table(measured, split)])


BOTH = ("target", "other")
HEAD = ("encoder", "target latents", "other latents")


def _table(measured: Sequence[dict[str, Any]], split: str) -> list[str]:
    """A line for each measurement and encoder."""
    order = list(dict.fromkeys(entry["measure"] for entry in measured))
    lines = []
    for entry in sorted(measured, key=lambda entry: order.index(entry["measure"])):
        lines.append([entry["measure"], entry["arm"], *(f"{entry[k]:.3f}" for k in BOTH)])
        further = Measurement.from_json(entry).further()
        lines += [[f"  {name}", "", target, other] for name, target, other in further]
    head = (f"measurement on {split} images", *HEAD)
    return ["", *columns(head, lines, width())] if lines else []


class _Planned(NamedTuple):
    """A training: how, all that it is a function of, and where its state and logs are."""

    how: PretrainConfig
    depends: dict[str, Any]
    cell: Cell


def _planned(
    config: PretrainCommand, how: PretrainConfig, splits: Splits, device: str, log: str
) -> _Planned:
    depends = {
        "format": FORMAT,
        "dataset": describe(config.dataset),
        "images": [splits.train.digest, splits.validation.digest],
        "pretrain": describe(how),
        "seed": config.seed,
        "device": device,
        **in_use(device),
        "precision": config.precision,
        "versions": {name: versions()[name] for name in ("guided-fewshot", "torch")},
    }
    # A constant schedule is the same for any number of steps: a longer training goes on.
    shared = depends | {"pretrain": describe(replace(how, steps=1))}
    family = shared if how.schedule == "constant" else depends
    return _Planned(how, depends, Cell.find(config.output / "cells", "encoder", family, log))


def _pretrained(
    config: PretrainCommand, planned: _Planned, splits: Splits, device: str
) -> Pretrained:
    return pretrain(
        splits.train,
        splits.validation,
        planned.how,
        seed=config.seed,
        device=device,
        precision=config.precision,
        state_file=state_to_continue(planned.cell.folder, planned.how.steps),
        log_folder=planned.cell.log_folder(),
    )
