"""The short pages of pretrain, train and evaluate: their numbers are those of the files."""

import json
import shutil

import numpy as np
import pytest

from fewshot.cli import main
from fewshot.study.html.single.run import FinishedRun
from guided.figures import Sheet
from guided.storage.files import read_json, write_json


def words(text):
    return " ".join(text.split())


def results(made, command):
    return read_json(made / command / "results.json")


@pytest.fixture
def page(made, read_page):
    return lambda command: read_page(made / command / "report.html")


def test_an_encoder(made, page):
    shown, found = page("pretrain"), results(made, "pretrain")
    assert [words(heading) for heading in shown.headings[:2]] == ["pretrain", "What was trained"]
    facts = {words(row[0]): words(row[1]) for row in shown.tables[0][1:]}
    best = min(found["history"], key=lambda entry: entry["negative_elbo"])
    assert facts["kept"].startswith(
        f"step {best['step']}, whose held-out negative ELBO is {best['negative_elbo']:.2f} nats"
    )
    assert facts["latents"] == "scale 0, class 1–4, content 5–7"
    assert "excitation 10" in facts["guidance"] and "80 to train on" in facts["images"]
    assert f"kept step {best['step']}" in shown.source, "on the curve"
    lines = [[words(cell) for cell in row] for row in shown.tables[1]]
    for entry in found["diagnostics"]:
        digits = 1 if entry["unit"] == "%" else 2
        both = [f"{entry[key]:.{digits}f}" for key in ("target", "other")]
        place = next(i for i, line in enumerate(lines) if line[0].startswith(entry["measure"]))
        assert len(lines[place][0]) > len(entry["measure"]) + 30, "a sentence explains it"
        assert lines[place + 1] == [found["arm"], *both]
        if "other_max" in entry:
            further = [line for line in lines[place:] if line[0] == "best of the others"]
            assert further[0][2] == f"{entry['other_max']:.2f}"
    sheets = sorted(path.stem for path in (made / "pretrain" / "sheets").iterdir())
    assert len(shown.alts) == len(sheets) and "traversed_image" in sheets
    moved = Sheet.load(made / "pretrain" / "sheets" / "traversals.png")
    assert all(f"{bar:.1f}</span>" in shown.source for bar in moved.bars)
    output = made / "pretrain"
    assert f"fewshot pretrain {output}/config.yaml --output {output}-again" in shown.source
    assert {"encoder.safetensors", "results.json", "sheets/"} <= set(shown.links)


def test_a_learner(made, page):
    shown, found = page("train"), results(made, "train")
    facts = {words(row[0]): words(row[1]) for row in shown.tables[0][1:]}
    best = min(found["history"], key=lambda entry: entry["score"])
    assert facts["kept"] == f"step {best['step']}"
    assert facts["validation error"].startswith(f"{best['score']:.2f} % in 3 3-way 1-shot")
    assert "Validation 3-way 1-shot error, in %" in shown.source


def test_an_evaluation(made, page):
    shown, found = page("evaluate"), results(made, "evaluate")
    head, *lines = ([words(cell) for cell in row] for row in shown.tables[1])
    assert head == ["learner", "3-way 1-shot", "2-way 3-shot"]
    cells = {line[0]: line[1:] for line in lines}
    for row in found["rows"]:
        low, high = row["error_ci95_episodes"]
        cell = cells[row["learner"]][row["n_way"] == 2]
        assert cell == f"{row['error']:.2f} these {low:.2f} … {high:.2f}"
    with np.load(made / "evaluate" / "episodes.npz") as stored:
        errors = np.mean([stored[f"{name}|3w1s"] for name in ("cosine", "euclidean")], 0)
    numbers = [entry["number"] for entry in found["examples"]["episodes"]]
    assert sorted(errors[numbers[:3]]) == pytest.approx(sorted(errors)[-3:])
    assert numbers[3:] in ([], [0]), "the first one stands once"
    for i, number in enumerate(numbers):
        rows = {words(row[0]): row for row in shown.tables[2 + i][2:]}
        for name in ("cosine", "euclidean"):
            with np.load(made / "evaluate" / "episodes.npz") as stored:
                wrong = round(stored[f"{name}|3w1s"][number] / 100 * 6)
            assert int(rows[name][1]) == wrong == sum("✗" in cell for cell in rows[name][2:])
    confused = [words(row[0]) for row in shown.tables[2 + len(numbers)][1:]]
    assert confused == [pair["true"] for pair in found["examples"]["confused"]]


def test_report_makes_the_same_pages_again(made, tmp_path, read_page, capsys):
    for command in ("pretrain", "train", "evaluate"):
        output = tmp_path / command
        assert main(["report", str(made / command), "--output", str(output)]) == 0
        assert f"page: {output}/report.html" in capsys.readouterr().out
        again, first = (read_page(f / "report.html") for f in (output, made / command))
        assert (again.tables, again.alts) == (first.tables, first.alts), "links alone differ"


def test_several_runs_stand_side_by_side(made, tmp_path, read_page, fails):
    for command, key in (("pretrain", "seed"), ("evaluate", "episodes")):
        other = tmp_path / command / "other"
        shutil.copytree(made / command, other)
        changed = results(made, command)
        changed["config"][key] = changed["settings"][key] = 77
        write_json(other / "results.json", changed)
        both, output = [str(made / command), str(other)], tmp_path / f"{command}-both"
        assert main(["report", *both, "--output", str(output)]) == 0
        page = read_page(output / "report.html")
        assert words(page.headings[0]) == f"{command}, other"
        assert [words(cell) for cell in page.tables[0][0]] == ["fact", command, "other"]
        before = 0 if command == "pretrain" else 12
        differing = [row for rows in page.tables for row in rows if words(row[0]) == key]
        assert [list(map(words, row)) for row in differing[-1:]] == [[key, str(before), "77"]]
    assert "other: cosine" in page.source and "evaluate: cosine" in page.source
    line = fails("report", str(made / "train"), str(made / "evaluate"))
    assert "train/results.json is of fewshot train" in line
    assert "evaluate/results.json of fewshot evaluate; only runs of one command" in line


def test_results_of_an_earlier_version_are_refused(made, tmp_path, fails):
    old = {"history": [], "diagnostics": []}
    (tmp_path / "results.json").write_text(json.dumps(old))
    assert "of an earlier version" in fails("report", str(tmp_path))
    (tmp_path / "results.json").write_text('{"command": "train"}')
    assert "not the result of a finished run ('config')" in fails("report", str(tmp_path))


def test_an_encoder_whose_sheets_are_gone(made, tmp_path, read_page):
    run = tmp_path / "run"
    shutil.copytree(made / "pretrain", run)
    shutil.rmtree(run / "sheets")
    assert FinishedRun.load(run).command == "pretrain"
    assert main(["report", str(run), "--output", str(tmp_path / "page")]) == 0
    page = read_page(tmp_path / "page" / "report.html")
    assert page.source.count("No pictures of") == 1 and not page.alts
