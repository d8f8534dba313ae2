"""Which labels may be used, and what a study does with a share of them."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml

import fewshot.study.arms
import fewshot.study.run
from fewshot.commands.compare import CompareConfig
from fewshot.config import parse
from fewshot.data import ImageBank, data_root
from fewshot.data.labels import labelled, labelled_classes
from fewshot.episodes import Setting
from fewshot.study.run import Study
from fewshot.study.scores import described_rows, stack
from fewshot.study.text import minus
from guided.errors import InputError

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def attributed(bank):
    """Twelve classes, two to a group."""
    return ImageBank(bank.images, bank.labels, bank.class_names, {"group": bank.labels // 2})


@pytest.mark.parametrize("share", [0.05, 0.25, 0.5, 0.99, 1.0])
def test_a_share_is_so_many_whole_classes_and_part_of_every_larger_one(bank, share):
    chosen = labelled_classes(bank, share, seed=3)
    assert len(chosen) == math.ceil(12 * share)
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    larger = labelled_classes(bank, min(1.0, 2 * share), seed=3)
    assert set(chosen.tolist()) <= set(larger.tolist())


@pytest.mark.parametrize("percent", [7, 14, 28, 29, 56, 81])
def test_a_share_is_not_rounded_up_by_a_float(percent):
    images = torch.zeros(100, 1, 1, 1, dtype=torch.uint8)
    bank = ImageBank(images, torch.arange(100), ("",) * 100)
    assert len(labelled_classes(bank, percent / 100, seed=0)) == percent


def test_the_seed_chooses():
    bank = ImageBank(torch.zeros(40, 1, 1, 1, dtype=torch.uint8), torch.arange(40), ("",) * 40)
    chosen = {tuple(labelled_classes(bank, 0.25, seed).tolist()) for seed in range(5)}
    assert len(chosen) == 5


def test_unknown_labels_are_minus_one_and_known_ones_have_no_gaps(attributed):
    share, chosen = 0.4, labelled_classes(attributed, 0.4, seed=1)
    shown = labelled(attributed, share, seed=1)
    assert torch.equal(shown.images, attributed.images)
    position = {int(c): i for i, c in enumerate(chosen)}
    expected = [position.get(int(c), -1) for c in attributed.labels]
    assert shown.labels["class"].tolist() == expected
    groups = sorted({int(c) // 2 for c in chosen})
    expected = [groups.index(int(c) // 2) if int(c) in position else -1 for c in attributed.labels]
    assert shown.labels["group"].tolist() == expected
    assert shown.categories() == {"class": len(chosen), "group": len(groups)}


def test_all_labels_are_the_banks(attributed):
    shown = labelled(attributed)
    assert torch.equal(shown.labels["class"], attributed.labels)
    assert torch.equal(shown.labels["group"], attributed.attributes["group"])


def test_values_that_no_training_image_has_are_no_categories(bank):
    """The alphabets of Omniglot's validation are missing among those of its training."""
    held_out = ImageBank(
        bank.images,
        bank.labels,
        bank.class_names,
        {"alphabet": 2 + 3 * (bank.labels // 4), "known": (bank.labels % 3 - 1) * 7},
    )
    shown = labelled(held_out)
    assert torch.equal(shown.labels["alphabet"], bank.labels // 4)
    assert shown.categories() == {"class": 12, "alphabet": 3, "known": 2}
    # -1, -7 …: unknown; 0 and 7 are numbered.
    assert torch.equal(shown.labels["known"], bank.labels % 3 - 1)


def test_quantities_are_unknown_outside_the_share(bank):
    angle = torch.linspace(-1, 1, len(bank))
    kind = bank.labels // 3  # whole numbers are categories, which guidance reads as attributes
    with_factors = replace(bank, factors={"angle": angle, "kind": kind})
    shown = labelled(with_factors, 0.4, seed=1)
    assert set(shown.labels) == {*bank.targets(), "factor angle"}
    known = shown.labels["class"] >= 0
    assert torch.equal(shown.labels["factor angle"][known], angle[known])
    assert shown.labels["factor angle"][~known].isnan().all()
    mean, deviation = shown.scales()["angle"]
    assert mean == pytest.approx(angle[known].mean().item())
    assert deviation == pytest.approx(angle[known].std().item())


# A study whose arms may use a share.

SETTING = Setting(3, 1, 4)


@pytest.fixture
def config(study, tmp_path):
    study["arms"] = {
        "vae": {},
        "vae_40": {"labelled": 0.4},
        "guided": study["arms"]["guided"] | {"latents": ["all"]},
        "guided_40": study["arms"]["guided"]
        | {"latents": ["all"], "labelled": 0.4, "baseline": "vae_40"},
    }
    study["learners"] = {
        "prototypical_0": {"learner": {"class_path": "Prototypical"}},
        "prototypical_3": {
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


def test_labels_outside_the_share_are_never_shown(config, tmp_path, monkeypatch):
    shown, trained_on = {}, {}
    pretrain, meta_train = fewshot.study.arms.pretrain, fewshot.study.run.meta_train

    def spied_pretrain(train, *rest, description, **others):
        shown[description] = train
        return pretrain(train, *rest, description=description, **others)

    def spied_training(settings, learner, encoder, train, *rest, description, **others):
        trained_on[description] = train
        return meta_train(
            settings, learner, encoder, train, *rest, description=description, **others
        )

    monkeypatch.setattr(fewshot.study.arms, "pretrain", spied_pretrain)
    monkeypatch.setattr(fewshot.study.run, "meta_train", spied_training)
    parsed, splits = opened(config, tmp_path)
    outcome = Study(parsed, splits, tmp_path / "run", say=str).run()
    # 10 training classes: 4 of them labelled.
    names = {splits.train.class_names[c] for c in labelled_classes(splits.train, 0.4, seed=0)}
    assert set(trained_on) == {f"train prototypical_3 on {a}, seed 0" for a in config["arms"]}
    for arm in ("vae_40", "guided_40"):
        assert set(trained_on[f"train prototypical_3 on {arm}, seed 0"].class_names) == names
    assert trained_on["train prototypical_3 on guided, seed 0"].n_classes == 10
    # The unguided encoder needs no labels: both arms share one.
    assert set(shown) == {f"pretrain {arm}, seed 0" for arm in ("vae", "guided", "guided_40")}
    assert outcome.encoders["vae", 0].folder == outcome.encoders["vae_40", 0].folder
    part = shown["pretrain guided_40, seed 0"]
    known = part.labels["class"] >= 0
    assert len(part.images) == len(splits.train)
    assert {splits.train.class_names[c] for c in splits.train.labels[known]} == names
    wrong = stack(outcome.wrong)
    described = described_rows(parsed, list(wrong), splits.test.n_classes)
    rows = {(row.arm, row.learner): row for row in described}
    untrained, trained = (rows["vae_40", f"prototypical_{n}"] for n in (0, 3))
    partners = {name: [pair.partner for pair in row.pairs] for (name, _), row in rows.items()}
    assert partners == {"vae": [], "vae_40": ["vae"], "guided": ["vae"], "guided_40": ["vae_40"]}
    assert minus(described) == "minus baseline"
    assert (untrained.train_episodes, trained.train_episodes) == (0, 3)
    one, other = (wrong[arm, "prototypical_0", "all", SETTING] for arm in ("vae", "vae_40"))
    assert np.array_equal(one, other)
    assert (rows["vae", "prototypical_3"].labelled, trained.labelled) == (1.0, 0.4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labelled": 0.0}, r"labelled: expected in \(0, 1\], got 0\.0"),
        ({"labelled": 1.5}, r"labelled: expected in \(0, 1\], got 1\.5"),
        ({"baseline": "nobody"}, r"baseline: no arm is called 'nobody'"),
        ({"labelled": 0.2}, r"labelled: 0\.2 of the training classes are 2, too few for 4-way"),
    ],
)
def test_impossible_shares(config, tmp_path, change, message):
    values = copy.deepcopy(config)
    values["arms"]["vae_40"] |= change
    with pytest.raises(InputError, match=message):
        Study(*opened(values, tmp_path), tmp_path / "run")
    assert not (tmp_path / "run").exists()
