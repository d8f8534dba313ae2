"""What a study reports: every number recomputed from the per-episode errors it published."""

import copy
from dataclasses import replace
from functools import partial
from importlib.metadata import version

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from scipy import stats
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fewshot.episodes import Setting
from fewshot.evaluation import EpisodeErrors
from fewshot.learners.base import Learner
from fewshot.learners.prototypical import Prototypical
from fewshot.statistics import paired_difference
from fewshot.study.config import ArmConfig, LearnerConfig, StudyConfig
from fewshot.study.report import markdown_table, result_rows, stack, verdicts
from guided.augment import Augmentation
from guided.errors import InputError
from guided.guidance.deformable_pca import DeformablePCA
from guided.seeds import derive_seed

ROW_KEYS = {
    "arm",
    "guidance",
    "learner",
    "latents",
    "transductive",
    "batch_norm",
    "test_views",
    "meta_trained",
    "encoder",
    "labelled",
    "train_episodes",
    "n_way",
    "n_shot",
    "n_query",
    "seeds",
    "episodes",
    "error",
    "error_ci95_seeds",
    "error_ci95_episodes",
    "paired_by",
    "paired_with",
    "paired_difference",
    "paired_difference_ci95",
    "relative_reduction",
}


def key(row, arm=None, latents=None):
    setting = f"{row['n_way']}w{row['n_shot']}s"
    return "|".join([arm or row["arm"], row["learner"], latents or row["latents"], setting])


# The files of a finished study.


def test_rows_have_these_keys(finished):
    rows = finished.results["rows"]
    assert len(rows) == len(finished.arrays) == 20
    assert all(set(row) == ROW_KEYS for row in rows)
    assert {key(row) for row in rows} == set(finished.arrays)
    for row in rows:
        assert (row["seeds"], row["episodes"]) == ([0, 1], 20)
        assert (row["n_way"], row["n_query"]) in {(3, 4), (2, 2)}
        assert row["guidance"] == (["ExcitationInhibition"] if row["arm"] == "guided" else [])
        assert row["meta_trained"] == (row["learner"] == "trained" and row["arm"] != "pixels")
        assert (row["transductive"], row["batch_norm"]) == (False, "frozen")
        assert row["test_views"] == 0


def test_errors_are_the_published_episodes(finished):
    for row in finished.results["rows"]:
        errors = finished.arrays[key(row)].astype(np.float64)
        assert row["error"] == pytest.approx(errors.mean(), abs=1e-4)
        for name, values in (("seeds", errors.mean(1)), ("episodes", errors.mean(0))):
            if values.std() > 1e-9:
                interval = stats.ttest_1samp(values, 0).confidence_interval(0.95)
                assert row[f"error_ci95_{name}"] == pytest.approx(list(interval), abs=1e-3)
            else:
                assert row[f"error_ci95_{name}"] == pytest.approx([values.mean()] * 2, abs=1e-4)


def test_differences_are_paired_episode_by_episode(finished):
    for row in finished.results["rows"]:
        if row["arm"] == "vae":
            assert row["paired_with"] is row["paired_difference"] is None
            assert row["paired_difference_ci95"] is row["relative_reduction"] is None
            continue
        assert row["paired_with"] == "vae"
        arm = finished.arrays[key(row)].astype(np.float64)
        # The baseline has no slice called class: it is paired with all of its latents.
        baseline = finished.arrays[key(row, arm="vae", latents="all")].astype(np.float64)
        assert row["paired_difference"] == pytest.approx((arm - baseline).mean(), abs=1e-4)
        reduction = 100 * (baseline.mean() - arm.mean()) / baseline.mean()
        assert row["relative_reduction"] == pytest.approx(reduction, abs=1e-3)
        again = paired_difference(arm, baseline, seed=derive_seed(0, "bootstrap"), resamples=200)
        assert row["paired_difference_ci95"] == pytest.approx(list(again.ci95), abs=1e-3)


def test_results_say_what_ran_where(finished):
    results = finished.results
    assert results["study"] == "tiny"
    assert results["baseline"] == "vae"
    assert results["classes"] == {"train": 10, "validation": 5, "test": 5}
    assert results["versions"]["torch"] == version("torch")
    assert results["hardware"]["device"] == "cpu"
    assert results["seconds"] > 0
    assert results["config"]["arms"]["guided"]["latents"] == ["all", "class"]
    resolved = yaml.safe_load((finished.folder / "config.yaml").read_text())
    assert resolved == results["config"]


def test_table_is_printed_and_written(finished):
    table = (finished.folder / "table.md").read_text()
    assert table == markdown_table(finished.results)
    assert table in finished.printed
    for line in verdicts(finished.results):
        assert line in finished.printed
    assert table.count("\n") == 2 + len(finished.results["rows"])


def test_pictures_are_pictures(finished):
    names = ["errors", "paired_differences", "learning_curves"]
    names += [f"episodes/{arm}" for arm in ("pixels", "random", "vae", "guided")]
    for name in names:
        with Image.open(finished.folder / f"{name}.png") as image:
            assert min(image.size) > 80
            assert len(np.unique(np.asarray(image.convert("L")))) > 10, name


def events(folder):
    accumulator = EventAccumulator(str(folder), size_guidance={"images": 0, "tensors": 0})
    accumulator.Reload()
    return accumulator


def test_tensorboard_shows_the_report(finished):
    shown = events(finished.folder / "tensorboard" / "report")
    tags = shown.Tags()
    assert set(tags["tensors"]) == {"table/text_summary", "verdicts/text_summary"}
    (event,) = shown.Tensors("table/text_summary")
    table = event.tensor_proto.string_val[0].decode()
    assert table == (finished.folder / "table.md").read_text()
    assert set(tags["images"]) >= {
        "errors",
        "paired_differences",
        "learning_curves",
        "episodes/pixels",
        "episodes/guided",
    }


def test_tensorboard_shows_the_trainings(finished):
    (folder,) = (finished.folder / "tensorboard").glob("encoder-guided-seed0-*")
    shown = events(folder)
    tags = shown.Tags()
    assert set(tags["scalars"]) >= {
        "loss/reconstruction",
        "loss/kl",
        "loss/excitation/class",
        "loss/inhibition/class",
        "loss_weighted/total",
        "validation/negative_elbo",
        "validation/score",
    }
    assert [event.step for event in shown.Scalars("validation/score")] == [2, 4, 6, 8]
    assert "traversals" in tags["images"]
    (folder,) = (finished.folder / "tensorboard").glob("train-vae-seed0-all-trained-*")
    assert set(events(folder).Tags()["scalars"]) == {"train/loss", "validation/error"}


# Rows of errors that are known.

PLAIN, OTHER = Setting(5, 1, 15), Setting(5, 5, 15)


class QuerySeeing(Learner):
    """Says that it uses query statistics; never run."""

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


def errors(arm, latents, setting, values):
    return [
        EpisodeErrors(torch.tensor(row), setting, arm, seed, "a", latents)
        for seed, row in zip([7, 3], values, strict=True)
    ]


@pytest.fixture
def known():
    """Seed by seed, as a study runs: each list holds (seed 7, seed 3)."""
    conditions = [
        errors("vae", "all", PLAIN, [[10.0, 20.0], [30.0, 40.0]]),
        errors("vae", "features", PLAIN, [[50.0, 50.0], [50.0, 50.0]]),
        errors("vae", "all", OTHER, [[0.0, 0.0], [0.0, 0.0]]),
        errors("guided", "all", PLAIN, [[8.0, 18.0], [27.0, 37.0]]),
        errors("guided", "features", PLAIN, [[60.0, 60.0], [60.0, 60.0]]),
        errors("guided", "content", PLAIN, [[10.0, 20.0], [30.0, 40.0]]),
        errors("guided", "all", OTHER, [[1.0, 0.0], [0.0, 0.0]]),
    ]
    return [entry for seed in (0, 1) for entry in (pair[seed] for pair in conditions)]


def find(rows, arm, latents, setting=PLAIN):
    (row,) = (
        row
        for row in rows
        if (row["arm"], row["latents"], row["n_shot"]) == (arm, latents, setting.n_shot)
    )
    return row


def test_seeds_are_stacked_in_their_order(known):
    table = stack(known)
    assert table["vae", "a", "all", PLAIN].tolist() == [[10, 20], [30, 40]]
    assert len(table) == 7


def test_each_arm_is_paired_with_the_baselines_same_latents(config, known):
    rows = result_rows(config, known)
    row = find(rows, "guided", "all")
    assert (row["error"], row["paired_difference"]) == (22.5, -2.5)
    assert row["relative_reduction"] == 10.0
    assert -3 <= row["paired_difference_ci95"][0] <= row["paired_difference_ci95"][1] <= -2
    assert find(rows, "guided", "features")["paired_difference"] == 10.0
    assert find(rows, "guided", "features")["relative_reduction"] == -20.0


def test_latents_that_the_baseline_has_not_are_paired_with_its_first_choice(config, known):
    row = find(result_rows(config, known), "guided", "content")
    assert (row["paired_difference"], row["paired_difference_ci95"]) == (0.0, [0.0, 0.0])


def test_a_baseline_without_errors(config, known):
    row = find(result_rows(config, known), "guided", "all", OTHER)
    assert row["paired_difference"] == 0.25
    assert row["relative_reduction"] is None
    assert "| – |" in markdown_table({"rows": [row], "baseline": "vae"})


def test_one_seed_has_no_interval_over_seeds(config, known):
    rows = result_rows(config, [entry for entry in known if entry.seed == 7])
    assert find(rows, "vae", "all")["error_ci95_seeds"] is None
    assert find(rows, "vae", "all")["error_ci95_episodes"] is not None


def test_a_learner_that_uses_query_statistics_says_so_in_its_rows(config, known):
    config.learners["a"] = LearnerConfig(partial(QuerySeeing))
    row = result_rows(config, known)[0]
    assert (row["transductive"], row["batch_norm"]) == (True, "frozen")


def test_a_learner_that_is_tested_on_views_says_so_in_its_rows(config, known):
    views = Augmentation(rotation=9, views=4)
    config.learners["a"] = replace(config.learners["a"], test_augmentation=views)
    rows = [row for row in result_rows(config, known) if row["learner"] == "a"]
    assert {row["test_views"] for row in rows} == {4}


def test_what_others_report_is_a_table_of_its_own(config, known):
    rows = result_rows(config, known)
    settings = len({(row["n_way"], row["n_shot"]) for row in rows})
    reported = {"UFLST": ["3.0"] * settings, "PsCo": ["3.6*"] * settings}
    ours = markdown_table({"rows": rows, "baseline": "vae"})
    table = markdown_table({"rows": rows, "baseline": "vae", "published": reported})
    assert table.startswith(ours)
    lines = table[len(ours) :].splitlines()
    assert lines[1].startswith("| published, error % | 5-way 1-shot |")
    assert lines[3].startswith("| UFLST | 3.0 |")
    assert lines[4].startswith(r"| PsCo | 3.6\* |")
    assert lines[-1] == r"\* as remembered, not looked up."
    assert "remembered" not in markdown_table(
        {"rows": rows, "baseline": "vae", "published": {"UFLST": reported["UFLST"]}}
    )


def test_table_groups_by_setting_and_keeps_the_arms_order(config, known):
    rows = result_rows(config, known)
    lines = markdown_table({"rows": rows, "baseline": "vae"}).splitlines()
    assert "minus vae" in lines[0]
    assert lines[2].startswith("| vae | all | a | 5-way 1-shot | 25.00 |")
    row = find(rows, "guided", "all")
    seeds, episodes, paired = (
        "{:.2f} … {:.2f}".format(*row[name])
        for name in ("error_ci95_seeds", "error_ci95_episodes", "paired_difference_ci95")
    )
    assert lines[4] == (
        f"| guided | all | a | 5-way 1-shot | 22.50 | {seeds} | {episodes} | -2.50 | {paired} "
        "| 10.0 |"
    )
    assert [line.split(" | ")[3] for line in lines[2:]] == ["5-way 1-shot"] * 5 + [
        "5-way 5-shot"
    ] * 2


@pytest.mark.parametrize(
    ("interval", "verb"),
    [([-3, -1], "lowers"), ([1, 2], "raises"), ([-1, 2], "does not clearly change")],
)
def test_verdicts_read_the_interval(config, known, interval, verb):
    rows = result_rows(config, known)
    find(rows, "guided", "all")["paired_difference_ci95"] = interval
    lines = verdicts({"rows": rows})
    assert len(lines) == 3, "each latents of the guided arm, on the first setting"
    assert lines[0].startswith(f"guided (all) {verb} the error of vae: -2.50 points")
    assert "2 seeds × 2 episodes" in lines[0]


def test_a_guided_baseline_has_no_verdict_on_itself(config, known):
    swapped = StudyConfig(**{**vars(config), "baseline": "guided"})
    rows = result_rows(swapped, copy.deepcopy(known))
    assert verdicts({"rows": rows}) == []
    assert "minus guided" in markdown_table({"rows": rows, "baseline": "guided"})


def test_a_learner_may_be_paired_with_another_on_the_same_arm():
    """Two arms, two learners: b against a, on each arm; a against the baseline arm."""
    learners = {
        "a": LearnerConfig(partial(Prototypical)),
        "b": LearnerConfig(partial(Prototypical, metric="cosine"), baseline="a"),
    }
    config = StudyConfig(
        "any", partial(dict), {"vae": ArmConfig(), "raw": ArmConfig("pixels")}, learners, seeds=[0]
    )
    values = {("vae", "a"): 10.0, ("vae", "b"): 7.0, ("raw", "a"): 30.0, ("raw", "b"): 31.0}
    errors = [
        EpisodeErrors(torch.tensor([v, v + 2]), Setting(), arm, 0, learner, "all")
        for (arm, learner), v in values.items()
    ]
    rows = {(r["arm"], r["learner"]): r for r in result_rows(config, errors)}
    found = {
        key: (r["paired_by"], r["paired_with"], r["paired_difference"]) for key, r in rows.items()
    }
    assert found == {
        ("vae", "a"): (None, None, None),
        ("vae", "b"): ("learner", "a", -3.0),
        ("raw", "a"): ("arm", "vae", 20.0),
        ("raw", "b"): ("learner", "a", 1.0),
    }
    lines = verdicts({"rows": list(rows.values())})
    assert [line.split(":")[0] for line in lines] == [
        "b on vae (all) lowers the error of a",
        "b on raw (all) raises the error of a",
    ]
    untrained = {"paired_difference": 0.0, "paired_difference_ci95": [0.0, 0.0]}
    assert len(verdicts({"rows": [rows["vae", "b"], rows["raw", "b"] | untrained]})) == 1
    with pytest.raises(InputError, match=r"^learners\.b\.baseline: no learner is called 'c'"):
        StudyConfig(
            "any",
            partial(dict),
            {"vae": ArmConfig()},
            {"b": LearnerConfig(partial(Prototypical), baseline="c")},
        )
