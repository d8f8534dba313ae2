"""The training loop: what it computes, what it keeps, what it refuses."""

import copy
import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.distributions import Bernoulli, Normal, kl_divergence

import guided
from guided.seeds import generator
from guided.training.pretrain import build_model, negative_elbo

same = partial(torch.testing.assert_close, rtol=0, atol=0)

PLAIN = guided.PretrainConfig(
    backbone=partial(guided.Conv4, width=4),
    latent_dim=6,
    kl_warmup=4,
    steps=6,
    batch_size=8,
    validate_every=2,
    log_every=1,
)
GUIDED = replace(
    PLAIN,
    guidance=[
        guided.DeformablePCA(deformations=("rotation",)),
        guided.ExcitationInhibition(attributes={"class": 2}, hidden=4),
    ],
)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_the_loop_is_the_loop_written_by_hand(schedule, data):
    train, validation = data
    augmentation = guided.Augmentation(rotation=20, translation=0.1)
    rates = {"learning_rate": 2e-3, "adversary_learning_rate": 1e-3}
    config = replace(GUIDED, schedule=schedule, augmentation=augmentation, **rates)
    model = build_model(config, train, seed=3).train()
    main = torch.optim.Adam(model.main_parameters())
    adversary = torch.optim.Adam(model.adversary_parameters())
    for step in range(config.steps):
        order = torch.randperm(20, generator=generator(3, "batches", step // 2))
        rows = order[:8] if step % 2 == 0 else order[8:16]
        factor = (1 + math.cos(math.pi * step / 6)) / 2 if schedule == "cosine" else 1
        main.param_groups[0]["lr"] = 2e-3 * factor
        adversary.param_groups[0]["lr"] = 1e-3 * factor
        targets = {"class": train.labels["class"][rows]}
        chance = generator(3, "pretrain", "augmentation", step)
        noise = generator(3, "pretrain", "noise", step)
        objective = model.objective(
            augmentation(train.images[rows].float() / 255, chance),
            targets,
            kl_warmup=min(1, (step + 1) / 4),
            generator=noise,
        )
        main.zero_grad()
        objective.total.backward()
        main.step()
        adversary.zero_grad()
        model.adversary_losses(objective.z, targets)["adversary/class"].backward()
        adversary.step()
    trained = guided.pretrain(train, validation, config, seed=3).model
    before = build_model(config, train, seed=3).state_dict()
    for name, value in trained.state_dict().items():
        torch.testing.assert_close(value, model.state_dict()[name], rtol=1e-5, atol=1e-6)
        assert not torch.equal(value, before[name]), f"{name} was never trained"


def test_batches_hold_each_view_with_its_labels_in_order(data, monkeypatch):
    train, seen, whole = data[0], [], guided.GuidedVAE.objective

    def spy(model, images, targets, **settings):
        seen.append((images, targets["class"]))
        return whole(model, images, targets, **settings)

    monkeypatch.setattr(guided.GuidedVAE, "objective", spy)
    config = replace(GUIDED, shuffle=False, steps=3, augmentation=guided.Augmentation(views=2))
    guided.pretrain(*data, config)
    for start, (images, labels) in zip((0, 8, 0), seen, strict=True):  # of 20 images, by 8
        rows = torch.arange(start, start + 8).repeat(2)
        assert torch.equal(images, train.images[rows].float() / 255)
        assert torch.equal(labels, train.labels["class"][rows])


def test_a_run_is_a_function_of_its_seed(data, tmp_path):
    """Neither the global random state nor logging and saving have a part in it."""
    torch.manual_seed(1)
    first = guided.pretrain(*data, GUIDED, seed=0)
    torch.manual_seed(2)
    np.random.seed(2)  # noqa: NPY002
    state = torch.get_rng_state()
    files = {"log_folder": tmp_path / "log", "state_file": tmp_path / "state"}
    again = guided.pretrain(*data, GUIDED, seed=0, **files)
    assert torch.equal(state, torch.get_rng_state())
    same(first.model.state_dict(), again.model.state_dict())
    same(first.encoder.state_dict(), again.encoder.state_dict())
    assert first.progress == again.progress
    other = guided.pretrain(*data, GUIDED, seed=1)
    assert first.progress.history != other.progress.history


class ScriptedScore:
    """Returns given scores, whatever the encoder; remembers the encoders."""

    def __init__(self, *scores):
        self.scores, self.seen = scores, []

    def __call__(self, encoder):
        assert not encoder.training
        self.seen.append(copy.deepcopy(encoder.state_dict()))
        return self.scores[len(self.seen) - 1]


def test_the_best_encoder_is_kept_and_the_model_goes_on_until_patience_ends(data):
    score = ScriptedScore(3.0, 2.0, 2.5, 2.0, 1.0)
    result = guided.pretrain(*data, PLAIN, steps=20, patience=2, score=score)
    same(result.encoder.state_dict(), score.seen[1])
    same(result.model.vae.encoder.state_dict(), score.seen[3])
    assert not torch.equal(score.seen[1]["head.weight"], score.seen[3]["head.weight"])
    assert (result.progress.best_step, result.progress.best_score) == (4, 2.0)
    history = [(entry["step"], entry["score"]) for entry in result.progress.history]
    assert history == [(2, 3.0), (4, 2.0), (6, 2.5), (8, 2.0)]
    assert not result.encoder.training


def test_without_a_score_the_negative_elbo_judges_the_last_step_too(data):
    result = guided.pretrain(*data, PLAIN, steps=5, seed=2)
    history = result.progress.history
    assert [entry["step"] for entry in history] == [2, 4, 5]
    expected = negative_elbo(result.model, data[1].images, seed=2)
    assert history[-1] == expected | {"step": 5, "score": expected["negative_elbo"]}


def test_a_score_of_numpy_s_is_kept_like_a_float(data, tmp_path):
    settings = {"score": lambda _: np.float64(1.5), "state_file": tmp_path / "state.pt"}
    first = guided.pretrain(*data, PLAIN, steps=4, **settings)
    longer = guided.pretrain(*data, PLAIN, steps=6, **settings)
    assert [entry["step"] for entry in longer.progress.history] == [2, 4, 6]
    assert longer.progress.history[:2] == first.progress.history


def test_without_the_elbo_no_untrained_decoder_is_judged(data):
    guidance = [guided.ExcitationInhibition(attributes={"class": 2})]
    score = ScriptedScore(3.0, 2.0)
    settings = {"guidance": guidance, "elbo": False, "steps": 4, "score": score}
    history = guided.pretrain(*data, PLAIN, **settings).progress.history
    assert history == [{"score": 3.0, "step": 2}, {"score": 2.0, "step": 4}]


def test_settings_replace_those_of_the_configuration(data):
    """Without validation the last state is kept."""
    changed = guided.pretrain(config=PLAIN, train=data[0], steps=3, seed=1)
    whole = guided.pretrain(data[0], config=replace(PLAIN, steps=3), seed=1)
    assert changed.progress.best_step == changed.progress.step == 3
    same(changed.model.state_dict(), whole.model.state_dict())
    same(changed.vae.state_dict(), changed.model.vae.state_dict())


@pytest.mark.parametrize("batch_size", [1024, 4])
def test_negative_elbo_is_that_of_torch_distributions(batch_size, data):
    model = build_model(PLAIN, data[0], seed=0).train()
    images = (data[1].images > 127).byte() * 255
    values = negative_elbo(model, images, seed=5, batch_size=batch_size)
    vae, rng = model.eval().vae, generator(5, "validation")
    z = torch.cat([vae.posterior(chunk).sample(rng) for chunk in images.split(batch_size)])
    log_p = Bernoulli(vae.decode(z)).log_prob(images / 255).sum((1, 2, 3))
    posterior = vae.posterior(images)
    q = Normal(posterior.mean, (0.5 * posterior.logvar).exp())
    kl = kl_divergence(q, Normal(0.0, 1.0)).sum(1)
    assert values["reconstruction"] == pytest.approx(-log_p.mean().item(), rel=1e-5)
    assert values["kl"] == pytest.approx(kl.mean().item(), rel=1e-5)
    assert values["negative_elbo"] == values["reconstruction"] + values["kl"]


@pytest.mark.parametrize(("warmup", "kl_weights"), [(4, [1.5, 2]), (0, [2, 2])])
def test_the_log_holds_curves_and_pictures(warmup, kl_weights, data, tmp_path, read_scalars):
    augmentation = guided.Augmentation(rotation=9)
    config = replace(GUIDED, kl_weight=2, kl_warmup=warmup, augmentation=augmentation)
    result = guided.pretrain(*data, config, log_every=3, log_folder=tmp_path)
    scalars = read_scalars(tmp_path)
    guidance = {"deformable_pca", "orthogonality", "excitation/class", "inhibition/class"}
    terms = {"reconstruction", "kl"} | guidance
    values = {"reconstruction", "kl", "negative_elbo"}
    expected = {f"3_loss/{name}" for name in terms | {"adversary/class", "total"}}
    weighted = {tag for tag in scalars if tag.startswith("3_loss_weighted/")}
    assert set(scalars) - weighted == expected | {f"1_validation/{name}" for name in values}
    for tag in weighted:  # shown only where it is another curve
        assert scalars[tag] != scalars[tag.replace("_weighted", "")]
    for tag, curve in scalars.items():
        assert set(curve) == ({2, 4, 6} if tag.startswith("1_validation/") else {3, 6}), tag
    for entry in result.progress.history:
        for name in values:
            logged = scalars[f"1_validation/{name}"][int(entry["step"])]
            assert logged == pytest.approx(entry[name], rel=1e-6)
    for step, weight in zip((3, 6), kl_weights, strict=True):
        kl = weight * scalars["3_loss/kl"][step]
        assert scalars["3_loss_weighted/kl"][step] == pytest.approx(kl, rel=1e-5)
        found = [f"3_loss_weighted/{name}" for name in terms]
        found = [tag if tag in weighted else tag.replace("_weighted", "") for tag in found]
        total = sum(scalars[tag][step] for tag in found)
        assert scalars["3_loss/total"][step] == pytest.approx(total, rel=1e-6)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    pictures = {"augmentation", "samples", "traversals_basis", "attribute_traversals"}
    pictures |= {"progress/inputs", "progress/reconstructions", "progress/traversals"}
    assert pictures < set(events.Tags()["images"])
    assert events.Tags()["histograms"] == ["kl_per_latent"]
