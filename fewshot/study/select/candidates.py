"""The encoders among which to choose, read from the cells of finished studies."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from fewshot.config import describe
from fewshot.study.arm_config import ArmConfig
from fewshot.study.cells import Cell
from fewshot.study.config import StudyConfig
from fewshot.study.counts import Counts
from fewshot.study.result import StudyResult
from fewshot.study.rows import ResultRow
from fewshot.study.run import Study
from fewshot.study.text import ways_and_shots
from guided.decoder import Decoder
from guided.encoder import Encoder, digest
from guided.errors import InputError

LEAST = 3
"""Of two encoders, each agrees with the other as much."""
UNTRAINED = "untrained"


@dataclass(frozen=True)
class Candidate:
    """One pretrained encoder.

    Attributes:
        run: name of its run; empty if there is only one.
        arm, seed: of the encoder.
        encoder: with all its latents, in evaluation mode.
        decoder: of the same VAE; None for an arm without the ELBO.
        elbo: on the validation classes, nats per image; None for an arm without it.
        validation: few-shot error on the validation classes by which its best state was kept, in
            percent; None if that was not kept by error.
        errors: learner and setting in words -> error on the test episodes, in percent.
        digest: of all that the encoder depends on.
        objective: what trains it: names of its guidances' classes, or ``VAE``.
    """

    run: str
    arm: str
    seed: int
    encoder: Encoder
    decoder: Decoder | None = None
    elbo: float | None = None
    validation: float | None = None
    errors: Mapping[str, float] = field(default_factory=dict)
    digest: str = ""
    objective: str = "VAE"

    @property
    def name(self) -> str:
        """Run, arm and seed, which differ between candidates."""
        return f"{_named(self.run, self.arm)} {self.seed}"


@dataclass(frozen=True)
class Reference:
    """Encoders that are not chosen from, whose scores are shown for scale: the mean over them.

    Attributes:
        name: in tables.
        encoders: digest -> encoder; none without latents.
        errors: as of a :class:`Candidate`, the mean over seeds.
    """

    name: str
    encoders: Mapping[str, Encoder] = field(default_factory=dict)
    errors: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Found:
    """The candidates, and the arms that have none.

    Attributes:
        candidates: in the order of studies, seeds and arms.
        references: untrained encoders, and pixels where a study has them.
        left_out: arm -> why.
    """

    candidates: list[Candidate]
    references: list[Reference]
    left_out: dict[str, str]


def find_candidates(studies: Sequence[tuple[Study, StudyResult, Counts]], seed: int = 0) -> Found:
    """The pretrained encoders of finished studies of the same images, each once.

    Args:
        studies: the plan, the result and the counts of each.
        seed: of an untrained encoder, if no study has one.

    Raises:
        InputError: studies of other images or episodes, a missing cell, no pretrained encoder, or
            fewer than three.
    """
    first = studies[0][0]
    found = Found([], [], {})
    seen: dict[str, str] = {}
    runs = _run_names([study.output for study, _, _ in studies])
    for one, other in combinations((study for study, _, _ in studies), 2):
        _check_same(one, other)
    for run, (study, result, counts) in zip(runs, studies, strict=True):
        for (arm, of_seed), cell in study.plan(tests=False).encoders.items():
            kind, name = study.config.arms[arm].kind, _named(run, arm)
            if kind != "pretrained":
                found.left_out[name] = f"{kind}, not pretrained"
            elif study.config.arms[arm].autoencoder:
                found.left_out[name] = "an autoencoder, which has no posterior"
            elif cell.digest in seen:
                found.left_out[name] = f"has the encoders of {seen[cell.digest]}"
            else:
                seen[cell.digest] = name
                candidate = _candidate(study, cell, (run, arm, of_seed))
                errors = _errors(arm, of_seed, result, counts)
                found.candidates.append(replace(candidate, errors=errors))
    if not found.candidates:
        raise InputError(f"{first.output}: no pretrained encoder to choose")
    if len(found.candidates) < LEAST:
        raise InputError(
            f"{first.output}: only {len(found.candidates)} pretrained encoders, of which none can "
            f"agree more than the other; {LEAST} are needed: more arms, seeds or runs"
        )
    found.references.extend(_references(studies, seed))
    return found


def _references(
    studies: Sequence[tuple[Study, StudyResult, Counts]], seed: int
) -> Iterator[Reference]:
    """Of the first study and arm that is untrained, or of pixels."""
    for kind, name in (("random", UNTRAINED), ("pixels", "pixels")):
        arms = [
            (study, result, counts, arm)
            for study, result, counts in studies
            for arm, config in study.config.arms.items()
            if config.encoder == kind
        ]
        if arms:
            study, result, counts, arm = arms[0]
            seeds = study.config.seeds
            each = [_errors(arm, of_seed, result, counts) for of_seed in seeds]
            errors = {test: float(np.mean([one[test] for one in each])) for test in each[0]}
            made = [study.arms.untrained(study.config.arms[arm], of_seed) for of_seed in seeds]
            yield Reference(name, {digest(e): e for e in made if e.layout}, errors)
        elif kind == "random":
            alone = studies[0][0].arms.untrained(ArmConfig(encoder="random"), seed)
            yield Reference(name, {digest(alone): alone})


def _run_names(folders: Sequence[Path]) -> list[str]:
    if len(folders) == 1:
        return [""]
    names = [folder.name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]


def _named(run: str, arm: str) -> str:
    return f"{run}/{arm}" if run else arm


def _check_same(first: Study, other: Study) -> None:
    for split, bank in vars(first.splits).items():
        if getattr(other.splits, split).digest != bank.digest:
            raise InputError(
                f"{other.output}: its {split} images are not those of {first.output}; select "
                "among encoders of the same dataset"
            )
    for key in ("episodes", "episode_seed"):
        if getattr(other.config, key) != getattr(first.config, key):
            raise InputError(
                f"{other.output}: its {key} differ from those of {first.output}, so that errors "
                "do not compare"
            )
    ours, theirs = _tests(first.config), _tests(other.config)
    for key in ours.keys() & theirs.keys():
        if ours[key] != theirs[key]:
            raise InputError(
                f"{other.output}: its {key} is another than that of {first.output}, so that errors "
                "do not compare"
            )


def _tests(config: StudyConfig) -> dict[str, Any]:
    """What errors depend on besides images and encoders, by names that rows of studies share."""
    selection = config.selection, config.selection_episodes, config.select_by
    learners = {
        f"learners.{name}": (learner.testing, learner.training, describe(learner.choose))
        for name, learner in config.learners.items()
    }
    settings = {ways_and_shots(setting): setting for setting in config.settings}
    judged = next(iter(config.learners.values())).testing
    return {"selection of states": (selection, judged), **learners, **settings}


def _candidate(study: Study, cell: Cell, key: tuple[str, str, int]) -> Candidate:
    if cell.done and not cell.encoder_file.exists():
        raise InputError(
            f"{study.output}: the weights of {key[1]}, seed {key[2]}, were removed; remove "
            f"{cell.marker} and finished.json too, and run `fewshot compare` there again"
        )
    if not cell.done:
        raise InputError(
            f"{study.output}: no finished encoder of {key[1]}, seed {key[2]}; other versions made "
            "it, or it was removed: run `fewshot compare` there again"
        )
    encoder = Encoder.load(cell.encoder_file, "all")
    kept = min(cell.facts["history"], key=lambda entry: entry["score"])
    with_elbo = study.config.arms[key[1]].elbo
    return Candidate(
        *key,
        encoder,
        Decoder.load(cell.decoder_file, encoder) if cell.decoder_file.exists() else None,
        elbo=-kept["negative_elbo"] if with_elbo else None,
        validation=kept["score"] if study.config.select_by == "few_shot_error" else None,
        digest=cell.digest,
        objective=_objective(study.config.arms[key[1]]),
    )


def _objective(arm: ArmConfig) -> str:
    return " + ".join(type(own).__name__ for own in arm.guidance) or "VAE"


def _errors(arm: str, seed: int, result: StudyResult, counts: Counts) -> dict[str, float]:
    """Of a seed, for each learner and setting: with all latents, else with the arm's first."""
    chosen: dict[str, ResultRow] = {}
    for row in result.rows:
        if row.arm == arm:
            test = f"{row.learner}, {ways_and_shots(row)}"
            if test not in chosen or row.latents == "all":
                chosen[test] = row
    found = {}
    for test, row in chosen.items():
        if row.key not in counts.wrong:
            raise InputError(f"{result.output}: no counts of wrong answers for {'|'.join(row.key)}")
        wrong = counts.wrong[row.key][row.seeds.index(seed)]
        found[test] = 100 * float(wrong.mean()) / (row.n_way * row.n_query)
    return found
