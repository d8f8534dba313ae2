"""Result rows computed from per-episode errors."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewshot.config import describe, made_by, settings_of
from fewshot.episodes import Setting
from fewshot.statistics import ci95_over_episodes, ci95_over_seeds, paired_difference
from fewshot.study.config import StudyConfig, is_meta_trained
from fewshot.study.rows import EpisodeErrors, ResultRow, rounded
from guided.seeds import derive_seed

Errors = NDArray[np.float32]

Condition = tuple[str, str, str, Setting]
"""(arm, learner, latents, setting): the subject of a row."""


def stack(errors: Sequence[EpisodeErrors]) -> dict[Condition, Errors]:
    """Errors ``[seeds, episodes]`` of each condition, seeds in the order in which they ran."""
    found: dict[Condition, list[Errors]] = {}
    for entry in errors:
        condition = (entry.key.arm, entry.key.learner, entry.key.latents, entry.setting)
        found.setdefault(condition, []).append(entry.errors.numpy())
    return {condition: np.stack(seeds) for condition, seeds in found.items()}


def result_rows(config: StudyConfig, errors: Sequence[EpisodeErrors]) -> list[ResultRow]:
    """One row a condition.

    Each arm but the baseline is paired with it: same learner, setting, seeds and episodes; same
    latents where the baseline has them, else all of the baseline's first choice. A learner that
    names a baseline is paired with that learner on the same arm and latents instead.
    """
    table = stack(errors)
    return [
        ResultRow(
            **columns(config, table, condition),
            episodes=config.episodes,
            error_ci95_episodes=rounded(ci95_over_episodes(values)),
        )
        for condition, values in table.items()
    ]


def columns(
    config: StudyConfig, table: dict[Condition, Errors], condition: Condition
) -> dict[str, Any]:
    """The columns of :class:`.LearnerRow` for one condition."""
    name, learner, latents, setting = condition
    arm, chosen, values = config.arms[name], config.learners[learner], table[condition]
    train = chosen.train if is_meta_trained(arm, chosen) else None
    batch_norm = settings_of(chosen.learner).get("batch_norm", "frozen")
    views = chosen.test_augmentation
    return {
        "arm": name,
        "arm_group": arm.group or name,
        "encoder": arm.encoder,
        "guidance": guidance_names(arm.guidance),
        "labelled": arm.labelled,
        "learner": learner,
        "learner_group": chosen.group or learner,
        "latents": latents,
        "transductive": made_by(chosen.learner).transductive or batch_norm == "transductive",
        "batch_norm": batch_norm,
        "test_views": views.views if views else 0,
        "meta_trained": train is not None,
        "train_episodes": train.steps * train.episodes_per_step if train else 0,
        "n_way": setting.n_way,
        "n_shot": setting.n_shot,
        "n_query": setting.n_query,
        "seeds": tuple(config.seeds),
        "error": rounded(values.mean()),
        "error_ci95_seeds": rounded(ci95_over_seeds(values)),
        **_pairing(config, table, condition),
    }


def guidance_names(guidance: Sequence[Any]) -> tuple[str, ...]:
    """Class names of guidance strategies."""
    return tuple(entry["class_path"] for entry in describe(list(guidance)))


def _pairing(
    config: StudyConfig, table: dict[Condition, Errors], condition: Condition
) -> dict[str, Any]:
    name, learner, latents, setting = condition
    partners = config.partners_of(name, learner)
    if not partners:
        return {}
    partner = partners[0]
    offered = config.arms[partner[0]].latents
    of_partner = (*partner, latents if latents in offered else offered[0], setting)
    if of_partner not in table:  # a learner that was left out
        return {}
    by, other = ("arm", partner[0]) if partner[1] == learner else ("learner", partner[1])
    seed = derive_seed(config.episode_seed, "bootstrap")
    compared = paired_columns(table[condition], table[of_partner], seed, config.resamples)
    return {"paired_by": by, "paired_with": other, **compared}


def paired_columns(values: Errors, baseline: Errors, seed: int, resamples: int) -> dict[str, Any]:
    """The columns of a row that compare it with its partner.

    Args:
        values, baseline: errors ``[seeds, episodes]`` of the row and of its partner.
        seed: of the bootstrap.
        resamples: its draws.
    """
    paired = paired_difference(values, baseline, seed=seed, resamples=resamples)
    return {
        "paired_difference": rounded(paired.difference),
        "paired_difference_ci95": rounded(paired.ci95),
        "relative_reduction": rounded(paired.relative_reduction),
    }
