"""``fewshot evaluate``: errors of learners with one encoder."""

import csv
import io
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from fewshot.chance import CONSTANT, beside_chance
from fewshot.commands import replay
from fewshot.commands.common import ImageCommand, check_ways, finished
from fewshot.config import made_by, parse
from fewshot.data import DatasetFactory, data_root
from fewshot.data.bank import ImageBank
from fewshot.data.checks import read_splits
from fewshot.data.dataset import SplitName
from fewshot.environment import choose_device
from fewshot.episodes import Setting
from fewshot.evaluation import embed_bank, evaluate_table, table_for
from fewshot.learners.base import Learner, LearnerFactory
from fewshot.learners.prototypical import Prototypical
from fewshot.predictions import Evaluation
from fewshot.runs import Finish, open_run
from fewshot.sampler import EpisodeSampler
from fewshot.statistics import t_interval
from fewshot.study.examples import FILE as EXAMPLES
from fewshot.study.examples import collected, hardest_episodes, joined
from fewshot.study.html.page import FILE as PAGE
from fewshot.study.html.single.page import write_runs
from fewshot.study.html.single.run import FinishedRun
from fewshot.study.result import made_by_command
from fewshot.threads import computing_with, in_use
from guided.backbones import Pixels
from guided.backbones.short_run import semi_amortised
from guided.decoder import Decoder
from guided.encoder import Encoder
from guided.errors import InputError, blaming
from guided.files import write_arrays, write_bytes, write_json
from guided.ranges import Count, Whole
from guided.seeds import derive_seed
from guided.short_run import Langevin

FILES = ("results.json", "episodes.npz", "confusion.csv", EXAMPLES, PAGE)

MOST_CONFUSED = 5


@dataclass(frozen=True)
class EvaluateCommand(ImageCommand):
    """Errors of learners on test episodes, for any encoder checkpoint.

    Args:
        dataset: where images come from.
        encoder: a checkpoint; without one, raw pixels.
        latents: another output than the saved one: all, a slice's name, features.
        test_inference: steps that an image's latents take from the encoder's means, up the log
            joint density of its decoder; none if not given.
        decoder: of the encoder's VAE, for these steps; decoder.safetensors beside it if not given.
        learners: name -> class and settings.
        weights: name of a learner -> its own weights, learner.safetensors of fewshot train.
        settings: shapes of the episodes.
        episodes: number of episodes of each shape.
        split: split whose classes are used.
        seed: of the episodes.
        threads: of torch and BLAS; as many as torch takes by itself, OMP_NUM_THREADS or the cores,
            if not given.
        output: run folder.
    """

    dataset: DatasetFactory
    encoder: Path | None = None
    latents: str | None = None
    test_inference: Langevin | None = None
    decoder: Path | None = None
    learners: dict[str, LearnerFactory] = field(
        default_factory=lambda: {"prototypical": partial(Prototypical)}
    )
    weights: dict[str, Path] = field(default_factory=dict)
    settings: list[Setting] = field(default_factory=lambda: [Setting()])
    episodes: Count = 1000
    split: SplitName = "test"
    seed: Whole = 0
    threads: Count | None = None
    output: Path = Path("runs/evaluate")

    def __post_init__(self) -> None:
        for name in ("learners", "settings"):
            if not getattr(self, name):
                raise InputError(f"{name}: at least one is needed")
        if self.test_inference and self.encoder is None:
            raise InputError("test_inference: needs an encoder and its decoder; pixels have none")
        if self.decoder and not self.test_inference:
            raise InputError("decoder: serves test_inference alone, which is not set")
        for name in self.weights:
            if name not in self.learners:
                raise InputError(f"weights: no learner is called {name!r}")
        for name, learner in self.learners.items():
            if made_by(learner).needs_training and name not in self.weights:
                raise InputError(
                    f"weights: learner {name!r} must be meta-trained first: run fewshot train, "
                    f"then add --weights.{name} FOLDER/learner.safetensors"
                )
        labels = [setting.label for setting in self.settings]
        if len(set(labels)) < len(labels):
            raise InputError(f"settings: {', '.join(labels)} holds one twice")


def main(arguments: Sequence[str]) -> Path | None:
    """Run the command; returns the file of results."""
    if any(argument.partition("=")[0] == "--replay" for argument in arguments):
        replay.main(arguments)
        return None
    config = parse(EvaluateCommand, arguments, "fewshot evaluate")
    with computing_with(config.threads):
        return _run(config)


def _run(config: EvaluateCommand) -> Path:
    """Evaluate; returns the file of results."""
    start = time.perf_counter()
    device = choose_device(config.device)
    dataset = config.dataset(data_root(config.data_root))
    check_ways(dataset, **{config.split: config.settings})
    encoder = _encoder(config)
    splits, doubts = read_splits(dataset)
    bank: ImageBank = getattr(splits, config.split)
    finish = Finish.from_run(config.output, config, splits, device, **in_use(device))
    if finish.said_before():
        return config.output / FILES[0]
    encoder = (encoder or Encoder(Pixels(bank.image_shape), None)).to(device)
    learners = {name: _learner(config, name, encoder).to(device) for name in config.learners}
    samplers = [
        EpisodeSampler(bank, s, derive_seed(config.seed, "test", s.label)) for s in config.settings
    ]
    open_run(config.output, config, device)
    with blaming(f"{config.encoder or 'pixels'}, {config.split} classes"):
        embeddings = embed_bank(encoder, bank, device, description="embed")
    results: dict[str, list[Evaluation]] = {}
    for name, learner in learners.items():
        own_table = learner.reads_images or learner.apart is not None
        table = table_for(learner, bank, device) if own_table else embeddings
        results[name] = [
            evaluate_table(learner, table, sampler, config.episodes, bank.class_names)
            for sampler in samplers
        ]
    doubts += _at_chance(results)
    words = "\n".join([*_summary(results), *(f"warning: {line}" for line in doubts)])
    _write_episodes(config, results)
    facts = _write_examples(config, bank, samplers[0], {n: e[0] for n, e in results.items()})
    made = made_by_command("evaluate", config, device, time.perf_counter() - start)
    content = {"rows": _rows(config, results), "examples": facts, "warnings": doubts, **made}
    write_json(config.output / FILES[0], content)
    write_runs([FinishedRun.load(config.output)], config.output / PAGE)
    print(f"{words}\n{finished(config.output)}")
    finish.write(words, FILES)
    return config.output / FILES[0]


def _encoder(config: EvaluateCommand) -> Encoder | None:
    """The encoder, with inference at test time if there is any; None: pixels."""
    if config.encoder is None:
        return None
    encoder = Encoder.load(config.encoder, config.latents)
    if config.test_inference is None:
        return encoder
    file = config.decoder or config.encoder.with_name("decoder.safetensors")
    return semi_amortised(encoder, Decoder.load(file, encoder), config.test_inference)


def _learner(config: EvaluateCommand, name: str, encoder: Encoder) -> Learner:
    """The learner with its own weights; refuses episodes of other ways than it was made for."""
    learner = config.learners[name](encoder)
    if config.test_inference and learner.reads_images:
        raise InputError(
            f"test_inference: learner {name!r} computes no embedding before it has seen the episode"
        )
    for setting in config.settings:
        learner.check_ways(setting.n_way)
    return learner.restore(config.weights[name]) if name in config.weights else learner


def _summary(results: dict[str, list[Evaluation]]) -> Iterator[str]:
    """A line for each learner and setting, and the classes that the first one confuses."""
    for name, evaluations in results.items():
        for found in evaluations:
            shape = f"{found.setting.n_way}-way {found.setting.n_shot}-shot"
            spread = f" ± {found.ci95:.2f} (95 % over episodes)" if found.ci95 is not None else ""
            yield f"{name}, {shape}: error {found.error:.2f} %{spread}"
    name, evaluations = next(iter(results.items()))
    confused = evaluations[0].most_confused(MOST_CONFUSED)
    if confused:
        yield f"most confused by {name}, {evaluations[0].setting.label}; all in confusion.csv:"
    for pair in confused:
        yield f"  {pair.true} taken for {pair.predicted}: {pair.count} times, {pair.share:.1f} %"


def _at_chance(results: dict[str, list[Evaluation]]) -> Iterator[str]:
    for name, evaluations in results.items():
        for found in evaluations:
            errors, n_way = found.errors.numpy(), found.setting.n_way
            interval = t_interval(errors) or (found.error, found.error)
            if word := beside_chance(n_way, interval, errors):
                what = CONSTANT if word == "constant" else "the interval reaches chance"
                yield f"{name}, {found.setting.label}: {what}."


def _rows(config: EvaluateCommand, results: dict[str, list[Evaluation]]) -> list[dict[str, Any]]:
    """The error of each learner in each setting."""
    return [
        {
            "learner": name,
            **vars(found.setting),
            "split": config.split,
            "episodes": config.episodes,
            "error": round(found.error, 4),
            "error_ci95_episodes": interval and [round(end, 4) for end in interval],
        }
        for name, evaluations in results.items()
        for found in evaluations
        for interval in [t_interval(found.errors.numpy())]
    ]


def _write_examples(
    config: EvaluateCommand,
    bank: ImageBank,
    sampler: EpisodeSampler,
    evaluations: dict[str, Evaluation],
) -> dict[str, Any]:
    """The hardest episodes of the first setting with all learners' answers; returns their facts."""
    mean = torch.stack([found.errors for found in evaluations.values()]).mean(0)
    chosen = hardest_episodes(mean.numpy())
    episodes = joined([sampler[number] for number, _ in chosen])
    numbers = [number for number, _ in chosen]
    answers = torch.stack([found.positions[numbers] for found in evaluations.values()])
    arrays, facts = collected(bank, chosen, episodes, answers, evaluations)
    write_arrays(config.output / EXAMPLES, arrays)
    return {"arms": [{"arm": name} for name in evaluations], **facts}


def _write_episodes(config: EvaluateCommand, results: dict[str, list[Evaluation]]) -> None:
    """Errors of each episode, and confused classes."""
    table = io.StringIO()
    lines = csv.writer(table, lineterminator="\n")
    lines.writerow(("learner", "setting", "true", "predicted", "count", "percent"))
    for name, evaluations in results.items():
        for found in evaluations:
            for pair in found.most_confused(len(found.class_names) ** 2):
                key = (name, found.setting.label)
                lines.writerow((*key, pair.true, pair.predicted, pair.count, f"{pair.share:.2f}"))
    arrays = {
        f"{name}|{found.setting.label}": found.errors.numpy()
        for name, evaluations in results.items()
        for found in evaluations
    }
    write_bytes(config.output / "confusion.csv", table.getvalue().encode())
    write_arrays(config.output / "episodes.npz", arrays)
