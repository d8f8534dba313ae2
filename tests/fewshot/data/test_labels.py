"""Which labels may be used, and what a study does with a share of them."""

import math

import pytest
import torch
import yaml

import fewshot.study.arms
import fewshot.study.run
from fewshot.commands.compare import CompareConfig
from fewshot.config import parse
from fewshot.data import ImageBank, data_root
from fewshot.data.labels import labelled, labelled_classes
from fewshot.study.report import markdown_table, result_rows
from fewshot.study.run import Study
from guided.errors import InputError

pytestmark = pytest.mark.usefixtures("cache")


@pytest.mark.parametrize("share", [0.05, 0.25, 0.5, 0.99, 1.0])
def test_a_share_is_so_many_whole_classes_and_part_of_every_larger_one(bank, share):
    chosen = labelled_classes(bank, share, seed=3).tolist()
    assert len(set(chosen)) == math.ceil(12 * share)
    assert chosen == sorted(chosen)
    assert set(chosen) <= set(labelled_classes(bank, min(1.0, 2 * share), seed=3).tolist())
    if share == 0.25:
        assert len({tuple(labelled_classes(bank, share, seed).tolist()) for seed in range(5)}) > 3


def test_unknown_labels_are_minus_one_and_known_ones_have_no_gaps(bank):
    # The alphabets of Omniglot's validation are missing among those of its training.
    columns = {
        "group": bank.labels // 2,
        "alphabet": 2 + 3 * (bank.labels // 4),
        "known": (bank.labels % 3 - 1) * 7,  # -7: unknown
    }
    whole = ImageBank(bank.images, bank.labels, bank.class_names, columns)
    shown = labelled(whole)
    assert torch.equal(shown.images, bank.images)
    assert torch.equal(shown.labels["class"], bank.labels)
    assert torch.equal(shown.labels["alphabet"], bank.labels // 4)
    assert torch.equal(shown.labels["known"], bank.labels % 3 - 1)
    assert shown.categories() == {"class": 12, "group": 6, "alphabet": 3, "known": 2}
    chosen = labelled_classes(whole, 0.4, seed=1).tolist()
    shown = labelled(whole, 0.4, seed=1).labels
    groups = sorted({c // 2 for c in chosen})
    for label, seen, group in zip(
        bank.labels.tolist(), shown["class"], shown["group"], strict=True
    ):
        known = label in chosen
        assert seen == (chosen.index(label) if known else -1)
        assert group == (groups.index(label // 2) if known else -1)


@pytest.fixture
def config(study):
    """A study whose arms may use a share."""
    guided = study["arms"]["guided"] | {"latents": ["all"]}
    study["arms"] = {
        "vae": {},
        "vae_40": {"labelled": 0.4},
        "guided": guided,
        "guided_40": guided | {"labelled": 0.4, "baseline": "vae_40"},
    }
    study["learners"] = {
        "prototypical@0": {"learner": {"class_path": "Prototypical"}},
        "prototypical@3": {
            "learner": {"class_path": "Prototypical"},
            "train": {
                "setting": {"n_way": 4, "n_shot": 1, "n_query": 3},
                "steps": 3,
                "validation": {"n_way": 3, "n_shot": 1, "n_query": 3},
                "validation_episodes": 6,
            },
        },
    }
    study["seeds"] = [0]
    return study


def opened(config, tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    parsed = parse(CompareConfig, [str(file)], "test")
    return parsed, parsed.dataset(data_root(None)).splits()


def spied(monkeypatch, module, name, position):
    """Description -> what ``module.name`` was given at this position."""
    seen, original = {}, getattr(module, name)

    def spy(*given, description, **others):
        seen[description] = given[position]
        return original(*given, description=description, **others)

    monkeypatch.setattr(module, name, spy)
    return seen


def test_labels_outside_the_share_are_never_shown(config, tmp_path, monkeypatch):
    shown = spied(monkeypatch, fewshot.study.arms, "pretrain", 0)
    trained_on = spied(monkeypatch, fewshot.study.run, "meta_train", 3)
    parsed, splits = opened(config, tmp_path)
    outcome = Study(parsed, splits, tmp_path / "run", say=str).run()
    # 10 training classes: 4 of them labelled.
    names = {splits.train.class_names[c] for c in labelled_classes(splits.train, 0.4, seed=0)}
    trained = {
        arm: set(trained_on.pop(f"train prototypical@3 on {arm}, seed 0").class_names)
        for arm in config["arms"]
    }
    assert trained["vae_40"] == trained["guided_40"] == names
    assert len(trained["guided"]) == 10
    assert not trained_on
    # The unguided encoder needs no labels: both arms share one.
    assert set(shown) == {f"pretrain {arm}, seed 0" for arm in ("vae", "guided", "guided_40")}
    assert outcome.encoders["vae", 0].folder == outcome.encoders["vae_40", 0].folder
    part = shown["pretrain guided_40, seed 0"]
    known = part.labels["class"] >= 0
    assert len(part.images) == len(splits.train)
    assert {splits.train.class_names[c] for c in splits.train.labels[known]} == names
    rows = {(r["arm"], r["learner"]): r for r in result_rows(parsed, outcome.errors)}
    assert {arm: rows[arm, "prototypical@3"]["paired_with"] for arm in list(trained)[1:]} == {
        **{"vae_40": "vae", "guided": "vae", "guided_40": "vae_40"}
    }
    assert "| minus baseline |" in markdown_table({"rows": list(rows.values())})
    assert rows["vae_40", "prototypical@0"]["error"] == rows["vae", "prototypical@0"]["error"]
    assert [rows[a, "prototypical@3"]["labelled"] for a in ("vae", "vae_40")] == [1.0, 0.4]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labelled": 0.0}, r"labelled: expected a share in \(0, 1\], got 0\.0"),
        ({"labelled": 1.5}, r"labelled: expected a share in \(0, 1\], got 1\.5"),
        ({"baseline": "nobody"}, r"baseline: no arm is called 'nobody'"),
        ({"labelled": 0.2}, r"labelled: 0\.2 of the training classes are 2, too few for 4-way"),
    ],
)
def test_impossible_shares(config, tmp_path, change, message):
    config["arms"]["vae_40"] |= change
    with pytest.raises(InputError, match=message):
        Study(*opened(config, tmp_path), tmp_path / "run")
    assert not (tmp_path / "run").exists()
