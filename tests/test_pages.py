"""The pages' tables are what the published files give."""

import importlib.util
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from fewshot.commands.report import kind_of
from fewshot.statistics import paired_difference
from fewshot.study import page_tables as tables
from fewshot.study.costs import Cost
from fewshot.study.disentanglement.rows import score_rows
from fewshot.study.lake.tables import side_by_side
from fewshot.study.published import Published
from fewshot.study.rows import LakeRow, LatentsRow, Pair, ResultRow
from fewshot.study.select.selection import Entry, Selection

ROOT = Path(__file__).parent.parent
PUBLISHED = sorted((ROOT / "runs" / "published").glob("*.json"))


def load_tool():
    spec = importlib.util.spec_from_file_location("pages", ROOT / "tools" / "pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


pages = load_tool()


@pytest.mark.parametrize("page", pages.pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_tables_are_what_the_published_files_give(page):
    text = page.read_text()
    assert pages.fill(text) == text, "run python tools/pages.py"


def test_a_changed_number_is_noticed():
    marked = "<!-- results: runs/published/omniglot_compare.json ridge -->\n<!-- end -->"
    table = pages.fill(f"before\n{marked}\nafter\n")
    assert table.startswith(f"before\n{marked.splitlines()[0]}\n| arm (latents) | 5-way 1-shot |")
    assert table.endswith("<!-- end -->\nafter\n")
    number = re.search(r"\d+\.\d", table).group()
    assert pages.fill(table.replace(number, "0.7", 1)) == pages.fill(table) == table


COMPARE = "results: runs/published/omniglot_compare.json ridge"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- result: runs/published/omniglot_compare.json -->\n<!-- end -->", "result: runs"),
        (f"<!-- {COMPARE} -->\n", "a marker of more words .* no <!-- end"),
        (f"<!-- {COMPARE} nearest -->\n<!-- end -->", "a marker of more words"),
        (f"<!-- {COMPARE} -->\nprose\n<!-- {COMPARE} -->\n<!-- end -->", "without one opening"),
        ("prose\n<!-- end -->", "without one opening"),
    ],
)
def test_a_marker_that_makes_no_table_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        pages.fill(text)


@pytest.mark.parametrize("file", PUBLISHED, ids=lambda file: file.stem)
def test_published_results_record_how_they_were_made(file):
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
        # With three seeds; more seeds may have fewer each.
        assert row[kind] * len(row["seeds"]) >= 3 * least[kind]


WITH_ROWS = [file for file in PUBLISHED if "rows" in json.loads(file.read_text())]


@pytest.mark.parametrize("file", WITH_ROWS, ids=lambda file: file.stem)
def test_published_rows_are_what_their_counts_give(file):
    """Where the counts of wrong answers were not kept, no paired difference has an interval."""
    content = json.loads(file.read_text())
    kind = kind_of(content)
    result = kind.from_json(content)
    if result.disentanglement:
        values, partners = {}, {}
        for line in result.disentanglement:
            values.setdefault(line.arm, [{} for _ in line.values])
            partners[line.arm] = [pair.partner for pair in line.pairs]
            for of_seed, value in zip(values[line.arm], line.values, strict=True):
                of_seed[line.score] = value
        assert tuple(score_rows(values, partners)) == result.disentanglement
    if file.with_suffix(".npz").exists():
        counts = kind.load_counts(file)
        assert result.rescored(counts).rows == result.rows
        if "peer" in content:
            (row,) = result.rows
            errors = (counts.wrong[k] / (row.n_way * row.n_query) for k in (row.key, PEER))
            ours, peer = (100 * share for share in errors)
            assert content["peer"]["error"] == pytest.approx(peer.mean())
            interval = paired_difference(ours, peer).crossed.interval
            assert content["paired_with_peer"]["ci95"] == pytest.approx(interval)
    else:
        assert "upper bound" in content["note"]
        assert not [pair for row in result.rows for pair in row.pairs if pair.ci95]


def test_published_files_are_shown_and_those_that_are_shown_exist():
    """Tables' sources too; links of pages are tested with the pages."""
    text = "\n".join(page.read_text() for page in pages.pages())
    folder = ROOT / "runs" / "published"
    sources = {ROOT / match[2] for match in pages.BLOCK.findall(text)}
    assert sorted(file for file in sources if not file.exists()) == []
    for file in sorted(folder.iterdir()):
        if file.suffix == ".npz":
            assert file.with_suffix(".json").exists(), f"{file.name}: counts of nothing"
        elif file.suffix == ".html":
            assert file.with_suffix(".json").exists(), f"{file.name}: the page of nothing"
            assert not re.search(r'(src|href)="(?!data:|#|[\w.-]+")', file.read_text()), file.name
        elif file.suffix == ".png":
            assert file.name in text, f"{file.name}: on no page"


PEER = ("peer", "maml", "features", "5w1s")

# Tables of rows that are known.

SHARED = {"encoder": "pretrained", "guidance": (), "seeds": (0, 1)}
LEARNER = {
    "labelled": 1.0,
    "latents": "all",
    "transductive": False,
    "batch_norm": "frozen",
    "test_views": 0,
    "meta_trained": False,
    "train_episodes": 0,
    "n_way": 5,
    "n_shot": 1,
    "n_query": 15,
}


def pairs(difference=None, partner="vae", **more):
    if difference is None:
        return ()
    ends = (difference - 0.5, difference + 0.5)
    return (Pair(by="arm", partner=partner, difference=difference, ci95=ends, **more),)


def row(arm, learner, error, *difference, **more):
    values = {
        "arm_group": arm,
        "learner_group": learner,
        "episodes": 2,
        "test_classes": 9,
        "error_ci95": (error - 1, error + 1),
        "pairs": pairs(*difference),
    }
    return ResultRow(arm=arm, learner=learner, error=error, **(values | SHARED | LEARNER | more))


def test_the_paired_difference_has_a_column_of_its_own():
    rows = [
        row("vae", "ridge", 20.0),
        row("vae", "ridge", 10.0, n_shot=5),
        row("guided", "ridge", 18.0, latents="class", pairs=pairs(-2.0, stands=True)),
        row("guided", "ridge", 10.04, 0.04, latents="class", n_shot=5),
        row("vae", "another", 99.0),
    ]
    assert tables.results_table(rows, "ridge") == (
        "| arm (latents) | 5-way 1-shot | minus vae | 5-way 5-shot | minus vae |\n"
        "|---|---|---|---|---|\n"
        "| vae | 20.0 ± 1.0 |  | 10.0 ± 1.0 |  |\n"
        "| guided (class) | 18.0 ± 1.0 | -2.0 (-2.5 … -1.5) † "
        "| 10.0 ± 1.0 | +0.0 (-0.5 … +0.5) |\n"
    )
    assert "minus" not in tables.results_table(rows, "another")


def test_each_partner_but_the_first_has_a_line():
    both = pairs(-2.0, latents="class", question="guidance") + pairs(1.0, "labels", stands=True)
    rows = [
        row("labels", "ridge", 17.0),
        row("guided", "ridge", 18.0, latents="class", pairs=both),
        row("guided", "ridge", 8.0, latents="class", n_shot=5, pairs=both[:1]),
    ]
    assert tables.controls_table(rows, "ridge") == (
        "| arm (latents) | minus | answers | 5-way 1-shot | 5-way 5-shot |\n"
        "|---|---|---|---|---|\n"
        "| guided (class) | labels (all) |  | +1.0 (+0.5 … +1.5) † |  |\n"
    )


def test_other_partners_of_learners_of_budgets_and_of_widths_have_lines():
    def pair(difference, partner, by="arm"):
        ends = (difference - 0.5, difference + 0.5)
        return Pair(by=by, partner=partner, difference=difference, ci95=ends)

    both = pair(-2.0, "plain", "learner"), pair(1.0, "labels", "learner")
    rows = [row("random", "guided", 18.0, pairs=both), row("vae", "guided", 1.0, pairs=both)]
    assert tables.learner_controls_table(rows, "random") == (
        "| learner | minus | answers | 5-way 1-shot |\n|---|---|---|---|\n"
        "| guided | labels |  | +1.0 (+0.5 … +1.5) |\n"
    )
    share = {"labelled": 0.1, "learner_group": "p"}
    both = pair(-2.0, "vae_10"), pair(1.0, "labels_10")
    rows = [
        row("labels_10", "p9", 9.0, arm_group="labels", train_episodes=9, **share),
        row("guided_10", "p9", 9.0, arm_group="guided", train_episodes=9, pairs=both, **share),
        row("guided_10", "p0", 9.0, arm_group="guided", train_episodes=0, pairs=both, **share),
    ]
    assert tables.budget_controls_table(rows, "p") == (
        "| labels | arm | minus | answers | 0 episodes | 9 episodes |\n|---|---|---|---|---|---|\n"
        "| 10 % | guided | labels |  | +1.0 (+0.5 … +1.5) | +1.0 (+0.5 … +1.5) |\n"
    )
    shown = {"images": 10, "fid": None, "fid_ci95_seeds": None, **SHARED}
    rows = [
        LatentsRow(arm="g", arm_group="g", latent_dim=dim, error=3.0, pairs=both, **shown)
        for dim in (16, 32)
    ]
    assert tables.width_controls_table(rows) == (
        "| arm | minus | answers | 16 latents | 32 latents |\n|---|---|---|---|---|\n"
        "| g | labels_10 |  | +1.00 (+0.50 … +1.50) | +1.00 (+0.50 … +1.50) |\n"
    )


def test_new_classes_have_an_interval_of_their_own():
    rows = [
        row("vae", "ridge", 20.0, error_ci95_new_classes=(17.5, 22.5)),
        row("vae", "ridge", 10.0, n_shot=5),
        row("vae", "another", 99.0),
    ]
    assert tables.new_classes_table(rows, "ridge") == (
        "| arm (latents) | 5-way 1-shot | 5-way 5-shot |\n|---|---|---|\n"
        "| vae | 20.0 ± 1.0 / 2.5 | 10.0 ± 1.0 |\n"
    )


def test_learners_are_lines_and_others_follow_with_their_source():
    rows = [row("vae", "a", 1.0), row("random", "plain", 20.0)]
    rows.append(row("random", "guided", 18.0, -2.0, "plain"))
    others = [Published("UFLST", {"5w1s": 3.0}, "Ji et al. 2019"), Published("PsCo", {"5w1s": 3.6})]
    assert tables.learners_table(rows, "random", others) == (
        "| learner | 5-way 1-shot | minus plain |\n|---|---|---|\n"
        "| plain | 20.0 ± 1.0 |  |\n"
        "| guided | 18.0 ± 1.0 | -2.0 (-2.5 … -1.5) |\n"
        "| UFLST (Ji et al. 2019) | 3.0 |  |\n"
    )


def test_budgets_are_columns_and_shares_of_labels_lines():
    def of_share(arm, episodes, error, *difference):
        group, learner = arm.removesuffix("_5"), f"p{episodes}"
        more = {"train_episodes": episodes, "labelled": 0.05, "learner_group": "p"}
        return row(arm, learner, error, *difference, arm_group=group, **more)

    rows = [
        of_share("vae_5", 1000, 20.0),
        of_share("vae_5", 0, 30.0),
        of_share("guided_5", 0, 25.0, -5.0, "vae_5"),
        of_share("guided_5", 1000, 18.0, -2.0, "vae_5"),
        row("vae_5", "maml", 99.0),
        of_share("labels_5", 1000, 19.0),
    ]
    assert tables.budget_table(rows, "p") == (
        "| labels | arm | 0 episodes | minus vae | 1,000 episodes | minus vae |\n"
        "|---|---|---|---|---|---|\n"
        "| 5 % | vae | 30.0 ± 1.0 |  | 20.0 ± 1.0 |  |\n"
        "| 5 % | guided | 25.0 ± 1.0 | -5.0 (-5.5 … -4.5) | 18.0 ± 1.0 | -2.0 (-2.5 … -1.5) |\n"
        "| 5 % | labels | – |  | 19.0 ± 1.0 |  |\n"
    )


def test_numbers_of_latents_are_columns():
    def probed(arm, latent_dim, error, fid, *difference):
        return LatentsRow(
            arm=arm,
            arm_group=arm,
            latent_dim=latent_dim,
            images=10,
            error=error,
            fid=fid,
            fid_ci95_seeds=None,
            pairs=pairs(*difference),
            **SHARED,
        )

    rows = [
        probed("vae", 16, 3.0, 12.34),
        probed("vae", 32, 2.0, 5.0),
        probed("random", 16, 9.0, None, 6.0),
        probed("random", 32, 8.0, None, 6.0),
    ]
    others = [Published("β-TCVAE", {"16": 1.6}, "Chen et al."), Published("VAE", {"16": 2.9})]
    assert tables.widths_table(rows, others) == (
        "| arm | error, 16 latents | minus vae | error, 32 latents | minus vae "
        "| FID, 16 | FID, 32 |\n|---|---|---|---|---|---|---|\n"
        "| vae | 3.00 |  | 2.00 |  | 12.3 | 5.0 |\n"
        "| random | 9.00 | +6.00 (+5.50 … +6.50) | 8.00 | +6.00 (+5.50 … +6.50) | – | – |\n"
        "| β-TCVAE (Chen et al.) | 1.60 |  | – |  | – | – |\n"
    )


def test_lengths_of_training_are_columns():
    def probed(arm, steps, error, *difference, latent_dim=16):
        shown = {"latent_dim": latent_dim, "steps": steps, "images": 10, "arm_group": arm}
        none = {"fid": None, "fid_ci95_seeds": None}
        made = {**shown, **none, "pairs": pairs(*difference), **SHARED}
        return LatentsRow(arm=arm, error=error, **made)

    rows = [
        probed("vae", 1000, 3.0),
        probed("vae", 2000, 2.0),
        probed("guided", 1000, 3.5, 0.5),
        probed("guided", 2000, 2.0, 0.0),
        probed("vae", 1000, 9.0, latent_dim=32),
    ]
    assert tables.curve_table(rows, 16) == (
        "| arm | 1,000 steps | minus vae | 2,000 steps | minus vae |\n|---|---|---|---|---|\n"
        "| vae | 3.00 |  | 2.00 |  |\n"
        "| guided | 3.50 | +0.50 (+0.00 … +1.00) | 2.00 | +0.00 (-0.50 … +0.50) |\n"
    )


def test_scores_are_columns_and_differences_a_table_of_their_own():
    found = {"vae": [{"mig": 0.1, "beta_vae": 0.5}] * 2, "truth": [{"mig": 1, "beta_vae": 1}] * 2}
    found["tc"] = [{"mig": 0.2, "beta_vae": 0.5}, {"mig": 0.4, "beta_vae": 0.5}]
    rows = score_rows(found, {"tc": ["vae"]})
    content = {"study": "s", "rows": [], "seconds": 0}
    content["disentanglement"] = [row.to_json() for row in rows]
    assert pages.KINDS["disentanglement"](content, "") == (
        "| arm | MIG | Z-diff (β-VAE) |\n|---|---|---|\n"
        "| vae | 0.100 ± 0.000 | 0.500 ± 0.000 |\n| truth | 1.000 ± 0.000 | 1.000 ± 0.000 |\n"
        "| tc | 0.300 ± 1.271 | 0.500 ± 0.000 |\n"
    )
    assert pages.KINDS["disentanglement"](content, "differences") == (
        "| arm | minus | MIG | Z-diff (β-VAE) |\n|---|---|---|---|\n"
        "| tc | vae | +0.200 (-1.071 … +1.471) | +0.000 (+0.000 … +0.000) |\n"
    )


def test_lakes_task_is_a_line_for_each_learner_then_others():
    vae = LakeRow(
        arm="vae",
        arm_group="vae",
        learner="ridge",
        learner_group="ridge",
        source="own",
        error=62.583,
        error_ci95=(57.66, 67.1),
        error_by_seed=(62.0, 63.25),
        runs=20,
        trials=400,
        **SHARED | LEARNER,
    )
    more = replace(vae, source="drawn", error=61.0, error_ci95=(59, 63), error_ci95_runs=(58, 64))
    both = pairs(-2.0) + pairs(1.0, "labels")
    assert tables.lake_controls_table([replace(vae, pairs=both), replace(more, pairs=both)]) == (
        "| arm (latents) | learner | minus | answers | Lake's own runs | drawn runs |\n"
        "|---|---|---|---|---|---|\n"
        "| vae | ridge | labels |  | +1.0 (+0.5 … +1.5) | +1.0 (+0.5 … +1.5) |\n"
    )
    people = Published("people", {"20w1s within alphabet": 4.5}, "Lake et al. 2015")
    head = (
        "|  | Lake's own runs | 95 % | drawn runs | 95 % | 95 %, other runs | each seed "
        "| paired difference |\n|---|---|---|---|---|---|---|---|\n"
    )
    reported = "| people (Lake et al. 2015) | 4.5 |  |  |  |  |  |  |\n"
    assert side_by_side([vae, more], [people]) == (
        f"{head}| vae, ridge | 62.6 | 57.7 … 67.1 | 61.0 | 59.0 … 63.0 | 58.0 … 64.0 "
        f"| 62.0, 63.2 |  |\n{reported}"
    )
    assert side_by_side([vae], [people]) == (
        f"{head}| vae, ridge | 62.6 | 57.7 … 67.1 | – | – | – | 62.0, 63.2 |  |\n{reported}"
    )
    assert side_by_side([vae], [people], "guided") == head


def test_a_selection_is_a_line_for_each_score_and_each_arm(tmp_path):
    def encoder(arm, seed, mig, elbo, error):
        scores, factors = {"elbo": elbo}, {"mig": mig}
        of_arm = {"arm": arm, "seed": seed, "scores": scores, "factors": factors}
        return Entry(name=f"{arm} {seed}", errors={"ridge, 5-way 1-shot": error}, **of_arm)

    selection = Selection(
        runs=("runs/a",),
        encoders=(
            encoder("vae", 0, 0.1, -90.0, 20.0),
            encoder("vae", 1, 0.3, -80.0, 22.0),
            encoder("tc", 0, 0.5, -70.0, 25.0),
        ),
        references=(Entry(name="pixels", errors={"ridge, 5-way 1-shot": 30.0}),),
        facts={"seed": 0},
    )
    (tmp_path / "s.json").write_text(json.dumps(selection.to_json()))
    head = {
        "correlations": "| score | ridge, 5-way 1-shot |\n|---|---|\n",
        "arms": "| arm | ridge, 5-way 1-shot | ELBO | mig |\n|---|---|---|---|\n",
    }
    head["regrets"] = head["correlations"]
    lines = {
        "correlations": "| ELBO | +1.00 |\n| mig | +1.00 |\n",
        "regrets": "| ELBO | 5.0 |\n| mig | 5.0 |\n| one at random | 2.3 |\n| pixels | 10.0 |\n",
        "arms": (
            "| vae | 21.0 | -85.00 | 0.20 |\n"
            "| tc | 25.0 | -70.00 | 0.50 |\n"
            "| pixels | 30.0 | – | – |\n"
        ),
    }
    for which, expected in lines.items():
        marker = f"<!-- select: s.json {which} -->\n"
        found = pages.fill(f"{marker}<!-- end -->\n", tmp_path)
        assert found == f"{marker}{head[which]}{expected}<!-- end -->\n"


def test_systems_stand_in_the_order_of_their_errors_beside_those_of_equal_time():
    rows = [
        row("vae", "ridge", 30.0),
        row("slow", "ridge", 20.0, -10.0, latents="class"),
        row("slow", "ridge", 1.0, -29.0),
        row("slow_timed", "ridge", 25.0, -5.0, latents="class"),
        row("other", "ridge", 1.0, -29.0),
    ]
    spent = {"vae": (1000, 3.0), "slow": (1000, 6.0), "slow_timed": (500, 3.5)}
    costs = [Cost(arm, seed, n, 9.0, t + seed) for arm, (n, t) in spent.items() for seed in (0, 2)]
    assert tables.systems_table(rows, costs, ["vae", "slow"]).splitlines()[2:] == [
        "| slow (class) | 7 | 20.0 ± 1.0 | -10.0 (-10.5 … -9.5) |"
        " 500 | 25.0 ± 1.0 | -5.0 (-5.5 … -4.5) |",
        "| vae | 4 | 30.0 ± 1.0 |  |  |  |  |",
    ]
