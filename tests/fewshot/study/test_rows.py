"""Rows of errors that are known: pairs, intervals, verdicts, questions; in JSON and back."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from fewshot.episodes import Setting
from fewshot.learners.base import Learner
from fewshot.learners.prototypical import Prototypical
from fewshot.study import ArmConfig, LearnerConfig, Published, StudyConfig, StudyResult
from fewshot.study.counts import Counts
from fewshot.study.lake import LakeResult
from fewshot.study.latents import LatentsResult
from fewshot.study.measurement import Measurement
from fewshot.study.rows import Key, LakeRow, ResultRow, WrongQueries
from fewshot.study.scores import described_rows, question_of, score_episodes, stack
from fewshot.study.tables import study_table, verdicts
from guided.augment import Augmentation
from guided.backbones import Conv4
from guided.errors import InputError
from guided.guidance.deformable_pca import DeformablePCA
from guided.guidance.excitation_inhibition import ExcitationInhibition

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
    )


KNOWN = [  # wrong ones among 75 queries
    ("vae", "all", PLAIN, [[10, 20], [30, 40]]),
    ("vae", "features", PLAIN, [[50, 50], [50, 50]]),
    ("vae", "all", OTHER, [[0, 0], [0, 0]]),
    ("guided", "all", PLAIN, [[8, 18], [27, 37]]),
    ("guided", "features", PLAIN, [[60, 60], [60, 60]]),
    ("guided", "content", PLAIN, [[10, 20], [30, 40]]),
    ("guided", "all", OTHER, [[1, 0], [0, 0]]),
]


@pytest.fixture
def known():
    """Seed by seed, as a study runs: each list holds (seed 7, seed 3)."""
    return [
        WrongQueries(Key(arm, seed, "a", latents), setting, np.array(values[i], np.uint8))
        for i, seed in enumerate((7, 3))
        for arm, latents, setting, values in KNOWN
    ]


def result_rows(config, entries):
    wrong = stack(entries)
    rows = described_rows(config, list(wrong), test_classes=20)
    return score_episodes(
        rows, Counts({r.key: w for r, w in zip(rows, wrong.values(), strict=True)})
    )


def find(rows, arm, latents, setting=PLAIN):
    (row,) = (r for r in rows if (r.arm, r.latents, r.n_shot) == (arm, latents, setting.n_shot))
    return row


def test_each_arm_is_paired_with_the_baseline(config, known):
    rows = result_rows(config, known)
    for latents, setting, difference, reduction in (
        ("all", PLAIN, -2.5 / 0.75, 10.0),
        ("features", PLAIN, 10.0 / 0.75, -20.0),
        ("content", PLAIN, 0.0, 0.0),  # the baseline has none: its first choice
        ("all", OTHER, 0.25 / 0.75, None),  # the baseline makes no error
    ):
        (pair,) = find(rows, "guided", latents, setting).pairs
        assert pair.difference == pytest.approx(difference, abs=1e-4)
        assert pair.relative_reduction == reduction
        assert pair.ci95[0] - 1e-4 <= difference <= pair.ci95[1] + 1e-4
        assert pair.ci95_new_classes is None, "nothing tells the episodes' classes"


def test_one_seed_is_judged_by_its_episodes_and_has_no_verdict(config, known):
    config = replace(config, seeds=[7])
    rows = result_rows(config, [entry for entry in known if entry.key.seed == 7])
    row = find(rows, "vae", "all")
    assert row.error == 20, "seeds are stacked in their order"
    expected = stats.ttest_1samp([10 / 0.75, 20 / 0.75], 0).confidence_interval(0.95)
    assert row.error_ci95 == pytest.approx(tuple(expected), abs=1e-4)
    assert find(rows, "guided", "all").pair.p is None
    (sentence,) = verdicts(rows)
    assert "guided (all) against vae: -2.67 points" in sentence
    assert "one pretraining cannot tell" in sentence
    assert not any(verb in sentence for verb in ("lowers", "raises", "change"))
    assert "4 comparisons of one seed each" in study_table(rows)
    assert "95 % over episodes" in study_table(rows).splitlines()[0]


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
    errors, differences = study_table(rows).split("\n\n")[:2]
    row = find(rows, "guided", "all")
    low, high = row.error_ci95
    numbers = f"30.00 | {low:.2f} … {high:.2f} | – |"
    assert errors.splitlines()[4] == f"| guided | all | a | 5-way 1-shot | {numbers}"
    low, high = row.pair.ci95
    numbers = f"vae | -3.33 | {low:+.2f} … {high:+.2f} | – | 10.0 | guidance |"
    assert differences.splitlines()[2] == f"| guided | all | a | 5-way 1-shot | {numbers}"
    assert "| vae (all) | +0.00 |" in differences, "the partner has no latents of that name"
    settings = [line.split(" | ")[3] for line in errors.splitlines()[2:]]
    assert settings == ["5-way 1-shot"] * 5 + ["5-way 5-shot"] * 2
    # Published errors with a source are a table of their own.
    published = [Published("UFLST", {"5w1s": 3.0}, "Ji et al. 2019"), Published("x", {"5w1s": 3.6})]
    table = study_table(rows, published)
    assert table.startswith(study_table(rows))
    assert table.endswith("| UFLST | 3.0 | – | Ji et al. 2019 |\n")
    assert study_table(rows, published[1:]) == study_table(rows)


def with_pair(row, **values):
    return replace(row, pairs=(replace(row.pair, **values),))


def test_verdicts_read_the_interval(config, known):
    rows = result_rows(config, known)
    place = rows.index(find(rows, "guided", "all"))
    verbs = {(-3, -1): "lowers", (1, 2): "raises", (-1, 2): "does not clearly change"}
    for interval, verb in verbs.items():
        rows[place] = with_pair(rows[place], ci95=interval, stands=verb == "raises")
        (sentence,) = verdicts(rows)
        assert sentence.startswith(f"Guidance: guided (all) {verb} the error of vae: -3.33 points")
        assert "2 seeds × 2 episodes" in sentence
        assert "Two seeds: t is 12.7" in sentence
        assert ("†" in sentence) == (verb == "raises")
        # One more is the same in all seeds and episodes, and stands.
        exclude, stand = 1 + (verb != "does not clearly change"), 1 + (verb == "raises")
        counted = f"4 comparisons: {exclude} intervals exclude 0; {stand} still"
        assert counted in study_table(rows)
    rows = result_rows(replace(config, baseline="guided"), known)
    assert verdicts(rows) == [], "a guided baseline has no verdict on itself"


@pytest.mark.parametrize(
    ("n_seeds", "difference", "needed", "said"),
    [
        (3, -0.5, 21, "Half the interval would take about 21 seeds."),
        (4, -0.5, None, "More seeds would not halve the interval"),
        (3, -1.5, 21, ""),
        (5, -0.5, 21, ""),
    ],
)
def test_few_seeds_and_a_small_claim_need_more_seeds(
    config, known, n_seeds, difference, needed, said
):
    row = find(result_rows(config, known), "guided", "all")
    row = replace(row, seeds=tuple(range(n_seeds)))
    row = with_pair(row, difference=difference, ci95=(-2.0, -0.1), seeds_for_half=needed)
    sentence = verdicts([row])[0]
    assert said in sentence
    assert bool(said) == ("seeds." in sentence or "More seeds" in sentence)


def test_a_learner_may_be_paired_with_another_on_the_same_arm():
    """Two arms, two learners: b against a, on each arm; a against the baseline arm."""
    learners = {
        "a": LearnerConfig(partial(Prototypical)),
        "b": LearnerConfig(partial(Prototypical, metric="cosine"), baseline="a"),
    }
    arms = {"vae": ArmConfig(), "raw": ArmConfig("pixels")}
    config = StudyConfig("any", partial(dict), arms, learners, seeds=[0, 1, 2], episodes=2)
    values = {("vae", "a"): 30, ("vae", "b"): 21, ("raw", "a"): 60, ("raw", "b"): 66}
    errors = [
        WrongQueries(Key(arm, seed, learner, "all"), Setting(), np.array([v, v + 6]))
        for (arm, learner), v in values.items()
        for seed in (0, 1, 2)
    ]
    rows = {(r.arm, r.learner): r for r in result_rows(config, errors)}
    found = {key: [(p.by, p.partner, p.difference) for p in row.pairs] for key, row in rows.items()}
    assert found == {
        ("vae", "a"): [],
        ("vae", "b"): [("learner", "a", -12.0)],
        ("raw", "a"): [("arm", "vae", 40.0)],
        ("raw", "b"): [("learner", "a", 8.0)],
    }
    lower, higher = verdicts(list(rows.values()))
    assert lower.startswith("b on vae (all) lowers the error of a:")
    assert higher.startswith("b on raw (all) raises the error of a:")
    untrained = with_pair(rows["raw", "b"], difference=0.0, ci95=(0.0, 0.0))
    assert len(verdicts([rows["vae", "b"], untrained])) == 1


def labels(**more):
    return ArmConfig(guidance=[ExcitationInhibition(attributes={"class": 4}, **more)])


DEFORM, DEFORMED = [DeformablePCA()], Augmentation(rotation=9)
AUGMENTED = ArmConfig(augmentation=DEFORMED)
ANY_LEARNER = {"a": LearnerConfig(partial(Prototypical))}


@pytest.mark.parametrize(
    ("arm", "partner", "question"),
    [
        (labels(), ArmConfig(), "labels and guidance together"),
        (replace(labels(), elbo=False), ArmConfig(), "labels"),
        (labels(), replace(labels(), elbo=False), "guidance beyond labels"),
        (labels(), labels(inhibition=0), None),
        (ArmConfig(guidance=DEFORM), ArmConfig(), "guidance"),
        (ArmConfig(guidance=DEFORM), AUGMENTED, "guidance beyond augmentation"),
        (ArmConfig(guidance=DEFORM, augmentation=DEFORMED), ArmConfig(), None),
        (labels(), AUGMENTED, None),
        (labels(), replace(labels(), elbo=False, labelled=0.5), None),
        (ArmConfig(guidance=DEFORM), labels(), None),
        (ArmConfig(), ArmConfig("random"), None),
        (
            labels(),
            replace(labels(), elbo=False, steps=9000),
            "guidance beyond labels, at other steps",
        ),
        (ArmConfig(guidance=DEFORM, steps=2000), ArmConfig(), "guidance"),
        (ArmConfig(guidance=DEFORM, backbone=partial(Conv4, width=8)), ArmConfig(), None),
    ],
)
def test_a_pair_answers_a_question(arm, partner, question):
    """If nothing but guidance, labels or augmentation tells the two apart, also not their steps."""
    config = StudyConfig("any", partial(dict), {"vae": partner}, ANY_LEARNER)
    assert config.pretrain.steps == 2000
    assert question_of(config, arm, partner) == question


# Rows in JSON and back.

PUBLISHED = Path(__file__).parents[3] / "runs" / "published"
FILES = [
    file
    for file in sorted(PUBLISHED.glob("*.json"))
    if {"rows", "diagnostics"} & set(json.loads(file.read_text()))
]


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
            kind.from_json({"colour": "red", "pairs": []})
        with pytest.raises(TypeError, match="missing"):
            kind.from_json({"arm": "vae", "pairs": []})
    with pytest.raises(InputError, match=r"results\.json: not the result of a finished run"):
        StudyResult.load(tmp_path)
