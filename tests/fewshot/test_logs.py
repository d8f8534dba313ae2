"""Names of logs in TensorBoard, and what becomes of a superseded training's."""

import pytest

from fewshot.logs import (
    NOTE,
    OTHERS,
    PAGES,
    events_folder,
    log_folder,
    remove_page,
    remove_reports,
    show_logs,
)
from fewshot.runs import LAKE, REPORTS

OLD, NEW = "0123456789abcdef", "fedcba9876543210"


@pytest.fixture
def trained(tmp_path):
    """A run folder with one finished training, whose log has two event files."""
    (tmp_path / "cells" / f"encoder-vae-seed0-{OLD}").mkdir(parents=True)
    folder = log_folder(tmp_path, "vae/seed0", OLD)
    for number in (1, 2):
        (folder / f"events.out.tfevents.{number}.host.0").write_text(f"old {number}")
    (folder / "events.out.tfevents.3.host.0.report").write_text("report")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "events.out.tfevents.1").write_text("a person's own")
    return tmp_path


def shown(output):
    """What TensorBoard would read: path -> content."""
    files = sorted(output.rglob("*tfevents*"))
    return {str(file.relative_to(output)): file.read_text() for file in files}


def test_a_resumed_training_goes_on_in_its_folder(trained):
    before = shown(trained)
    assert log_folder(trained, "vae/seed0", OLD) == trained / "vae" / "seed0"
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


def test_an_arm_may_have_the_name_of_a_folder_of_the_run(tmp_path):
    """No report that is moved takes logs with it, and cells are not searched for them."""
    moved = {name for name in (*REPORTS, *LAKE) if "." not in name} - set(PAGES)
    assert moved < set(OTHERS)
    for name in OTHERS:
        assert events_folder(tmp_path, f"{name}/seed0") == tmp_path / f"{name}_" / "seed0"
    folder = log_folder(tmp_path, "cells/seed0", OLD)
    (folder / "events.out.tfevents.1.host.0").write_text("old")
    show_logs(tmp_path, {})
    assert shown(tmp_path) == {}
    show_logs(tmp_path, {OLD: "cells/seed0"})
    assert shown(tmp_path) == {"cells_/seed0/events.out.tfevents.1.host.0": "old"}


@pytest.mark.parametrize("place", ["vae/seed0", f"encoder-vae-seed0-{OLD}"])
def test_logs_of_earlier_versions_are_adopted(tmp_path, place):
    """All were below one folder, at first named by their cells."""
    earlier = tmp_path / "tensorboard"
    (earlier / place).mkdir(parents=True)
    (earlier / place / "events.out.tfevents.1.host.0").write_text("old")
    if place == "vae/seed0":
        (earlier / place / NOTE).write_text(OLD)
        (earlier / place / "events.out.tfevents.2.host.0.report").write_text("report")
        (earlier / place / "projector_config.pbtxt").write_text("report")
        (earlier / "_report").mkdir()
        (earlier / "_report" / "events.out.tfevents.3.host.0").write_text("report")
    show_logs(tmp_path, {OLD: "vae/seed0"})
    remove_reports(tmp_path)
    remove_page(tmp_path, "_report")
    assert shown(tmp_path) == {"vae/seed0/events.out.tfevents.1.host.0": "old"}
    assert not earlier.exists() or not any(earlier.iterdir())
