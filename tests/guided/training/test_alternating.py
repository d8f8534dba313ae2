"""Inhibition in a step of its own, after the adversary's."""

import copy
import math
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F

import guided
from guided.seeds import generator
from guided.training.pretrain import build_model

same = partial(torch.testing.assert_close, rtol=0, atol=0)

CONFIG = guided.PretrainConfig(
    backbone=partial(guided.Conv4, width=4),
    latent_dim=6,
    kl_warmup=0,
    steps=4,
    batch_size=20,
    learning_rate=2e-3,
    adversary_learning_rate=1e-3,
    schedule="cosine",
    shuffle=False,
    validate_every=2,
    log_every=1,
    guidance=[
        guided.DeformablePCA(deformations=("rotation",)),
        guided.ExcitationInhibition({"class": 2}, inhibition=3.0, hidden=4, steps="alternating"),
    ],
)


def test_the_loop_is_the_loop_written_by_hand(data):
    train, validation = data
    model = build_model(CONFIG, train, seed=3).train()
    main = torch.optim.Adam(model.main_parameters())
    adversary = torch.optim.Adam(model.adversary_parameters())
    network = model.guidance[1].adversaries["of class"]
    images, targets = train.images.float() / 255, {"class": train.labels["class"]}
    for step in range(4):
        for optimizer, rate in [(main, 2e-3), (adversary, 1e-3)]:
            optimizer.param_groups[0]["lr"] = rate * (1 + math.cos(math.pi * step / 4)) / 2
        objective = model.objective(
            images, targets, generator=generator(3, "pretrain", "noise", step)
        )
        assert "inhibition/class" not in objective.terms
        main.zero_grad()
        objective.total.backward()
        main.step()
        # Latent 0 is the rotation; the class has latents 1 and 2.
        z = objective.z.detach()
        adversary.zero_grad()
        F.cross_entropy(network(z[:, [0, 3, 4, 5]]), targets["class"]).backward()
        adversary.step()
        before = copy.deepcopy(model.state_dict())
        mean, logvar = model.vae.encoder.moments(images)
        fresh = torch.randn(mean.shape, generator=generator(3, "pretrain", "noise alone", step))
        z = mean + (logvar / 2).exp() * fresh
        p = network(z[:, [0, 3, 4, 5]]).softmax(1)
        main.zero_grad()
        (3 * (1 / 3 * (1 / 3 / p).log()).sum(1).mean()).backward()
        main.step()
        moved = {name for name, x in model.state_dict().items() if not torch.equal(x, before[name])}
        assert moved and all(name.startswith("vae.encoder.") for name in moved)
    trained = guided.pretrain(train, validation, CONFIG, seed=3).model
    for name, value in trained.state_dict().items():
        torch.testing.assert_close(value, model.state_dict()[name], rtol=1e-5, atol=1e-6)


def test_the_main_step_is_that_without_inhibition(data):
    """Of the first batch, with the same noise: the arms stay paired."""
    _, excitation = CONFIG.guidance
    found = {}
    for name, guidance in {
        "alternating": excitation,
        "excitation": replace(excitation, inhibition=0.0, steps="joint"),
        "joint": replace(excitation, steps="joint"),
    }.items():
        trainer = guided.training.step.Trainer(
            replace(CONFIG, guidance=[guidance]),
            build_model(replace(CONFIG, guidance=[guidance]), data[0], seed=3),
            data[0],
            3,
            torch.device("cpu"),
        )
        found[name] = trainer.step(0)
    alternating, joint = found["alternating"], found["joint"]
    same(alternating.objective.terms, found["excitation"].objective.terms)
    same(alternating.objective.z, joint.objective.z)
    same(alternating.adversary, joint.adversary)
    assert alternating.terms.keys() == joint.terms.keys()
    assert joint.alone is None
    # The adversary and the draw are others.
    term = float(alternating.terms["inhibition/class"].detach())
    assert term != float(joint.terms["inhibition/class"].detach())
    assert not torch.equal(alternating.alone.z, alternating.objective.z)


def test_alternating_without_inhibition_is_refused():
    with pytest.raises(guided.InputError, match=r"^ExcitationInhibition\.steps: alternating needs"):
        guided.ExcitationInhibition({"class": 2}, inhibition=0.0, steps="alternating")
