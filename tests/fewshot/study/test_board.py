"""TensorBoard's view of a finished study, read back with TensorBoard's own readers."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams.metadata import parse_session_start_info_plugin_data
from tensorboard.util.tensor_util import make_ndarray

ARMS = ("pixels", "random", "vae", "guided")


@pytest.fixture(scope="module")
def board(finished):
    """All runs of the study, by name, as ``tensorboard --logdir`` finds them."""
    runs = EventMultiplexer().AddRunsFromDirectory(str(finished.folder))
    runs.Reload()
    return {name: runs.GetAccumulator(name) for name in runs.Runs()}


def curves_of(run):
    tags = run.Tags()["tensors"]
    return [t for t in tags if run.SummaryMetadata(t).plugin_data.plugin_name == "scalars"]


def points(run, tag):
    return [
        SimpleNamespace(step=event.step, value=make_ndarray(event.tensor_proto).item())
        for event in run.Tensors(tag)
    ]


def test_runs_are_named_by_arm_learner_and_seed(board):
    expected = {f"{arm}/{run}" for arm in ARMS for run in ("seed0", "seed1", "mean")}
    learners = {"vae/trained", "random/trained", "guided/trained", "guided/trained_class"}
    expected |= {f"{name}/seed{seed}" for name in learners for seed in (0, 1)}
    assert set(board) == expected | {"_report"}
    assert not any(re.search(r"[0-9a-f]{16}", name) for name in board)


def test_every_test_error_is_that_of_the_results(board, finished):
    seen = 0
    for row in finished.results["rows"]:
        part = "" if row["latents"] == "all" else f"_{row['latents']}"
        label = f"{row['n_way']}w{row['n_shot']}s"
        name = f"2_test/{label}_{row['learner']}{part}"
        wrong = finished.wrong["|".join([row["arm"], row["learner"], row["latents"], label])]
        runs = [f"{row['arm']}/seed{seed}" for seed in row["seeds"]] + [f"{row['arm']}/mean"]
        errors = []
        for run in runs:
            (event,) = points(board[run], f"{name}_error_%")
            errors.append(event.value)
            for pair in row["pairs"]:
                assert f"{name}_error_minus_{pair['partner']}" in curves_of(board[run])
        shares = 100 * wrong.mean(1) / (row["n_way"] * row["n_query"])
        assert errors[:-1] == pytest.approx(list(shares), abs=1e-4)
        assert errors[-1] == pytest.approx(row["error"], abs=1e-3)
        for pair in row["pairs"]:
            (event,) = points(board[runs[-1]], f"{name}_error_minus_{pair['partner']}")
            assert event.value == pytest.approx(pair["difference"], abs=1e-3)
            seen += 1
    assert seen


def test_kept_steps_and_means_of_validations(board):
    tag = "1_validation/few_shot_error_%"
    for arm in ("vae", "guided"):
        curves = []
        for seed in (0, 1):
            run = board[f"{arm}/seed{seed}"]
            curve = [(event.value, event.step) for event in points(run, tag)]
            curves.append([value for value, _ in curve])
            lowest, step = min(curve)
            (event,) = points(run, "1_validation/kept_step")
            assert (event.value, event.step) == (step, step)
            (event,) = points(run, "1_validation/kept_few_shot_error_%")
            assert event.value == pytest.approx(lowest)
        mean = points(board[f"{arm}/mean"], tag)
        assert [event.step for event in mean] == [2, 4, 6, 8]
        assert [event.value for event in mean] == pytest.approx(list(np.mean(curves, 0)))


def test_every_curve_is_described(board):
    for name, run in board.items():
        for tag in curves_of(run):
            assert run.SummaryMetadata(tag).summary_description, (name, tag)


def test_the_table_of_hyper_parameters_has_a_row_an_arm_and_seed(board):
    rows = {}
    for name, run in board.items():
        if "_hparams_/session_start_info" in run._plugin_to_tag_to_content.get("hparams", {}):
            content = run.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
            values = parse_session_start_info_plugin_data(content).hparams
            rows[name] = {
                key: getattr(value, value.WhichOneof("kind")) for key, value in values.items()
            }
    assert set(rows) == {f"{arm}/seed{seed}" for arm in ARMS for seed in (0, 1)}
    assert rows["guided/seed1"] == {
        "study": "tiny",
        "arm": "guided",
        "encoder": "pretrained",
        "guidance": "ExcitationInhibition",
        "weights": "excitation 10",
        "seed": "1",
        "latents": 8,
        "steps": 8,
    }
    assert rows["vae/seed0"]["guidance"] == rows["pixels/seed0"]["weights"] == "none"
    experiment = board["_report"].SummaryMetadata("_hparams_/experiment").plugin_data
    assert b"2_test/3w1s_prototypical_error_%" in experiment.content


def test_the_charts_show_the_arms_side_by_side(board):
    (event,) = board["_report"].Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
    patterns = {
        chart.title: chart.multiline.tag[0] for own in layout.category for chart in own.chart
    }
    assert [own.title for own in layout.category] == ["Validation", "Test", "Losses"]
    for title in ("few_shot_error_%", "negative_elbo", "kl", "3w1s_prototypical_error_%"):
        found = [
            name
            for name, run in board.items()
            if any(re.match(patterns[title], tag) for tag in curves_of(run))
        ]
        arms = {name.partition("/")[0] for name in found}
        assert arms >= {"vae", "guided"}, title
