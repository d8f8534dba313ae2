"""A study's report: every number recomputed from the per-episode errors beside it."""

from importlib.metadata import version

import numpy as np
import pytest
import yaml
from PIL import Image
from scipy import stats
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fewshot.statistics import Crossed, new_classes_interval, stand_after_holm
from fewshot.study import StudyResult


@pytest.fixture(scope="module")
def result(finished):
    return StudyResult.load(finished.folder)


def array_of(row, arm=None, latents=None):
    setting = f"{row.n_way}w{row.n_shot}s"
    return "|".join([arm or row.arm, row.learner, latents or row.latents, setting])


# The files of a finished study.


def percent(finished, row, **other):
    """Errors ``[2, 20]`` of a row, or of the same but for its arm or latents."""
    return 100 * finished.wrong[array_of(row, **other)].astype(float) / (row.n_way * row.n_query)


def test_errors_are_those_of_the_episodes(finished, result):
    assert {array_of(row) for row in result.rows} == set(finished.wrong)
    for row in result.rows:
        assert (row.seeds, row.episodes, row.test_classes) == ((0, 1), 20, 5)
        assert row.meta_trained == (row.learner == "trained" and row.arm != "pixels")
        errors = percent(finished, row)
        assert row.error == pytest.approx(errors.mean(), abs=1e-4)
        assert row.error_ci95 == pytest.approx(Crossed.of(errors).interval, abs=1e-4)
        if row.arm == "pixels":  # all seeds are the same: what is left are the episodes
            expected = stats.ttest_1samp(errors[0], 0).confidence_interval(0.95)
            assert row.error_ci95 == pytest.approx(tuple(expected), abs=1e-3)


def test_differences_are_paired_episode_by_episode(finished, result):
    for row in result.rows:
        if row.arm == "vae":
            assert row.pairs == ()
            continue
        (pair,) = row.pairs
        assert (pair.by, pair.partner, pair.latents) == ("arm", "vae", "all")
        # The baseline has no slice called class: it is paired with all of its latents.
        baseline = percent(finished, row, arm="vae", latents="all")
        difference = percent(finished, row) - baseline
        assert pair.difference == pytest.approx(difference.mean(), abs=1e-4)
        reduction = -100 * difference.mean() / baseline.mean()
        assert pair.relative_reduction == pytest.approx(reduction, abs=1e-3)
        crossed = Crossed.of(difference)
        assert pair.ci95 == pytest.approx(crossed.interval, abs=1e-4)
        assert pair.p == pytest.approx(crossed.p_value, rel=1e-2)
    tested = [pair for row in result.rows for pair in row.pairs]
    assert [pair.stands for pair in tested] == stand_after_holm([pair.p for pair in tested])


def test_new_classes_widen_the_interval(finished, result):
    """Three ways of five test classes: the episodes' own classes are stored beside the counts."""
    for row in result.rows:
        classes = finished.counts.episodes[row.label].classes
        assert classes.shape == (20, row.n_way)
        errors = percent(finished, row)
        wide = new_classes_interval(Crossed.of(errors), errors, classes, 5)
        assert row.error_ci95_new_classes == pytest.approx(wide, abs=1e-4)
        assert wide[0] <= row.error_ci95[0] + 1e-4
        for pair in row.pairs:
            assert pair.ci95_new_classes[1] >= pair.ci95[1]


def test_files_print_and_log_agree(finished, result):
    results, folder = finished.results, finished.folder
    assert results["study"] == "tiny"
    assert results["classes"] == {"train": 10, "validation": 5, "test": 5}
    assert results["versions"]["torch"] == version("torch")
    assert results["hardware"]["device"] == "cpu"
    assert yaml.safe_load((folder / "config.yaml").read_text()) == results["config"]
    assert (folder / "table.md").read_text() == result.table
    assert str(result) in finished.printed
    assert "|" not in finished.printed, "Markdown is for files"
    lines = [line for line in finished.printed.splitlines() if str(folder) not in line]
    assert max(map(len, lines)) <= 80
    unwrapped = " ".join(finished.printed.split())
    assert all(line in unwrapped for line in result.verdicts)
    known = {(facts.arm, facts.seed): facts for facts in result.encoders}
    assert set(known) == {(arm, seed) for arm in ("vae", "guided") for seed in (0, 1)}
    assert all(len(facts.kl) == 8 and facts.last_step == 8 for facts in known.values())
    names = {"errors", "paired_differences", "learning_curves"}
    names |= {f"episodes/{arm}" for arm in ("pixels", "random", "vae", "guided")}
    for name in names:
        with Image.open(folder / f"{name}.png") as image:
            assert min(image.size) > 80
            assert len(np.unique(np.asarray(image.convert("L")))) > 10, name
    shown = events(folder / "_report")
    assert set(shown.Tags()["images"]) == names
    (event,) = shown.Tensors("table/text_summary")
    assert event.tensor_proto.string_val[0].decode() == result.table
    texts = {f"{name}/text_summary" for name in ("1_verdicts", "2_errors", "3_configuration")}
    assert texts <= set(shown.Tags()["tensors"])


def events(folder):
    accumulator = EventAccumulator(str(folder), size_guidance={"images": 0, "tensors": 0})
    accumulator.Reload()
    return accumulator


def test_tensorboard_shows_the_trainings(finished):
    shown = events(finished.folder / "guided" / "seed0")
    curves = {"3_loss/kl", "3_loss/excitation/class", "3_loss_weighted/excitation/class"}
    curves |= {"3_loss/total", "1_validation/negative_elbo", "1_validation/few_shot_error_%"}
    assert set(shown.Tags()["tensors"]) >= curves
    assert [e.step for e in shown.Tensors("1_validation/few_shot_error_%")] == [2, 4, 6, 8]
    assert "traversals" in shown.Tags()["images"]
    shown = events(finished.folder / "vae" / "trained" / "seed0")
    assert set(shown.Tags()["tensors"]) == {"3_loss/episodes", "1_validation/few_shot_error_%"}
