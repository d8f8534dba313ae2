"""Settings that are chosen on the validation classes, for each encoder."""

import copy
import json
from functools import partial

import pytest
import torch
import yaml

import fewshot.evaluation
from fewshot.cli import main
from fewshot.commands.compare import CompareConfig
from fewshot.config import load
from fewshot.config.load import override
from fewshot.learners import Prototypical, Ridge
from fewshot.sampler import EpisodeSampler
from fewshot.study import Study, StudyResult
from fewshot.study.choices import choices_table
from fewshot.study.examiner import Examiner
from fewshot.study.executors import Local
from fewshot.study.plans import study_plan
from guided.encoder import Encoder
from guided.errors import InputError
from guided.seeds import derive_seed

PENALTIES = [300.0, 1.0, 0.003]
LEARNERS = """
prototypical: {learner: {class_path: Prototypical}}
ridge: {learner: {class_path: Ridge}, choose: {penalty: [300, 1, 0.003]}}
# Of which the temperature changes no answer.
tied: {learner: {class_path: Prototypical}, choose: {metric: [cosine], temperature: [2, 0.5]}}
trained:
  learner: {class_path: Prototypical}
  train:
    setting: {n_way: 5, n_shot: 1, n_query: 3}
    steps: 3
    learning_rate: 0.01
    validation: {n_way: 3, n_shot: 1, n_query: 3}
    validation_episodes: 6
after: {learner: {class_path: Ridge}, trained_by: trained, choose: {penalty: [300, 1, 0.003]}}
"""
SELECTION = {"n_way": 4, "n_shot": 2, "n_query": 5, "within": "alphabet"}


@pytest.fixture(scope="module")
def chosen(finished, shared_cache, tmp_path_factory):
    """A study with choices: its configuration, run folder and result."""
    base = tmp_path_factory.mktemp("choices")
    config = copy.deepcopy(finished.config)
    config["arms"] = {"random": {"encoder": "random"}, "pixels": {"encoder": "pixels"}}
    config |= {"baseline": "random", "learners": yaml.safe_load(LEARNERS), "episodes": 12}
    config |= {"selection_setting": SELECTION, "selection_episodes": 12}
    (base / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEWSHOT_CACHE", str(shared_cache))
        assert main(["compare", str(base / "config.yaml"), "--output", str(base / "run")]) == 0
    return config, base / "run", StudyResult.load(base / "run")


@pytest.fixture(scope="module")
def splits(chosen, shared_cache):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEWSHOT_CACHE", str(shared_cache))
        return load(CompareConfig, chosen[0]).dataset(None).splits()


def wrong_answers(model, bank, setting, seed, n):
    sampler = EpisodeSampler(bank, setting, seed)
    labels = torch.arange(setting.n_way).repeat_interleave(setting.n_query)
    with torch.no_grad():
        logits = [model.logits(sampler[i].gather(bank.images))[0] for i in range(n)]
    return [int((scores.argmax(1) != labels).sum()) for scores in logits]


@pytest.mark.parametrize(("arm", "learner"), [("random", "ridge"), ("random", "after")])
def test_the_penalty_with_the_lowest_validation_error_is_tested(chosen, splits, arm, learner):
    """Recomputed from the saved encoders: the choice, and the errors in the test."""
    values, run, result = chosen
    config = load(CompareConfig, values)
    counts = StudyResult.load_counts(run).wrong[arm, learner, "all", "3w1s"]
    found = set()
    for row, seed in enumerate([0, 1]):
        stem = f"train-{arm}-seed{seed}-all-trained" if learner == "after" else f"encoder-{arm}"
        stem = stem if learner == "after" else f"{stem}-seed{seed}"
        (folder,) = (run / "cells").glob(f"{stem}-*")
        encoder = Encoder.load(folder / "encoder.safetensors")
        made = {p: Ridge(encoder, penalty=p).eval() for p in PENALTIES}
        shape, of = config.selection, derive_seed(0, "selection")
        errors = {
            p: 100 * sum(wrong_answers(model, splits.validation, shape, of, 12)) / (12 * 4 * 5)
            for p, model in made.items()
        }
        best = min(PENALTIES, key=errors.__getitem__)
        (choice,) = (
            c for c in result.choices if (c.arm, c.learner, c.seed) == (arm, learner, seed)
        )
        assert choice.chosen == {"penalty": best}
        assert {c.settings["penalty"]: c.error for c in choice.candidates} == pytest.approx(errors)
        of_test = derive_seed(0, "test", "3w1s")
        expected = wrong_answers(made[best], splits.test, config.settings[0], of_test, 12)
        assert counts[row].tolist() == expected
        found |= set(errors.values())
    assert len(found) > 2, "the penalties differ"


def test_of_equal_ones_the_first_is_chosen(chosen, splits):
    _, run, result = chosen
    tied = [choice for choice in result.choices if choice.learner == "tied"]
    assert len(tied) == 4
    for choice in tied:
        assert len({candidate.error for candidate in choice.candidates}) == 1
        assert choice.chosen == {"metric": "cosine", "temperature": 2.0}
    model = Prototypical(Encoder.load(next(run.glob("cells/encoder-pixels*/*.safetensors"))))
    model.metric = "cosine"
    shape = load(CompareConfig, chosen[0]).settings[0]
    expected = wrong_answers(model, splits.test, shape, derive_seed(0, "test", "3w1s"), 12)
    counts = StudyResult.load_counts(run).wrong["pixels", "tied", "all", "3w1s"]
    assert counts[0].tolist() == expected


def test_rows_and_report_say_what_was_chosen(chosen, tmp_path, capsys):
    _, run, result = chosen
    stored = json.loads((run / "results.json").read_text())["choices"]
    assert len(stored) == 2 * 2 * 3
    assert [choice.to_json() for choice in result.choices] == stored
    table = choices_table(result.choices)
    assert table in (run / "table.md").read_text()
    line = next(line for line in table.splitlines() if "random | all | ridge" in line)
    assert line.count("300.0: ") == 1
    rows = {(row.arm, row.learner): row for row in result.rows}
    assert rows["random", "after"].meta_trained
    assert rows["random", "after"].train_episodes == 3
    assert not rows["random", "ridge"].meta_trained
    assert main(["report", str(run), "--output", str(tmp_path / "again")]) == 0
    assert "table.md, too: choices" in capsys.readouterr().out
    assert table in (tmp_path / "again" / "table.md").read_text()


def test_a_row_is_replayed_with_what_was_chosen(chosen, capsys):
    _, run, result = chosen
    row = next(i for i, row in enumerate(result.rows) if row.learner == "after")
    assert main(["evaluate", "--replay", str(run / "results.json"), "--row", str(row)]) == 0
    assert "the same in all" in capsys.readouterr().out


def test_workers_choose_the_same(chosen, splits, tmp_path, shared_cache, monkeypatch):
    monkeypatch.setenv("FEWSHOT_CACHE", str(shared_cache))
    config = load(CompareConfig, chosen[0], {"seeds": [0]})
    plan = partial(study_plan, config, [tmp_path], tmp_path, "cpu")
    outcome = Study(config, splits, tmp_path, say=str, executor=Local(plan, 2)).run()
    assert outcome.choices == [choice for choice in chosen[2].choices if choice.seed == 0]
    counts = StudyResult.load_counts(chosen[1]).wrong
    for entry in outcome.wrong:
        key = (entry.key.arm, entry.key.learner, entry.key.latents, entry.setting.label)
        assert entry.wrong.tolist() == counts[key][0].tolist()


@pytest.fixture
def computed(chosen, splits, monkeypatch):
    """Run the study again after a change; returns the new cells, without their digests."""
    values, run, _ = chosen
    embedded = []
    embed = fewshot.evaluation.embed_bank
    monkeypatch.setattr(
        fewshot.evaluation, "embed_bank", lambda *a, **k: (embedded.append(a[1]), embed(*a, **k))[1]
    )

    def again(**changes):
        before = set((run / "cells").iterdir())
        Study(load(CompareConfig, values, changes), splits, run, say=str).run()
        new = set((run / "cells").iterdir()) - before
        return {folder.name.rpartition("-")[0] for folder in new}, embedded

    return again


def test_another_list_is_another_choice_and_nothing_else(computed, splits):
    assert computed()[0] == set(), "all is there"
    new, embedded = computed(**{"learners.ridge.choose.penalty": [300, 1, 0.003, 30]})
    kinds = [
        f"{kind}-{arm}-seed{seed}"
        for kind in ("choice", "wrong")
        for seed in (0, 1)
        for arm in ("random", "pixels")
    ]
    assert new == {f"{kind}-all-ridge" for kind in kinds}
    validation = [bank for bank in embedded if bank is splits.validation]
    assert len(validation) == 4, "once for all candidates of an encoder"


def test_the_shape_of_the_selection_episodes_is_part_of_a_choice(computed):
    new, _ = computed(**{"selection_setting.n_query": 4})
    assert {name.split("-")[0] for name in new} >= {"choice", "wrong"}
    assert not any(name.startswith(("encoder", "train")) for name in new)


RIDGE = {"class_path": "Ridge"}
MISTAKES = [
    ("ridge.choose", {"penalti": [1]}, "ridge.choose.penalti: no such key; did you mean"),
    ("ridge.choose.penalty", [], "ridge.choose.penalty: at least one value is needed"),
    ("ridge.choose.penalty", 3, "ridge.choose.penalty: expected a list, got 3"),
    ("ridge.choose.penalty", [1, "x"], "ridge.choose.penalty.1: expected a number, got x"),
    ("ridge.choose.penalty", [1, -1], "ridge.choose.penalty.1: expected > 0"),
    ("ridge.choose", {"batch_norm": ["frozen", "support"]}, "choose.batch_norm: what an answer"),
    ("trained.choose", {"metric": ["cosine"]}, "trained.choose: its meta-training depends on metr"),
    ("after.trained_by", "nobody", "after.trained_by: no learner is called 'nobody'"),
    ("after.trained_by", "ridge", "after.trained_by: there is no train of 'ridge'"),
    ("trained.trained_by", "trained", "trained.trained_by: this learner has a meta-training"),
]


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(("key", "value", "message"), MISTAKES)
def test_impossible_choices_before_anything_is_computed(
    chosen, fails, write, tmp_path, key, value, message
):
    values = copy.deepcopy(chosen[0])
    override(values, f"learners.{key}", value)
    assert message in fails("compare", write(values))
    assert not (tmp_path / "must-not-exist" / "cells").exists()


def test_a_choice_needs_validation_classes(chosen, splits, tmp_path, fails, write):
    values = chosen[0] | {"selection_setting": SELECTION | {"n_way": 9}}
    assert "n_way: 9 classes asked for, the validation set" in fails("compare", write(values))
    config = load(CompareConfig, chosen[0])
    none = splits.__class__(splits.train, splits.validation.classes([]), splits.test)
    with pytest.raises(InputError, match="validation classes: n_way: 4"):
        Examiner(config, none, None, {}, "cpu")
