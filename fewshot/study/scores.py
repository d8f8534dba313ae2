"""Result rows: described by a study's configuration, scored by its counts of wrong answers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fewshot.config import describe, made_by, settings_of, short_name
from fewshot.episodes import Setting
from fewshot.statistics import (
    Crossed,
    Errors,
    new_classes_interval,
    paired_difference,
    stand_after_holm,
)
from fewshot.study.arm_config import ArmConfig
from fewshot.study.config import StudyConfig, is_meta_trained
from fewshot.study.counts import Counts
from fewshot.study.rows import Pair, ResultRow, Row, RowKey, WrongQueries, rounded
from guided.errors import InputError

R = TypeVar("R", bound=Row)

Condition = tuple[str, str, str, Setting]
"""(arm, learner, latents, setting): the subject of a row."""


def stack(entries: Sequence[WrongQueries]) -> dict[Condition, NDArray[np.unsignedinteger]]:
    """Wrong queries ``[seeds, episodes]`` of each condition, seeds in the order they ran."""
    found: dict[Condition, list[NDArray[np.unsignedinteger]]] = {}
    for entry in entries:
        condition = (entry.key.arm, entry.key.learner, entry.key.latents, entry.setting)
        found.setdefault(condition, []).append(entry.wrong)
    return {condition: np.stack(seeds) for condition, seeds in found.items()}


def described_rows(
    config: StudyConfig, conditions: Sequence[Condition], test_classes: int | None
) -> list[ResultRow]:
    """One row a condition, not yet scored.

    Each arm but the baseline is paired with it: same learner, setting, seeds and episodes; same
    latents where the baseline has them, else all of the baseline's first choice. A learner that
    names a baseline is paired with that learner on the same arm and latents instead.

    Args:
        config: of the study.
        conditions: the subjects of the rows.
        test_classes: number of classes that test episodes are drawn from; None if some are
            turned copies of others.
    """
    return [
        ResultRow(
            **columns(config, condition, conditions),
            episodes=config.episodes,
            test_classes=test_classes,
        )
        for condition in conditions
    ]


def columns(
    config: StudyConfig, condition: Condition, conditions: Sequence[Condition]
) -> dict[str, Any]:
    """The columns of :class:`.LearnerRow` for one condition, except those of its errors."""
    name, learner, latents, setting = condition
    arm, chosen = config.arms[name], config.learners[learner]
    trained = config.learners[config.trained_as(learner)]
    train = trained.train if is_meta_trained(arm, trained) else None
    batch_norm = settings_of(chosen.learner).get("batch_norm", "frozen")
    views, inference = chosen.test_augmentation, chosen.test_inference
    return {
        "arm": name,
        "arm_group": arm.group or name,
        "encoder": arm.kind,
        "guidance": guidance_names(arm.guidance),
        "labelled": arm.labelled,
        "learner": learner,
        "learner_group": chosen.group or learner,
        "latents": latents,
        "transductive": made_by(chosen.learner).transductive or batch_norm == "transductive",
        "batch_norm": batch_norm,
        "test_views": views.views if views else 0,
        "test_steps": inference.steps if inference else 0,
        "meta_trained": train is not None,
        "train_episodes": train.steps * train.episodes_per_step if train else 0,
        "n_way": setting.n_way,
        "n_shot": setting.n_shot,
        "n_query": setting.n_query,
        "seeds": tuple(config.seeds),
        "pairs": tuple(_partners(config, condition, set(conditions))),
    }


def guidance_names(guidance: Sequence[Any]) -> tuple[str, ...]:
    """Class names of guidance strategies."""
    return tuple(short_name(type(entry)) for entry in guidance)


def _partners(
    config: StudyConfig, condition: Condition, conditions: set[Condition]
) -> Iterator[Pair]:
    name, learner, latents, setting = condition
    for arm, other in config.partners_of(name, learner):
        offered = config.arms[arm].latents
        fed = latents if latents in offered else offered[0]
        if (arm, other, fed, setting) not in conditions:  # a learner that was left out
            continue
        if other != learner:
            yield Pair(by="learner", partner=other, latents=fed)
        else:
            question = question_of(config, config.arms[name], config.arms[arm])
            yield Pair(by="arm", partner=arm, latents=fed, question=question)


def question_of(config: StudyConfig, arm: ArmConfig, partner: ArmConfig) -> str | None:
    """The question that the difference between two encoders answers, as far as it has a name."""
    question, usual = _question(config, arm, partner), config.pretrain.steps
    if question and (arm.steps or usual) != (partner.steps or usual):
        return f"{question}, at other steps"
    return question


def _question(config: StudyConfig, arm: ArmConfig, partner: ArmConfig) -> str | None:
    if arm.encoder != "pretrained" or partner.encoder != "pretrained" or not arm.guidance:
        return None
    if _besides_guidance(config, arm) != _besides_guidance(config, partner):
        return None
    if arm.labelled != partner.labelled and (_labels(arm) or _labels(partner)):
        return None
    usual = config.pretrain.augmentation
    mine, other = arm.augmentation or usual, partner.augmentation or usual
    labels = _labels(arm)
    if partner.guidance:
        beyond = labels and labels == _labels(partner) and arm.elbo and not partner.elbo
        return "guidance beyond labels" if beyond and mine == other else None
    if labels:
        together = "labels and guidance together" if arm.elbo else "labels"
        return together if mine == other else None
    if mine == other:
        return "guidance"
    # One without augmentation, beside a VAE with it.
    return "guidance beyond augmentation" if other.active and not mine.active else None


def _besides_guidance(config: StudyConfig, arm: ArmConfig) -> tuple[Any, ...]:
    """What else may tell two arms apart, besides guidance, labels, augmentation and steps."""
    return arm.autoencoder, arm.deformations, describe(arm.backbone or config.pretrain.backbone)


def _labels(arm: ArmConfig) -> set[str]:
    return {name for guidance in arm.guidance for name in guidance.labels}


# Scores.


def scored(rows: Sequence[R], errors: Mapping[RowKey, Errors], counts: Counts) -> list[R]:
    """The rows with their errors, intervals and paired differences.

    Args:
        rows: from a configuration, or with scores to be replaced.
        errors: percent, ``[seeds, episodes]``, by the rows' keys.
        counts: whose episodes' classes give the intervals for new classes.
    """
    return mark_standing([_scored(row, errors, counts) for row in rows])


def _scored(row: R, errors: Mapping[RowKey, Errors], counts: Counts) -> R:
    values = _errors_of(row.key, errors)
    expected = len(row.seeds), row.units
    if values.shape != expected or values.max(initial=0) > 100:
        raise InputError(
            f"{'|'.join(row.key)}: expected counts of {expected[0]} seeds and {expected[1]} "
            "episodes, runs or images, and none above what can be wrong"
        )
    crossed = Crossed.of(values)
    found: dict[str, Any] = {
        "error": rounded(crossed.mean),
        "error_ci95": rounded(crossed.interval),
        "pairs": tuple(_compared(row, pair, errors, counts) for pair in row.pairs),
    }
    if isinstance(row, ResultRow):
        found["error_ci95_new_classes"] = _new_classes(row, crossed, values, counts)
    return replace(row, **found)


def _compared(row: Row, pair: Pair, errors: Mapping[RowKey, Errors], counts: Counts) -> Pair:
    values, partner = errors[row.key], _errors_of(row.key_of(pair), errors)
    if values.shape != partner.shape:
        raise InputError(f"{'|'.join(row.key)}: counts of other episodes than {pair.partner}'s")
    paired = paired_difference(values, partner)
    crossed = paired.crossed
    several = crossed.n_seeds > 1
    return replace(
        pair,
        difference=rounded(crossed.mean),
        ci95=rounded(crossed.interval),
        ci95_new_classes=_new_classes(row, crossed, values - partner, counts),
        p=float(f"{crossed.p_value:.3g}") if several else None,
        stands=False,
        seeds_for_half=crossed.seeds_for(crossed.half_width() / 2) if crossed.ms_seed else None,
        relative_reduction=rounded(paired.relative_reduction),
    )


def _errors_of(key: RowKey, errors: Mapping[RowKey, Errors]) -> Errors:
    if key not in errors:
        raise InputError(f"no counts of wrong answers for {'|'.join(key)}")
    return errors[key]


def _new_classes(row: Row, crossed: Crossed, values: Errors, counts: Counts) -> Any:
    if not isinstance(row, ResultRow) or row.label not in counts.episodes:
        return None
    if row.test_classes is None:
        return None
    classes = counts.episodes[row.label].classes
    if classes.shape != (row.episodes, row.n_way) or classes.max() >= row.test_classes:
        raise InputError(
            f"classes|{row.label}: expected {row.n_way} of {row.test_classes} classes for each of "
            f"{row.episodes} episodes"
        )
    return rounded(new_classes_interval(crossed, values, classes, row.test_classes))


def mark_standing(rows: Sequence[R]) -> list[R]:
    """The rows, with ``stands`` of all their pairs, tested together."""
    tested = [pair.p for row in rows for pair in row.pairs if pair.p is not None]
    stand = iter(stand_after_holm(tested))
    return [
        replace(
            row,
            pairs=tuple(
                pair if pair.p is None else replace(pair, stands=next(stand)) for pair in row.pairs
            ),
        )
        for row in rows
    ]


def percent(rows: Sequence[ResultRow], counts: Counts) -> dict[RowKey, Errors]:
    """Errors ``[seeds, episodes]`` of each row: the share of its queries that are wrong."""
    return {
        row.key: 100 * counts.wrong[row.key].astype(np.float64) / (row.n_way * row.n_query)
        for row in rows
        if row.key in counts.wrong
    }


def score_episodes(rows: Sequence[ResultRow], counts: Counts) -> list[ResultRow]:
    """The rows of a comparison with scores from its counts of wrong queries."""
    return scored(rows, percent(rows, counts), counts)
