"""Short-run inference in a study: as an arm of its own, and at test time on a VAE's encoder."""

import json

import numpy as np
import pytest
import torch

from fewshot.cli import main
from fewshot.data import Glyphs, data_root
from fewshot.episodes import Setting
from fewshot.evaluation import embed_bank, wrong_queries
from fewshot.learners.prototypical import Prototypical
from fewshot.sampler import EpisodeSampler
from fewshot.study import StudyResult
from fewshot.study.counts import Counts
from guided.decoder import Decoder
from guided.encoder import Encoder
from guided.seeds import derive_seed
from guided.short_run import Langevin, run_chain

pytestmark = pytest.mark.usefixtures("cache")

STEPS = {"steps": 3, "step_size": [0.3, 0.2]}
SHORT_RUN = {
    "class_path": "ShortRun",
    "init_args": {
        "backbone": {"class_path": "Conv4", "init_args": {"width": 4, "decoder_norm": "none"}},
        "latent_dim": 3,
        "chain": {"steps": 3, "temperature": 1.0},
        "steps": 4,
        "batch_size": 8,
        "validate_every": 2,
    },
}


@pytest.fixture
def config(study):
    prototypical = {"class_path": "Prototypical"}
    study["arms"] = {
        "vae": {"latents": ["all", "content"]},
        "short_run": {"encoder": "trained", "training": SHORT_RUN},
    }
    study["learners"]["inferred"] = {
        "learner": prototypical,
        "test_inference": STEPS,
        "arms": ["vae"],
        "baseline": "prototypical",
    }
    return study | {"seeds": [0]}


def test_a_study_infers_latents(config, write, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["compare", write(config), "--output", str(run)]) == 0
    rows = StudyResult.load(run).rows
    assert {(r.arm, r.learner): r.test_steps for r in rows} == {
        ("vae", "prototypical"): 0,
        ("vae", "inferred"): 3,
        ("short_run", "prototypical"): 0,
    }
    wrong = {key[:3]: found[0] for key, found in Counts.load(run / "episodes.npz").wrong.items()}
    test = Glyphs(data_root(None), **config["dataset"]["init_args"]).splits().test
    sampler = EpisodeSampler(test, Setting(3, 1, 4), derive_seed(0, "test", "3w1s"))
    (file,) = run.glob("cells/encoder-vae-*/encoder.safetensors")
    encoder = Encoder.load(file)
    means = embed_bank(encoder, test)
    decoder = Decoder.load(file.with_name("decoder.safetensors"), encoder)
    moved = run_chain(decoder, encoder.normalised(test.images), means, Langevin(**STEPS))
    assert (moved - means).abs().mean() > 0.01
    for learner, table in (("prototypical", means), ("inferred", moved)):
        expected = wrong_queries(Prototypical(encoder), table, sampler, 20).tolist()
        assert wrong["vae", learner, "all"].tolist() == expected
    assert not np.array_equal(wrong["vae", "inferred", "all"], wrong["vae", "prototypical", "all"])

    (folder,) = run.glob("cells/encoder-short_run-*")
    facts = json.loads((folder / "cell.json").read_text())
    assert [entry["step"] for entry in facts["history"]] == [2, 4]
    assert all({"score", "reconstruction"} <= set(entry) for entry in facts["history"])
    short_run = Encoder.load(folder / "encoder.safetensors")
    expected = wrong_queries(Prototypical(short_run), embed_bank(short_run, test), sampler, 20)
    assert wrong["short_run", "prototypical", "all"].tolist() == expected.tolist()
    measured = json.loads((run / "results.json").read_text())["diagnostics"]
    (entry,) = [e for e in measured if e["arm"] == "short_run"]
    assert entry["measure"].startswith("variance over images by that over chains")
    assert entry["of"] == 3

    # The command evaluates the same encoder in the same way, and the row again.
    capsys.readouterr()
    number = next(i for i, row in enumerate(rows) if row.learner == "inferred")
    replay = ["evaluate", "--replay", str(run / "results.json"), "--row", str(number)]
    assert main(replay) == 0
    assert "the same in all 20 episodes" in capsys.readouterr().out
    alone = {"dataset": config["dataset"], "settings": config["settings"], "episodes": 20}
    output = tmp_path / "alone"
    arguments = ["--encoder", str(file), "--test-inference", json.dumps(STEPS)]
    arguments += ["--output", str(output)]
    assert main(["evaluate", write(alone, "alone.yaml"), *arguments]) == 0
    errors = np.load(output / "episodes.npz")["prototypical|3w1s"]
    assert errors == pytest.approx(wrong["vae", "inferred", "all"] / 12 * 100)
    assert torch.equal(means, embed_bank(encoder, test))


TRAIN = {"setting": {"n_way": 3, "n_query": 2}, "steps": 1}
MISTAKES = [
    ({"learner": {"class_path": "FineTune"}}, "learners.inferred.test_inference: FineTune comp"),
    ({"train": TRAIN}, "learners.inferred.test_inference: meta-training moves the encoder"),
    ({"arms": None}, "learners.inferred.test_inference: needs the latents of a VAE and its dec"),
    ({"test_inference": {"steps": 0}}, "test_inference.steps: expected at least 1, got 0"),
]


@pytest.mark.parametrize(("change", "message"), MISTAKES)
def test_what_cannot_be_inferred_is_refused(config, write, fails, change, message):
    config["learners"]["inferred"] |= change
    assert message in fails("compare", write(config), writes=True)


def test_evaluate_refuses_what_it_cannot_infer(config, write, fails, tmp_path, encoder):
    alone = {"dataset": config["dataset"], "settings": config["settings"], "episodes": 2}
    alone |= {"test_inference": STEPS}
    encoder.save(tmp_path / "e.safetensors")
    file = ["--encoder", str(tmp_path / "e.safetensors")]
    assert "test_inference: needs an encoder" in fails("evaluate", write(alone))
    assert "decoder.safetensors: no such file" in fails("evaluate", write(alone), *file)
    del alone["test_inference"]
    line = fails("evaluate", write(alone), *file, "--decoder", "d.safetensors")
    assert "decoder: serves test_inference alone" in line
