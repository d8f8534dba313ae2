"""Names of logs in TensorBoard, and what becomes of a superseded training's."""

import pytest

from fewshot.logs import NOTE, log_folder, remove_reports, show_logs

OLD, NEW = "0123456789abcdef", "fedcba9876543210"


@pytest.fixture
def trained(tmp_path):
    """A run folder with one finished training, whose log has two event files."""
    (tmp_path / "cells" / f"encoder-vae-seed0-{OLD}").mkdir(parents=True)
    folder = log_folder(tmp_path, "vae/seed0", OLD)
    for number in (1, 2):
        (folder / f"events.out.tfevents.{number}.host.0").write_text(f"old {number}")
    (folder / "events.out.tfevents.3.host.0.report").write_text("report")
    (tmp_path / "tensorboard" / "mine").mkdir()
    (tmp_path / "tensorboard" / "mine" / "events.out.tfevents.1").write_text("a person's own")
    return tmp_path


def shown(output):
    """What TensorBoard would read: path -> content."""
    files = sorted(output.rglob("*tfevents*"))
    return {str(file.relative_to(output / "tensorboard")): file.read_text() for file in files}


def test_a_resumed_training_goes_on_in_its_folder(trained):
    before = shown(trained)
    assert log_folder(trained, "vae/seed0", OLD) == trained / "tensorboard" / "vae" / "seed0"
    assert shown(trained) == before


def test_only_planned_trainings_are_shown(trained):
    """Another configuration hides a log; the earlier one brings it back, also by another name."""
    before = shown(trained)
    show_logs(trained, {OLD: "vae/seed0"})
    assert shown(trained) == before
    show_logs(trained, {NEW: "vae/seed0"})
    left = {key: before[key] for key in before if "mine" in key or key.endswith(".report")}
    assert shown(trained) == left
    folder = log_folder(trained, "vae/seed0", NEW)
    assert folder.name == "seed0"
    (folder / "events.out.tfevents.9.host.0").write_text("new")
    show_logs(trained, {OLD: "plain/seed0"})
    renamed = {key.replace("vae", "plain"): before[key] for key in before if key not in left}
    assert shown(trained) == left | renamed
    show_logs(trained, {NEW: "vae/seed0", OLD: "plain/seed0"})
    assert shown(trained) == left | renamed | {"vae/seed0/events.out.tfevents.9.host.0": "new"}
    remove_reports(trained)
    assert not any(key.endswith(".report") for key in shown(trained))


def test_two_configurations_of_one_name_get_a_short_suffix(trained):
    folder = log_folder(trained, "vae/seed0", NEW)
    assert folder.name == f"seed0-{NEW[:4]}"
    assert log_folder(trained, "vae/seed0", NEW) == folder
    assert (folder / NOTE).read_text() == NEW


def test_logs_named_by_digests_are_adopted(tmp_path):
    """Earlier versions named a log by its cell."""
    folder = tmp_path / "tensorboard" / f"encoder-vae-seed0-{OLD}"
    folder.mkdir(parents=True)
    (folder / "events.out.tfevents.1.host.0").write_text("old")
    show_logs(tmp_path, {OLD: "vae/seed0"})
    assert shown(tmp_path) == {"vae/seed0/events.out.tfevents.1.host.0": "old"}
    assert not folder.exists()
