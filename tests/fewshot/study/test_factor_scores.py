"""Scores of a study's encoders against the factors of its images."""

import json

import numpy as np
import pytest
import torch
from scipy import stats

from fewshot.cli import main
from fewshot.commands.compare import CompareConfig
from fewshot.config import load
from fewshot.data import Glyphs, Sprites
from fewshot.study import Study
from fewshot.study.disentanglement.cells import FactorScorer, columns, draws_seed
from fewshot.study.disentanglement.config import DisentanglementConfig
from fewshot.study.disentanglement.rows import report_tables, score_rows
from fewshot.study.result import StudyResult
from guided import metrics
from guided.backbones import Pixels
from guided.encoder import Encoder
from guided.errors import InputError
from guided.latents import LatentLayout
from guided.storage.files import read_json

pytestmark = pytest.mark.usefixtures("cache")

ASKED = {"scores": ["mig", "factor_vae"], "points": 60}


@pytest.fixture
def asking(study):
    """A study of two seeds whose images have factors."""
    del study["arms"]["random"], study["arms"]["guided"]
    study["arms"]["beta"] = {
        "guidance": [{"class_path": "Capacity", "init_args": {"weight": 3, "nats": 0}}]
    }
    study["pretrain"] |= {"steps": 2, "batch_size": 16}
    return study | {"disentanglement": ASKED, "episodes": 3, "selection_episodes": 3}


def test_a_study_scores_every_encoder_and_its_bounds(asking, write, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["compare", write(asking), "--output", str(run)]) == 0
    assert "DCI" not in capsys.readouterr().out
    result = StudyResult.load(run)
    rows = {(row.arm, row.score): row for row in result.disentanglement}
    arms = ["beta", "vae", "random", "truth"]
    assert list(rows) == [(arm, score) for arm in arms for score in ("mig", "factor_vae")]
    for score in ("mig", "factor_vae"):
        assert rows["truth", score].mean > rows["vae", score].mean + 0.1

    bank = Glyphs(None, **asking["dataset"]["init_args"]).splits().test
    factors = np.column_stack([value.double().numpy() for value in bank.factors.values()])
    for i, seed in enumerate([0, 1]):
        for arm in ("vae", "random"):
            (folder,) = (run / "cells").glob(f"encoder-{arm}-seed{seed}-*")
            with torch.no_grad():
                codes = Encoder.load(folder / "encoder.safetensors")(bank.images).numpy()
            if arm == "random":  # whose latents have no scale that tells dead ones
                assert codes.std(0).max() < 0.05
                codes = codes / codes.std(0)
            of_rows = metrics.rows_with_fixed_factor(codes, factors)
            drawn = draws_seed(seed)
            found = metrics.factor_vae_score(of_rows, factors.shape[1], drawn, votes=60)
            assert rows[arm, "factor_vae"].values[i] == pytest.approx(found, abs=1e-4)
            assert rows[arm, "mig"].values[i] == pytest.approx(
                metrics.mig(codes, factors), abs=1e-4
            )

    own, other = (np.array(rows[arm, "mig"].values) for arm in ("beta", "vae"))
    (pair,) = rows["beta", "mig"].pairs
    assert (pair.partner, rows["vae", "mig"].pairs, rows["truth", "mig"].pairs) == ("vae", (), ())
    assert rows["random", "mig"].pairs[0].partner == "vae"
    for values, mean, interval in (
        (own, rows["beta", "mig"].mean, rows["beta", "mig"].ci95),
        (own - other, pair.difference, pair.ci95),
    ):
        assert mean == pytest.approx(values.mean(), abs=1e-4)
        expected = stats.t.interval(0.95, 1, values.mean(), stats.sem(values))
        assert interval == pytest.approx(expected, abs=2e-3)
    stored = read_json(run / "results.json")
    assert json.loads(json.dumps(result.to_json())) == stored
    table = report_tables(result.disentanglement)
    assert table in (run / "table.md").read_text()
    assert f"| beta | vae | {pair.difference:+.3f} (" in table

    config = load(CompareConfig, asking)
    again = Study(config, config.dataset(None).splits(), run)
    again.plan()
    assert not again.cells.missing
    without, other = (planned(asking, scores, tmp_path) for scores in (None, {"scores": ["irs"]}))
    assert not [name for name in without.values() if name.startswith("disentanglement")]
    new = [name for digest, name in other.items() if digest not in again.cells.tasks]
    assert len(new) == 8 and all(name.startswith("disentanglement") for name in new)


def planned(values, scores, folder):
    """The cells of the same study with other scores, or none."""
    config = load(CompareConfig, values | {"disentanglement": scores})
    study = Study(config, config.dataset(None).splits(), folder / "other")
    study.plan()
    return {digest: task.cell.name for digest, task in study.cells.tasks.items()}


def position_reader():
    """Of a sprite: its amount of ink, and the ink's place, which scale moves too."""
    layout = LatentLayout({"content": (0, 3)})
    encoder = Encoder(Pixels((1, 32, 32)), layout)
    x = torch.linspace(-1, 1, 32)
    with torch.no_grad():
        encoder.head.weight.zero_()
        encoder.head.bias.zero_()
        for latent, reader in enumerate(
            (x.repeat(32), x.repeat_interleave(32), torch.ones(32 * 32))
        ):
            encoder.head.weight[latent] = reader
    return encoder.eval()


def test_batches_of_sprites_are_made_and_not_picked():
    """1,000 sprites hold no batch of 64 of one position: a picked batch repeats few images."""
    bank = Sprites(images=1000, size=32, split="images").splits().validation
    assert list(bank.renderer.n_values) == list(bank.factors)
    numbers = torch.stack([bank.attributes[name] for name in bank.renderer.n_values], 1)
    assert torch.equal(bank.renderer(numbers), bank.images)
    config = DisentanglementConfig(scores=["factor_vae", "beta_vae", "sap", "dci"], points=60)
    scorer = FactorScorer(config, bank, None, {}, "cpu")
    truth = scorer.true_scores(0)
    assert truth["factor_vae"] == 1
    found = scorer.score(position_reader(), 0)
    # Three of five factors have a latent; a guess among the others is right one time in three.
    assert 0.45 < found["factor_vae"] < 0.9
    # Without a renderer: rows of the same number, where the factor has several.
    assert (columns(bank, numbered=True)[:, 3] == numbers[:, 3].numpy()).all()


def test_rows_without_partners_or_seeds():
    found = {"vae": [{"mig": 0.25}], "truth": [{"mig": 1.0}]}
    rows = score_rows(found, {"vae": ["pixels"]})
    assert [(row.arm, row.mean, row.ci95, row.pairs) for row in rows] == [
        ("vae", 0.25, None, ()),
        ("truth", 1.0, None, ()),
    ]
    assert "minus" not in report_tables(rows)
    assert report_tables([]) == ""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arms": {"random": {}}, "baseline": None}, "arms.random: with disentanglement, this"),
        ({"arms": {"truth": {}}, "baseline": None}, "arms.truth: with disentanglement, this name"),
        ({"disentanglement": {"scores": []}}, "disentanglement.scores: at least one"),
        ({"disentanglement": {"points": 9}}, "disentanglement.points: expected at least 60, got 9"),
        ({"disentanglement": {"scores": ["migg"]}}, "did you mean mig?"),
    ],
)
def test_impossible_scores(asking, write, fails, change, message):
    assert message in fails("compare", write(asking | change))


def test_images_without_factors(bank):
    with pytest.raises(InputError, match="at least two known factors"):
        FactorScorer(DisentanglementConfig(), bank, None, {}, "cpu")
