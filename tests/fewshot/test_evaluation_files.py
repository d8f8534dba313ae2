"""The files of ``fewshot evaluate``: predictions, episodes and confusions tell the same."""

import csv
from collections import Counter

import numpy as np
import pytest

from fewshot.cli import main
from fewshot.data import EmbeddingBank

SETTINGS = "[{n_way: 3, n_shot: 1, n_query: 4}, {n_way: 4, n_shot: 2, n_query: 3}]"


@pytest.fixture
def arrays(tmp_path):
    """A file of embeddings of six classes that overlap."""
    rng = np.random.default_rng(1)
    labels = np.repeat([f"kind {i}" for i in range(6)], 9)
    features = rng.normal(size=(6, 3)).repeat(9, 0) + rng.normal(size=(54, 3))
    np.savez(tmp_path / "own.npz", features=features, labels=labels)
    return features, labels


@pytest.fixture
def evaluate(tmp_path, arrays):
    """Run the command on it; returns the run folder and the rows of the predictions."""

    def run(*arguments, output="run"):
        init = f"path: {tmp_path / 'own.npz'}, validation: 0, test: 1"
        dataset = f"{{class_path: Embeddings, init_args: {{{init}}}}}"
        folder, file = tmp_path / output, tmp_path / "predictions.csv"
        command = ["evaluate", "--dataset", dataset, "--settings", SETTINGS, "--episodes", "10"]
        learners = "{near: {class_path: NearestNeighbour}, ridge: {class_path: Ridge}}"
        where = ["--output", str(folder), "--predictions", str(file)]
        assert main([*command, "--learners", learners, *where, *arguments]) == 0
        return folder, rows(file)

    return run


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_predictions_are_the_errors_and_the_confusions(evaluate, arrays, capsys):
    folder, predictions = evaluate()
    assert "Blank" not in capsys.readouterr().out, "an embedding has no places"
    _, labels = arrays
    assert len(predictions) == 2 * 10 * (3 * 4 + 4 * 3)
    with np.load(folder / "episodes.npz") as stored:
        errors = {key: stored[key] for key in stored}
    wrong, queries, confused = Counter(), Counter(), Counter()
    for row in predictions:
        assert row["true"] == labels[int(row["image"])], "the row of the split"
        key = row["learner"], row["setting"]
        queries[*key, row["episode"]] += 1
        wrong[*key, row["episode"]] += row["true"] != row["predicted"]
        confused[*key, row["true"], row["predicted"]] += row["true"] != row["predicted"]
    assert sum(wrong.values()) > 0
    for (learner, setting, episode), n in queries.items():
        error = errors[f"{learner}|{setting}"][int(episode)]
        assert error == pytest.approx(100 * wrong[learner, setting, episode] / n, abs=1e-4)
    table = rows(folder / "confusion.csv")
    names = ("learner", "setting", "true", "predicted")
    counted = {tuple(row[name] for name in names): int(row["count"]) for row in table}
    assert counted == {key: n for key, n in confused.items() if n}
    assert "the dataset&#39;s embeddings" in (folder / "report.html").read_text()
    episodes = rows(folder / "episodes.csv")
    assert len(episodes) == 2 * 2 * 10
    for row in episodes:
        error = errors[f"{row['learner']}|{row['setting']}"][int(row["episode"])]
        assert float(row["error"]) == pytest.approx(error, abs=1e-4)
        assert len(set(row["classes"].split(" | "))) == int(row["setting"][0])


def test_predictions_are_written_again(evaluate, tmp_path, capsys):
    """Also after the same run: another one may have written the file meanwhile."""
    _, first = evaluate()
    (tmp_path / "predictions.csv").write_text("stale")
    _, again = evaluate()
    assert again == first
    assert "superseded" not in capsys.readouterr().out


def test_embeddings_by_command_and_in_python_agree(evaluate, arrays):
    """The documented call with arrays gives the command's episodes and errors."""
    import fewshot
    from fewshot.learners import Ridge

    folder, _ = evaluate()
    bank = EmbeddingBank.from_arrays(*arrays)
    found = fewshot.evaluate(
        Ridge(bank.plain_encoder()), bank, n_way=3, n_shot=1, n_query=4, episodes=10
    )
    with np.load(folder / "episodes.npz") as stored:
        assert (stored["ridge|3w1s"] == found.errors.numpy()).all()
