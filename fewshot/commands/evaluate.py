"""``fewshot evaluate``: errors of learners with one encoder."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from fewshot.chance import CONSTANT, beside_chance
from fewshot.commands import replay
from fewshot.commands.common import ImageCommand, check_ways, finished
from fewshot.config import made_by, parse
from fewshot.data import DatasetFactory, Splits, data_root
from fewshot.data.bank import ImageBank
from fewshot.data.checks import read_splits
from fewshot.data.dataset import SplitName
from fewshot.environment import choose_device
from fewshot.episodes import Setting
from fewshot.evaluation import embed_bank, evaluate_table, table_for
from fewshot.evaluation_files import result_rows, write_episodes, write_predictions
from fewshot.learners.base import Learner, LearnerFactory
from fewshot.learners.prototypical import Prototypical
from fewshot.predictions import Evaluation
from fewshot.runs import Finish, only_one, open_run
from fewshot.sampler import EpisodeSampler
from fewshot.statistics import t_interval
from fewshot.study.examples import FILE as EXAMPLES
from fewshot.study.examples import collected, hardest_episodes, joined
from fewshot.study.foreign_arms import import_encoder, imported_facts
from fewshot.study.html.page import FILE as PAGE
from fewshot.study.html.single.page import write_runs
from fewshot.study.html.single.run import FinishedRun
from fewshot.study.result import made_by_command
from fewshot.threads import computing_with, in_use
from guided.backbones import BackboneFactory
from guided.backbones.short_run import semi_amortised
from guided.decoder import Decoder
from guided.encoder import Encoder
from guided.errors import InputError, blaming
from guided.ranges import Count, Whole
from guided.seeds import derive_seed
from guided.short_run import Langevin
from guided.storage.files import write_arrays, write_json

FILES = ("results.json", "episodes.npz", "episodes.csv", "confusion.csv", EXAMPLES, PAGE)

MOST_CONFUSED = 5


@dataclass(frozen=True)
class EvaluateCommand(ImageCommand):
    """Errors of learners on test episodes, for any encoder, or for embeddings.

    Args:
        dataset: where images come from.
        encoder: a checkpoint; or a network from elsewhere: {class_path: Torchvision, init_args:
            {model: resnet18, weights: FILE}}; without one, raw pixels, or the dataset's embeddings.
        latents: another output than the saved one: all, a slice's name, features; of an Embeddings
            dataset, the name of some.
        test_inference: steps that an image's latents take from the encoder's means, up the log
            joint density of its decoder; none if not given.
        decoder: of the encoder's VAE, for these steps; decoder.safetensors beside it if not given.
        learners: name -> class and settings.
        weights: name of a learner -> its own weights, learner.safetensors of fewshot train.
        settings: shapes of the episodes.
        episodes: number of episodes of each shape.
        split: split whose classes are used; all for the classes of all splits, for encoders that
            have seen none of them.
        seed: of the episodes.
        threads: of torch and BLAS; as many as torch takes by itself, OMP_NUM_THREADS or the cores,
            if not given.
        output: run folder.
        predictions: CSV file of the true and the predicted class of every query; none if not
            given.
    """

    dataset: DatasetFactory
    encoder: Path | BackboneFactory | None = None
    latents: str | None = None
    test_inference: Langevin | None = None
    decoder: Path | None = None
    learners: dict[str, LearnerFactory] = field(
        default_factory=lambda: {"prototypical": partial(Prototypical)}
    )
    weights: dict[str, Path] = field(default_factory=dict)
    settings: list[Setting] = field(default_factory=lambda: [Setting()])
    episodes: Count = 1000
    split: SplitName | Literal["all"] = "test"
    seed: Whole = 0
    threads: Count | None = None
    output: Path = Path("runs/evaluate")
    predictions: Path | None = None

    def __post_init__(self) -> None:
        for name in ("learners", "settings"):
            if not getattr(self, name):
                raise InputError(f"{name}: at least one is needed")
        if self.test_inference and not isinstance(self.encoder, Path):
            raise InputError(
                "test_inference: needs a checkpoint and its decoder; pixels, embeddings and "
                "networks from elsewhere have none"
            )
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
    if config.test_inference and not config.decoder and isinstance(config.encoder, Path):
        # Named, so that another decoder is another run.
        config = replace(config, decoder=config.encoder.with_name("decoder.safetensors"))
    dataset = config.dataset(data_root(config.data_root))
    check_ways(dataset, **{config.split: config.settings})
    loaded = _checkpoint(config)
    needed = () if config.split == "all" else (config.split,)
    splits, doubts = read_splits(dataset, *needed)
    bank = splits.bank(config.split)
    _check_classes(config, splits)
    encoder = (loaded or _other_encoder(config, bank)).to(device)
    facts: dict[str, Any] = in_use(device)
    if loaded is None and config.encoder is not None:
        facts["imported"] = imported_facts(encoder)
    learners = {name: _learner(config, name, encoder).to(device) for name in config.learners}
    samplers = [
        EpisodeSampler(bank, s, derive_seed(config.seed, "test", s.label)) for s in config.settings
    ]
    finish = Finish.from_run(config.output, config, splits, device, **facts)
    with only_one(config.output):
        # Another run may have written the file of predictions: it is always written anew.
        if config.predictions is not None or not finish.said_before():
            open_run(config.output, config, device)
            results = _evaluated(config, bank, encoder, learners, samplers, device)
            words = _write(config, bank, results, samplers[0], doubts, start, device)
            finish.write(words, FILES)
            print(f"{words}\n{finished(config.output)}")
    return config.output / FILES[0]


def _evaluated(
    config: EvaluateCommand,
    bank: ImageBank,
    encoder: Encoder,
    learners: Mapping[str, Learner],
    samplers: Sequence[EpisodeSampler],
    device: str,
) -> dict[str, list[Evaluation]]:
    """The results of each learner, one a setting."""
    with blaming(f"{_named(config)}, {config.split} classes"):
        embeddings = embed_bank(encoder, bank, device, description="embed")
    results: dict[str, list[Evaluation]] = {}
    for name, learner in learners.items():
        own_table = learner.reads_images or learner.apart is not None
        table = table_for(learner, bank, device) if own_table else embeddings
        results[name] = [
            evaluate_table(learner, table, sampler, config.episodes, bank.class_names)
            for sampler in samplers
        ]
    return results


def _write(
    config: EvaluateCommand,
    bank: ImageBank,
    results: dict[str, list[Evaluation]],
    sampler: EpisodeSampler,
    doubts: Sequence[str],
    start: float,
    device: str,
) -> str:
    """Write all files; returns the last words."""
    doubts = [*doubts, *_at_chance(results)]
    words = "\n".join([*_summary(results), *(f"warning: {line}" for line in doubts)])
    write_episodes(config.output, results)
    examples = _write_examples(config, bank, sampler, {n: e[0] for n, e in results.items()})
    made = made_by_command("evaluate", config, device, time.perf_counter() - start)
    rows = result_rows(results, config.split)
    content = {"rows": rows, "examples": examples, "warnings": doubts, **made}
    write_json(config.output / FILES[0], content)
    if config.predictions:
        write_predictions(config.predictions, results)
    write_runs([FinishedRun.load(config.output)], config.output / PAGE)
    return words


def _named(config: EvaluateCommand) -> str:
    """The encoder's file or class, for messages."""
    encoder = config.encoder
    if encoder is None or isinstance(encoder, Path):
        return str(encoder or "pixels")
    return str(made_by(encoder).__name__)


def _check_classes(config: EvaluateCommand, splits: Splits) -> None:
    """Refuse episodes of more classes than the split has, if all splits together have enough."""
    n_way = max(setting.n_way for setting in config.settings)
    n_classes = n_way if config.split == "all" else splits.bank(config.split).n_classes
    in_all = len({name for bank in vars(splits).values() for name in bank.class_names})
    if n_classes < n_way <= in_all:
        raise InputError(
            f"n_way: {n_way} classes asked for, the {config.split} split has {n_classes}; choose a "
            f"smaller n_way, or split: all ({in_all} classes) if the encoder has seen none of them"
        )


def _checkpoint(config: EvaluateCommand) -> Encoder | None:
    """The encoder of a file, with inference at test time if there is any; None: it is another."""
    if not isinstance(config.encoder, Path):
        return None
    encoder = Encoder.load(config.encoder, config.latents)
    if config.test_inference is None:
        return encoder
    assert config.decoder is not None
    decoder = Decoder.load(config.decoder, encoder)
    return semi_amortised(encoder, decoder, config.test_inference)


def _other_encoder(config: EvaluateCommand, bank: ImageBank) -> Encoder:
    """A network from elsewhere, or pixels or embeddings as they are."""
    network = config.encoder
    if network is None or isinstance(network, Path):
        encoder = bank.plain_encoder()
    else:
        encoder = import_encoder(network, bank.image_shape, config.seed)
    return encoder.select(config.latents) if config.latents else encoder


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
