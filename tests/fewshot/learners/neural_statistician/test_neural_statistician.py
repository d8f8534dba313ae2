"""The Neural Statistician against plain loops, and what each of its terms moves."""

from functools import partial

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from fewshot.episodes import Episodes, Setting
from fewshot.evaluation import episode_errors, table_for
from fewshot.learners.neural_statistician import learner as neural_statistician
from fewshot.learners.neural_statistician.learner import NeuralStatistician
from fewshot.learners.neural_statistician.set_vae import SetVAE, divergence, pairwise_divergence
from fewshot.meta_train import TrainConfig, meta_train
from fewshot.sampler import EpisodeSampler
from guided.errors import InputError
from guided.seeds import generator, seeded_initialisation
from guided.vae import Posterior

SMALL = {"context_dim": 6, "latent_dim": 3, "hidden": 16}
GUIDED = {"n_classes": 12, "excitation": 2.0, "excited": 4, "inhibition": 3.0}


def posterior(*shape, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return Posterior(
        torch.randn(*shape, generator=rng, dtype=torch.float64),
        torch.randn(*shape, generator=rng, dtype=torch.float64),
    )


def normal(p):
    return Normal(p.mean, (0.5 * p.logvar).exp())


def made(encoder, **settings):
    with seeded_initialisation(0, "test"):
        return NeuralStatistician(encoder, **SMALL, **settings)


@pytest.fixture
def model(encoder):
    with seeded_initialisation(0, "test"):
        return SetVAE(encoder, **SMALL, latent_layers=2).double()


@pytest.fixture
def images(bank):
    return EpisodeSampler(bank, Setting(4, 1, 3), seed=1).batch(0, 2).gather(bank.images)


def test_divergences_are_those_of_torch():
    q, p = posterior(2, 3, 5), posterior(2, 4, 5, seed=1)
    pairs = pairwise_divergence(q, p)
    assert pairs.shape == (2, 4, 3)
    for e in range(2):
        for i in range(4):
            for j in range(3):
                of = (
                    Posterior(q.mean[e, j], q.logvar[e, j]),
                    Posterior(p.mean[e, i], p.logvar[e, i]),
                )
                expected = kl_divergence(normal(of[0]), normal(of[1]))
                torch.testing.assert_close(divergence(*of), expected)
                torch.testing.assert_close(pairs[e, i, j], expected.sum())


def test_queries_go_to_the_class_of_the_least_divergence(encoder, make_episodes):
    learner = made(encoder).double().eval()
    episodes = make_episodes(3, 4, 2, 2, d=8)
    logits = learner.logits(episodes)
    for e in range(3):
        for i, query in enumerate(episodes.query[e].flatten(0, 1)):
            own = normal(learner.model.context(query[None]))
            for c in range(4):
                of_class = normal(learner.model.context(episodes.support[e, c]))
                torch.testing.assert_close(logits[e, i, c], -kl_divergence(of_class, own).sum())


def test_only_excited_dimensions_are_compared_where_asked_for(encoder, make_episodes):
    learner = made(encoder, **GUIDED, compare="excited").double().eval()
    episodes = make_episodes(1, 4, 2, 2, d=8)
    classes = learner.model.context(episodes.support[0])
    queries = learner.model.context(episodes.query[0].flatten(0, 1).unsqueeze(1))
    p = Posterior(queries.mean[:, None, :4], queries.logvar[:, None, :4])
    q = Posterior(classes.mean[None, :, :4], classes.logvar[None, :, :4])
    torch.testing.assert_close(learner.logits(episodes)[0], -divergence(q, p).sum(2))


def test_dropped_images_are_as_if_they_were_not_there(model):
    features = torch.randn(2, 5, 8, dtype=torch.float64)
    kept = torch.tensor([[True, False, True, False, False], [False, True, True, True, True]])
    context = model.context(features, kept)
    for s in range(2):
        alone = model.context(features[s, kept[s]])
        torch.testing.assert_close(context.mean[s], alone.mean)
        torch.testing.assert_close(context.logvar[s], alone.logvar)


def test_a_context_knows_how_many_images_it_is_of(model):
    one = torch.randn(1, 1, 8, dtype=torch.float64)
    assert not torch.allclose(model.context(one).mean, model.context(one.repeat(1, 3, 1)).mean)


def test_something_is_kept_whatever_the_dropout():
    kept = neural_statistician._kept(torch.Size([4000, 3]), 0.9, generator(0, "test"))
    assert kept.any(1).all()
    # Each with probability 0.1, and one where all three would go.
    assert float(kept.sum(1).double().mean()) == pytest.approx(3 * 0.1 + 0.9**3, abs=0.02)
    assert neural_statistician._kept(torch.Size([50, 3]), 0.0, generator(0, "test")).all()


def test_terms_set_by_set_and_image_by_image(model, monkeypatch):
    """Two layers of z, drawn at their means: every KL by torch, every likelihood by hand."""
    monkeypatch.setattr(Posterior, "sample", lambda self, noise: self.mean)
    images = torch.rand(3, 4, 1, 16, 16, dtype=torch.float64)
    features = torch.randn(3, 4, 8, dtype=torch.float64)
    kept = torch.ones(3, 4, dtype=torch.bool)
    model.eval()
    found = model.terms(images, features, kept, generator(0, "test"))

    def gaussian(network, *inputs):
        return normal(Posterior(*network(torch.cat(inputs)[None])[0].chunk(2)))

    (p1, p2), (q1, q2) = model.priors, model.posteriors
    nll, kl_z, kl_c = [], [], []
    for s in range(3):
        q_c = normal(model.context(features[s]))
        c = q_c.mean
        kl_c.append(kl_divergence(q_c, Normal(0.0, 1.0)).sum() / 4)
        for i in range(4):
            x, h = images[s, i], features[s, i]
            z2 = gaussian(q2, h, c)
            z1 = gaussian(q1, h, z2.mean, c)
            kl_z.append(
                kl_divergence(z2, gaussian(p2, c)).sum()
                + kl_divergence(z1, gaussian(p1, z2.mean, c)).sum()
            )
            ink = model.decoder(torch.cat([z1.mean, z2.mean, c])[None])[0].sigmoid()
            nll.append(-(x * ink.log() + (1 - x) * (1 - ink).log()).sum())
    torch.testing.assert_close(found.reconstruction, torch.stack(nll).mean())
    torch.testing.assert_close(found.kl_latent, torch.stack(kl_z).mean())
    torch.testing.assert_close(found.kl_context, torch.stack(kl_c).mean())


def gradients(learner, images, term):
    learner.zero_grad()
    learner.terms(images)[term].backward()
    return {name for name, p in learner.named_parameters() if p.grad is not None and p.grad.any()}


def test_each_term_of_guidance_moves_its_own_part(encoder, images):
    learner = made(encoder, **GUIDED)
    last = learner.model.after_pooling[-1]

    def moved_means():
        return last.weight.grad[: SMALL["context_dim"]].abs().sum(1) > 0

    moved = gradients(learner, images, "excitation")
    assert any(name.startswith("classifier") for name in moved)
    assert not any("adversary" in name or "decoder" in name for name in moved)
    assert moved_means().tolist() == [True] * 4 + [False] * 2
    moved = gradients(learner, images, "inhibition")
    assert not any("adversary" in name or "classifier" in name for name in moved)
    assert moved_means().tolist() == [False] * 4 + [True] * 2
    moved = gradients(learner, images, "adversary")
    assert moved
    assert all(name.startswith("adversary") for name in moved)


def test_inhibition_is_zero_for_an_adversary_that_knows_nothing(encoder, images):
    learner = made(encoder, **GUIDED)
    torch.nn.init.zeros_(learner.adversary[-1].weight)
    torch.nn.init.zeros_(learner.adversary[-1].bias)
    assert float(learner.terms(images)["inhibition"].detach()) == pytest.approx(0, abs=1e-6)


def test_mixup_mixes_contexts_and_labels_alike(encoder, monkeypatch):
    learner = made(encoder, **GUIDED, mixup=0.2)
    inside, classes = torch.randn(8, 4), torch.arange(8)
    share = torch.linspace(0, 1, 8)
    monkeypatch.setattr(neural_statistician, "_beta", lambda *_: share)
    found = learner._excitation(inside, classes, generator(0, "test"))
    partner = torch.randperm(8, generator=generator(0, "test"))
    mixed = share[:, None] * inside + (1 - share[:, None]) * inside[partner]
    log_p = learner.classifier(mixed).log_softmax(1)
    row = torch.arange(8)
    expected = -(share * log_p[row, classes] + (1 - share) * log_p[row, classes[partner]]).mean()
    torch.testing.assert_close(found, expected)


def test_mixing_weights_have_the_moments_of_a_beta():
    share = neural_statistician._beta(0.2, 20_000, generator(0, "test")).double()
    assert float(share.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(share.var()) == pytest.approx(1 / (4 * (2 * 0.2 + 1)), abs=0.005)


def test_the_loss_weighs_its_terms(encoder, images):
    learner = made(encoder, **GUIDED, halve_alpha_every=3).train()
    learner.steps += 3
    terms = {name: float(term.detach()) for name, term in learner.terms(images).items()}
    loss = float(learner.loss(images).detach())
    expected = (
        1.5 * terms["reconstruction"]
        + (terms["kl_latent"] + terms["kl_context"]) / 1.5
        + 2 * terms["excitation"]
        + 3 * terms["inhibition"]
        + terms["adversary"]
    )
    assert loss == pytest.approx(expected, rel=1e-5)
    assert int(learner.steps) == 4


def test_noise_is_a_function_of_the_step_and_survives_the_file(encoder, images, tmp_path):
    learner, other = made(encoder, **GUIDED), made(encoder, **GUIDED)
    learner.loss(images)
    at_one = float(learner.loss(images).detach())
    assert at_one != float(learner.loss(images).detach())
    other.loss(images)
    other.save(tmp_path / "learner.safetensors")
    resumed = made(encoder, **GUIDED).restore(tmp_path / "learner.safetensors")
    assert int(resumed.steps) == 1
    assert float(resumed.loss(images).detach()) == at_one


@pytest.mark.parametrize("settings", [{}, {**GUIDED, "mixup": 0.2, "latent_layers": 2}])
def test_it_learns_to_tell_new_classes_apart(encoder, make_bank, settings):
    train, held_out = make_bank(12, noise=15), make_bank(8, noise=15, seed=5)
    factory = partial(NeuralStatistician, **(SMALL | {"hidden": 32}), **settings)
    shape = Setting(6, 1, 4)
    config = TrainConfig(shape, steps=400, learning_rate=0.003, validation=Setting(4, 1, 3))
    trained = meta_train(config, factory, encoder, train, held_out, seed=0).learner
    with seeded_initialisation(0, "test"):
        untrained = factory(encoder)
    judge = EpisodeSampler(held_out, Setting(4, 1, 5), seed=2)
    before, after = (
        float(episode_errors(learner, table_for(learner, held_out), judge, 50).mean())
        for learner in (untrained, trained)
    )
    assert after < 0.5 * before, (before, after)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"excitation": 1.0}, "n_classes: guidance needs the number of training classes"),
        ({**GUIDED, "excited": 6}, "excited: 6 of context_dim 6; inhibition needs others"),
        ({"compare": "excited"}, "compare: .excited. needs excitation > 0"),
        ({"sample_dropout": 1.0}, r"sample_dropout: expected in \[0, 1\), got 1"),
        ({"latent_layers": 0}, "latent_layers: expected > 0, got 0"),
    ],
)
def test_impossible_settings(encoder, settings, message):
    with pytest.raises(InputError, match=rf"^NeuralStatistician\.{message}"):
        made(encoder, **settings)


def test_more_classes_than_the_classifier_has(encoder, bank):
    factory = partial(NeuralStatistician, **SMALL, **(GUIDED | {"n_classes": 11}))
    config = TrainConfig(Setting(4, 1, 3), steps=1, validation=Setting(4, 1, 3))
    with pytest.raises(InputError, match="n_classes: made for 11 training classes, there are 12"):
        meta_train(config, factory, encoder, bank, bank, seed=0)


def test_what_cannot_be_trained_is_said(encoder, images, make_episodes):
    with pytest.raises(InputError, match="meta-training needs images; set freeze_encoder"):
        made(encoder).loss(make_episodes(d=8))
    with pytest.raises(InputError, match="episodes that name their classes"):
        made(encoder, **GUIDED).loss(Episodes(images.support, images.query))
