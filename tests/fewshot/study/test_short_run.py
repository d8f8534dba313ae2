"""Short-run inference in a study: as an arm of its own, and at test time on a VAE's encoder."""

import json

import numpy as np
import pytest

from fewshot.cli import main
from fewshot.commands.compare import CompareConfig
from fewshot.config import load
from fewshot.episodes import Setting
from fewshot.evaluation import embed_bank, wrong_queries
from fewshot.learners.prototypical import Prototypical
from fewshot.sampler import EpisodeSampler
from fewshot.study import ResultRow, Study
from fewshot.study.scores import described_rows
from guided.decoder import Decoder
from guided.encoder import Encoder
from guided.seeds import derive_seed
from guided.short_run import Langevin, run_chain

pytestmark = pytest.mark.usefixtures("cache")

SETTING = Setting(3, 1, 4)
STEPS = {"steps": 3, "step_size": [0.3, 0.2]}
SHORT_RUN = {
    "class_path": "ShortRun",
    "init_args": {
        "backbone": {"class_path": "Conv4", "init_args": {"width": 4, "decoder_norm": "none"}},
        "latent_dim": 3,
        "chain": {"steps": 3},
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


def test_a_study_infers_latents(config, write, tmp_path):
    parsed = load(CompareConfig, config)
    splits = parsed.dataset(None).splits()
    outcome = Study(parsed, splits, tmp_path / "run", say=str).run()
    found = {
        (entry.key.arm, entry.key.learner, entry.key.latents): entry for entry in outcome.wrong
    }
    rows = described_rows(parsed, [(*key, SETTING) for key in found], None)
    assert {(r.arm, r.learner): r.test_steps for r in rows} == {
        ("vae", "prototypical"): 0,
        ("vae", "inferred"): 3,
        ("short_run", "prototypical"): 0,
    }
    assert [ResultRow.from_json(row.to_json()) for row in rows] == rows
    sampler = EpisodeSampler(splits.test, SETTING, derive_seed(0, "test", "3w1s"))

    def check(arm, learner, encoder, table):
        expected = wrong_queries(Prototypical(encoder), table, sampler, 20)
        assert found[arm, learner, "all"].wrong.tolist() == expected.tolist()
        return 100 * expected.numpy() / 12

    cell = outcome.encoders["vae", 0]
    encoder = Encoder.load(cell.encoder_file)
    means = embed_bank(encoder, splits.test)
    decoder = Decoder.load(cell.decoder_file, encoder)
    images = encoder.normalised(splits.test.images)
    moved = run_chain(decoder, images, means, Langevin(**STEPS))
    errors = check("vae", "inferred", encoder, moved)
    assert (errors != check("vae", "prototypical", encoder, means)).any()

    cell = outcome.encoders["short_run", 0]
    assert [entry["step"] for entry in cell.facts["history"]] == [2, 4]
    assert all({"score", "reconstruction"} <= set(entry) for entry in cell.facts["history"])
    short_run = Encoder.load(cell.encoder_file)
    check("short_run", "prototypical", short_run, embed_bank(short_run, splits.test))
    facts = {e.arm: e for e in outcome.encoder_facts}
    assert (len(facts["short_run"].ratios), len(facts["vae"].ratios)) == (3, 8)

    # The command evaluates the same encoder in the same way.
    alone = {"dataset": config["dataset"], "settings": config["settings"], "episodes": 20}
    file, output = str(outcome.encoders["vae", 0].encoder_file), tmp_path / "alone"
    arguments = ["--encoder", file, "--test-inference", json.dumps(STEPS), "--output", str(output)]
    assert main(["evaluate", write(alone, "alone.yaml"), *arguments]) == 0
    assert np.load(output / "episodes.npz")["prototypical|3w1s"] == pytest.approx(errors)


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
    assert "test_inference: needs a checkpoint and its decoder" in fails("evaluate", write(alone))
    assert "decoder.safetensors: no such file" in fails("evaluate", write(alone), *file)
    del alone["test_inference"]
    line = fails("evaluate", write(alone), *file, "--decoder", "d.safetensors")
    assert "decoder: serves test_inference alone" in line
