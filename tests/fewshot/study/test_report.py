"""A study's report: every number recomputed from the per-episode errors beside it."""

import json
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from scipy import stats
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fewshot.episodes import Setting
from fewshot.learners.base import Learner
from fewshot.learners.prototypical import Prototypical
from fewshot.statistics import paired_difference
from fewshot.study import ArmConfig, LearnerConfig, Published, StudyConfig, StudyResult
from fewshot.study.lake import LakeResult
from fewshot.study.latents import LatentsResult
from fewshot.study.rows import EpisodeErrors, Key, LakeRow, Measurement, ResultRow
from fewshot.study.scores import result_rows
from fewshot.study.tables import study_table, verdicts
from guided.augment import Augmentation
from guided.errors import InputError
from guided.guidance.deformable_pca import DeformablePCA
from guided.seeds import derive_seed


@pytest.fixture(scope="module")
def result(finished):
    return StudyResult.load(finished.folder)


def array_of(row, arm=None, latents=None):
    setting = f"{row.n_way}w{row.n_shot}s"
    return "|".join([arm or row.arm, row.learner, latents or row.latents, setting])


# The files of a finished study.


def test_errors_are_those_of_the_episodes(finished, result):
    assert {array_of(row) for row in result.rows} == set(finished.arrays)
    for row in result.rows:
        assert (row.seeds, row.episodes) == ((0, 1), 20)
        assert row.meta_trained == (row.learner == "trained" and row.arm != "pixels")
        errors = finished.arrays[array_of(row)].astype(np.float64)
        assert row.error == pytest.approx(errors.mean(), abs=1e-4)
        for interval, values in (
            (row.error_ci95_seeds, errors.mean(1)),
            (row.error_ci95_episodes, errors.mean(0)),
        ):
            expected = [values.mean()] * 2
            if values.std() > 1e-9:
                expected = list(stats.ttest_1samp(values, 0).confidence_interval(0.95))
            assert interval == pytest.approx(expected, abs=1e-3)


def test_differences_are_paired_episode_by_episode(finished, result):
    for row in result.rows:
        assert row.paired_with == (None if row.arm == "vae" else "vae")
        if row.arm == "vae":
            assert row.paired_difference is row.paired_difference_ci95 is None
            continue
        arm = finished.arrays[array_of(row)].astype(np.float64)
        # The baseline has no slice called class: it is paired with all of its latents.
        baseline = finished.arrays[array_of(row, arm="vae", latents="all")].astype(np.float64)
        assert row.paired_difference == pytest.approx((arm - baseline).mean(), abs=1e-4)
        reduction = 100 * (baseline.mean() - arm.mean()) / baseline.mean()
        assert row.relative_reduction == pytest.approx(reduction, abs=1e-3)
        again = paired_difference(arm, baseline, seed=derive_seed(0, "bootstrap"), resamples=200)
        assert row.paired_difference_ci95 == pytest.approx(again.ci95, abs=1e-3)


def test_files_print_and_log_agree(finished, result):
    results, folder = finished.results, finished.folder
    assert (results["study"], results["baseline"]) == ("tiny", "vae")
    assert results["classes"] == {"train": 10, "validation": 5, "test": 5}
    assert results["versions"]["torch"] == version("torch")
    assert results["hardware"]["device"] == "cpu"
    assert yaml.safe_load((folder / "config.yaml").read_text()) == results["config"]
    assert (folder / "table.md").read_text() == result.table
    assert result.table in finished.printed
    assert all(line in finished.printed for line in result.verdicts)
    names = {"errors", "paired_differences", "learning_curves"}
    names |= {f"episodes/{arm}" for arm in ("pixels", "random", "vae", "guided")}
    for name in names:
        with Image.open(folder / f"{name}.png") as image:
            assert min(image.size) > 80
            assert len(np.unique(np.asarray(image.convert("L")))) > 10, name
    shown = events(folder / "tensorboard" / "report")
    assert set(shown.Tags()["images"]) == names
    (event,) = shown.Tensors("table/text_summary")
    assert event.tensor_proto.string_val[0].decode() == result.table
    assert "verdicts/text_summary" in shown.Tags()["tensors"]


def events(folder):
    accumulator = EventAccumulator(str(folder), size_guidance={"images": 0, "tensors": 0})
    accumulator.Reload()
    return accumulator


def test_tensorboard_shows_the_trainings(finished):
    (folder,) = (finished.folder / "tensorboard").glob("encoder-guided-seed0-*")
    shown = events(folder)
    losses = {"loss/reconstruction", "loss/kl", "loss/excitation/class", "loss_weighted/total"}
    assert set(shown.Tags()["scalars"]) >= losses | {"validation/negative_elbo"}
    assert [event.step for event in shown.Scalars("validation/score")] == [2, 4, 6, 8]
    assert "traversals" in shown.Tags()["images"]
    (folder,) = (finished.folder / "tensorboard").glob("train-vae-seed0-all-trained-*")
    assert set(events(folder).Tags()["scalars"]) == {"train/loss", "validation/error"}


# Rows of errors that are known.

PLAIN, OTHER = Setting(5, 1, 15), Setting(5, 5, 15)


class QuerySeeing(Learner):
    """Declares that it uses query statistics; never run."""

    transductive = True

    def logits(self, episodes):
        raise NotImplementedError


@pytest.fixture
def config():
    return StudyConfig(
        study="known",
        dataset=partial(dict),
        arms={
            "vae": ArmConfig(latents=["all", "features"]),
            "guided": ArmConfig(guidance=[DeformablePCA()], latents=["all", "features", "content"]),
        },
        learners={"a": LearnerConfig(partial(Prototypical))},
        settings=[PLAIN, OTHER],
        seeds=[7, 3],
        episodes=2,
        resamples=50,
    )


KNOWN = [
    ("vae", "all", PLAIN, [[10.0, 20.0], [30.0, 40.0]]),
    ("vae", "features", PLAIN, [[50.0, 50.0], [50.0, 50.0]]),
    ("vae", "all", OTHER, [[0.0, 0.0], [0.0, 0.0]]),
    ("guided", "all", PLAIN, [[8.0, 18.0], [27.0, 37.0]]),
    ("guided", "features", PLAIN, [[60.0, 60.0], [60.0, 60.0]]),
    ("guided", "content", PLAIN, [[10.0, 20.0], [30.0, 40.0]]),
    ("guided", "all", OTHER, [[1.0, 0.0], [0.0, 0.0]]),
]


@pytest.fixture
def known():
    """Seed by seed, as a study runs: each list holds (seed 7, seed 3)."""
    return [
        EpisodeErrors(Key(arm, seed, "a", latents), setting, torch.tensor(values[i]))
        for i, seed in enumerate((7, 3))
        for arm, latents, setting, values in KNOWN
    ]


def find(rows, arm, latents, setting=PLAIN):
    (row,) = (r for r in rows if (r.arm, r.latents, r.n_shot) == (arm, latents, setting.n_shot))
    return row


def test_each_arm_is_paired_with_the_baseline(config, known):
    rows = result_rows(config, known)
    for latents, setting, difference, reduction in (
        ("all", PLAIN, -2.5, 10.0),
        ("features", PLAIN, 10.0, -20.0),
        ("content", PLAIN, 0.0, 0.0),  # the baseline has none: its first choice
        ("all", OTHER, 0.25, None),  # the baseline makes no error
    ):
        row = find(rows, "guided", latents, setting)
        assert (row.paired_difference, row.relative_reduction) == (difference, reduction)
        assert row.paired_difference_ci95[0] <= difference <= row.paired_difference_ci95[1]


def test_one_seed_has_no_interval_over_seeds(config, known):
    rows = result_rows(config, [entry for entry in known if entry.key.seed == 7])
    row = find(rows, "vae", "all")
    assert (row.error, row.error_ci95_seeds) == (15, None), "seeds are stacked in their order"
    assert row.error_ci95_episodes is not None


def test_rows_tell_transduction_views_and_groups(config, known):
    views = Augmentation(rotation=9, views=4)
    config.learners["a"] = LearnerConfig(
        partial(QuerySeeing), test_augmentation=views, group="seeing"
    )
    config.arms["vae"] = replace(config.arms["vae"], group="unguided", labelled=0.5)
    row = find(result_rows(config, known), "vae", "all")
    assert (row.transductive, row.batch_norm, row.test_views) == (True, "frozen", 4)
    assert (row.arm_group, row.learner_group, row.labelled) == ("unguided", "seeing", 0.5)
    assert find(result_rows(config, known), "guided", "all").arm_group == "guided"


def test_a_tables_numbers(config, known):
    rows = result_rows(config, known)
    lines = study_table(rows).splitlines()
    assert "minus vae" in lines[0]
    row = find(rows, "guided", "all")
    seeds, episodes, paired = (
        "{:.2f} … {:.2f}".format(*interval)
        for interval in (row.error_ci95_seeds, row.error_ci95_episodes, row.paired_difference_ci95)
    )
    numbers = f"22.50 | {seeds} | {episodes} | -2.50 | {paired} | 10.0"
    assert lines[4] == f"| guided | all | a | 5-way 1-shot | {numbers} |"
    assert study_table([find(rows, "guided", "all", OTHER)]).endswith("| – |\n")
    settings = [line.split(" | ")[3] for line in lines[2:]]
    assert settings == ["5-way 1-shot"] * 5 + ["5-way 5-shot"] * 2
    # Published errors with a source are a table of their own.
    published = [Published("UFLST", {"5w1s": 3.0}, "Ji et al. 2019"), Published("x", {"5w1s": 3.6})]
    table = study_table(rows, published)
    assert table.startswith(study_table(rows))
    assert table.endswith("| UFLST | 3.0 | – | Ji et al. 2019 |\n")
    assert study_table(rows, published[1:]) == study_table(rows)


def test_verdicts_read_the_interval(config, known):
    rows = result_rows(config, known)
    place = rows.index(find(rows, "guided", "all"))
    verbs = {(-3, -1): "lowers", (1, 2): "raises", (-1, 2): "does not clearly change"}
    for interval, verb in verbs.items():
        rows[place] = replace(rows[place], paired_difference_ci95=interval)
        lines = verdicts(rows)
        assert len(lines) == 3, "each latents of the guided arm, on the first setting"
        assert lines[0].startswith(f"guided (all) {verb} the error of vae: -2.50 points")
        assert "2 seeds × 2 episodes" in lines[0]
    rows = result_rows(replace(config, baseline="guided"), known)
    assert verdicts(rows) == [], "a guided baseline has no verdict on itself"
    assert "minus guided" in study_table(rows)


def test_a_learner_may_be_paired_with_another_on_the_same_arm():
    """Two arms, two learners: b against a, on each arm; a against the baseline arm."""
    learners = {
        "a": LearnerConfig(partial(Prototypical)),
        "b": LearnerConfig(partial(Prototypical, metric="cosine"), baseline="a"),
    }
    arms = {"vae": ArmConfig(), "raw": ArmConfig("pixels")}
    config = StudyConfig("any", partial(dict), arms, learners, seeds=[0])
    values = {("vae", "a"): 10.0, ("vae", "b"): 7.0, ("raw", "a"): 30.0, ("raw", "b"): 31.0}
    errors = [
        EpisodeErrors(Key(arm, 0, learner, "all"), Setting(), torch.tensor([v, v + 2]))
        for (arm, learner), v in values.items()
    ]
    rows = {(r.arm, r.learner): r for r in result_rows(config, errors)}
    found = {key: (r.paired_by, r.paired_with, r.paired_difference) for key, r in rows.items()}
    assert found == {
        ("vae", "a"): (None, None, None),
        ("vae", "b"): ("learner", "a", -3.0),
        ("raw", "a"): ("arm", "vae", 20.0),
        ("raw", "b"): ("learner", "a", 1.0),
    }
    lower, higher = verdicts(list(rows.values()))
    assert lower.startswith("b on vae (all) lowers the error of a:")
    assert higher.startswith("b on raw (all) raises the error of a:")
    untrained = {"paired_difference": 0.0, "paired_difference_ci95": (0.0, 0.0)}
    assert len(verdicts([rows["vae", "b"], replace(rows["raw", "b"], **untrained)])) == 1


# Rows in JSON and back.

FILES = sorted((Path(__file__).parents[3] / "runs" / "published").glob("*.json"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_published_files_survive_the_round_trip(file):
    content = json.loads(file.read_text())
    if "rows" not in content:
        entries = content["diagnostics"]
        assert [Measurement.from_json(entry).to_json() for entry in entries] == entries
        return
    row = content["rows"][0]
    kind = LakeResult if "trials" in row else LatentsResult if "fid" in row else StudyResult
    back = json.loads(json.dumps(kind.from_json(content).to_json()))
    added = {"diagnostics": [], "published": [], "seconds_reused": 0.0}
    assert back == added | content


def test_rows_are_identified_by_their_first_columns():
    content = json.loads((FILES[0].parent / "omniglot_compare.json").read_text())
    result = StudyResult.from_json(content)
    columns = ["arm", "learner", "latents", "n_way", "n_shot", "n_query"]
    assert list(result.to_frame().columns[:6]) == columns
    assert len({tuple(map(row.to_json().get, columns)) for row in result.rows}) == len(result.rows)
    assert isinstance(result.rows[0].seeds, tuple)


def test_other_columns_and_folders_are_refused(tmp_path):
    for kind in (ResultRow, LakeRow):
        with pytest.raises(TypeError, match="colour"):
            kind.from_json({"colour": "red"})
        with pytest.raises(TypeError, match="missing"):
            kind.from_json({"arm": "vae"})
    with pytest.raises(InputError, match=r"results\.json: not the result of a finished run"):
        StudyResult.load(tmp_path)
