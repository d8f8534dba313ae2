"""The README says what the published files and the code say."""

import json
import re
from pathlib import Path

import pytest
from fewshot.readme import BLOCK, fill

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PUBLISHED = sorted((ROOT / "runs" / "published").glob("*.json"))


def test_tables_are_what_the_published_files_give():
    assert len(BLOCK.findall(README)) >= 3
    assert fill(README, ROOT) == README


def test_a_changed_number_is_noticed():
    table = BLOCK.search(README).group(5)
    number = re.search(r"\d+\.\d", table).group()
    tampered = README.replace(table, table.replace(number, "0.7", 1))
    assert fill(tampered, ROOT) == README


@pytest.mark.parametrize("file", PUBLISHED, ids=lambda file: file.stem)
def test_published_results_say_how_they_were_made(file):
    results = json.loads(file.read_text())
    assert results["versions"]["git"], "made outside a checkout"
    assert not results["versions"]["git"].endswith("dirty"), "made from uncommitted code"
    assert results["hardware"]["processor"]
    output = results["config"]["output"]
    assert output is None or not Path(output).is_absolute(), "names a machine's folder"
    assert "rows" not in results or results["seconds"] > 0
    for row in results.get("rows", []):
        assert len(row["seeds"]) >= 3
        # Lake's task has runs of twenty trials in place of episodes: 400 are his own number; a
        # probe has test images.
        least = {"trials": 400, "images": 10_000, "episodes": 600}
        kind = next(name for name in least if name in row)
        assert row[kind] >= least[kind]


def test_lakes_task_is_a_line_for_each_row_then_what_is_published(tmp_path):
    row = {
        "arm": "vae",
        "latents": "all",
        "learner": "ridge",
        "error": 62.583,
        "error_ci95_binomial": [57.66, 67.1],
        "error_ci95_runs": [55.0, 70.12],
        "error_by_seed": [62.0, 63.25],
        "paired_difference": None,
        "paired_difference_ci95": None,
    }
    guided = {
        "arm": "guided",
        "latents": "class",
        "error_ci95_runs": None,
        "paired_difference": -29.08,
        "paired_difference_ci95": [-33.29, -25.08],
    }
    published = [
        {"name": "people", "error": 4.5, "remembered": False},
        {"name": "RCN", "error": 7.3, "remembered": True},
    ]
    results = {"task": "Lake's own runs", "trials": 400, "rows": [row, row | guided]}
    (tmp_path / "lake.json").write_text(json.dumps(results | {"published": published}))
    marked = "before\n<!-- lake: lake.json -->\nold\n<!-- end -->\nafter\n"
    filled = fill(marked, tmp_path)
    assert filled == marked.replace(
        "old\n",
        "| Lake's own runs | error in % | 95 % of 400 trials | 95 % over runs | each seed "
        "| paired difference |\n|---|---|---|---|---|---|\n"
        "| vae, ridge | 62.6 | 57.7 … 67.1 | 55.0 … 70.1 | 62.0, 63.2 |  |\n"
        "| guided (class), ridge | 62.6 | 57.7 … 67.1 | – | 62.0, 63.2 "
        "| -29.1: -33.3 … -25.1 |\n"
        "| published, on Lake's own runs: people | 4.5 | | | | |\n"
        "| published, on Lake's own runs: RCN | 7.3\\* | | | | |\n",
    )
    assert fill(filled, tmp_path) == filled
    of_one = fill(marked.replace("lake.json", "lake.json guided"), tmp_path)
    assert "| guided (class), ridge |" in of_one
    assert "| vae, ridge |" not in of_one
    assert "published" not in of_one


def test_budgets_are_columns_and_shares_of_labels_lines(tmp_path):
    def row(arm, share, learner, episodes, error, difference=None):
        return {
            "arm": arm,
            "labelled": share,
            "learner": learner,
            "train_episodes": episodes,
            "error": error,
            "error_ci95_seeds": [error - 1, error + 1],
            "paired_difference": difference,
            "paired_difference_ci95": difference and [difference - 0.5, difference + 0.5],
        }

    rows = [
        row("vae_5", 0.05, "p@1000", 1000, 20.0),
        row("vae_5", 0.05, "p@0", 0, 30.0),
        row("guided_5", 0.05, "p@0", 0, 25.0, -5.0),
        row("guided_5", 0.05, "p@1000", 1000, 18.0, -2.0),
        row("vae_5", 0.05, "maml@0", 0, 99.0),
    ]
    (tmp_path / "b.json").write_text(json.dumps({"rows": rows}))
    filled = fill("<!-- budget: b.json p -->\n<!-- end -->\n", tmp_path)
    assert filled == (
        "<!-- budget: b.json p -->\n"
        "| labels | arm | 0 episodes | 1,000 episodes |\n|---|---|---|---|\n"
        "| 5 % | vae | 30.0 ± 1.0 | 20.0 ± 1.0 |\n"
        "| 5 % | guided | 25.0 ± 1.0 (-5.0: -5.5 … -4.5) | 18.0 ± 1.0 (-2.0: -2.5 … -1.5) |\n"
        "<!-- end -->\n"
    )


def test_learners_are_lines(tmp_path):
    def row(arm, learner, error, difference=None):
        return {
            "arm": arm,
            "latents": "features",
            "learner": learner,
            "n_way": 5,
            "n_shot": 1,
            "error": error,
            "error_ci95_seeds": None,
            "paired_difference": difference,
            "paired_difference_ci95": difference and [difference - 0.5, difference + 0.5],
        }

    rows = [row("vae", "a", 1.0), row("random", "plain", 20.0), row("random", "guided", 18.0, -2.0)]
    (tmp_path / "n.json").write_text(json.dumps({"rows": rows}))
    reported = {"UFLST": ["3.0*"], "UMTRA": ["–"]}
    (tmp_path / "p.json").write_text(json.dumps({"rows": rows, "published": reported}))
    assert fill("<!-- learners: p.json vae -->\n<!-- end -->\n", tmp_path).endswith(
        "| a | 1.0 |\n| published: UFLST | 3.0\\* |\n| published: UMTRA | – |\n<!-- end -->\n"
    )
    filled = fill("<!-- learners: n.json random -->\n<!-- end -->\n", tmp_path)
    assert filled == (
        "<!-- learners: n.json random -->\n"
        "| learner | 5-way 1-shot |\n|---|---|\n"
        "| plain | 20.0 |\n"
        "| guided | 18.0 (-2.0: -2.5 … -1.5) |\n"
        "<!-- end -->\n"
    )


def test_python_example_runs(tmp_path, monkeypatch, capsys):
    """The README's code as it stands, with fewer steps."""
    code = re.search(r"```python\n(.*?)```", README, re.S).group(1)
    assert "steps=300" in code
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEWSHOT_CACHE", str(tmp_path / "cache"))
    exec(code.replace("steps=300", "steps=3"), {})
    assert Path("encoder.safetensors").exists()
    assert 0 < float(capsys.readouterr().out.split()[0]) < 80


def test_links_and_paths_exist():
    for path in re.findall(r"`((?:configs|benchmarks|examples|runs/published)/[\w./]+)`", README):
        assert (ROOT / path).exists(), path
