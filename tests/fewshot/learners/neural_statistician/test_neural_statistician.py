"""The Neural Statistician against plain loops, and what each of its terms moves."""

from functools import partial

import pytest
import torch
from torch.distributions import Beta, Normal, kl_divergence

import fewshot
from fewshot.episodes import Episodes, Setting
from fewshot.learners.neural_statistician import learner as neural_statistician
from fewshot.learners.neural_statistician.learner import NeuralStatistician
from fewshot.learners.neural_statistician.set_vae import SetVAE
from fewshot.meta_train import TrainConfig, meta_train
from fewshot.sampler import EpisodeSampler
from guided.errors import InputError
from guided.seeds import generator, seeded_initialisation
from guided.vae import Posterior

SMALL = {"context_dim": 6, "latent_dim": 3, "hidden": 16}
GUIDED = {"n_classes": 12, "excitation": 2.0, "excited": 4, "inhibition": 3.0}
JUDGED = Setting(4, 1, 3)


def normal(mean, logvar):
    return Normal(mean, (0.5 * logvar).exp())


def of(posterior, dimensions=6):
    return normal(posterior.mean[..., :dimensions], posterior.logvar[..., :dimensions])


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


@pytest.mark.parametrize(
    ("settings", "compared"), [({}, 6), (GUIDED, 6), ({**GUIDED, "compare": "excited"}, 4)]
)
def test_queries_go_to_the_class_of_the_least_divergence(
    encoder, make_episodes, settings, compared
):
    learner = made(encoder, **settings).double().eval()
    episodes = make_episodes(3, 4, 2, 2, d=8)
    logits = learner.logits(episodes)
    for e in range(3):
        for i, query in enumerate(episodes.query[e].flatten(0, 1)):
            own = of(learner.model.context(query[None]), compared)
            for c in range(4):
                of_class = of(learner.model.context(episodes.support[e, c]), compared)
                torch.testing.assert_close(logits[e, i, c], -kl_divergence(of_class, own).sum())


def test_a_context_is_of_the_images_that_are_kept_and_knows_their_number(model):
    features = torch.randn(2, 5, 8, dtype=torch.float64)
    kept = torch.tensor([[True, False, True, False, False], [False, True, True, True, True]])
    context = model.context(features, kept)
    for s in range(2):
        alone = model.context(features[s, kept[s]])
        torch.testing.assert_close(context.mean[s], alone.mean)
        torch.testing.assert_close(context.logvar[s], alone.logvar)
    one = features[:1, :1]
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
        return normal(*network(torch.cat(inputs)[None])[0].chunk(2))

    (p1, p2), (q1, q2) = model.priors, model.posteriors
    nll, kl_z, kl_c = [], [], []
    for s in range(3):
        q_c = of(model.context(features[s]))
        c = q_c.mean
        kl_c.append(kl_divergence(q_c, Normal(0.0, 1.0)).sum() / 4)
        for x, h in zip(images[s], features[s], strict=True):
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


def test_each_term_of_guidance_moves_its_own_part(encoder, images):
    learner = made(encoder, **GUIDED)
    means = learner.model.after_pooling[-1].weight

    def moved(term):
        learner.zero_grad()
        learner.terms(images)[term].backward()
        names = [n for n, p in learner.named_parameters() if p.grad is not None and p.grad.any()]
        return {name.split(".")[0] for name in names}

    assert moved("excitation") == {"encoder", "model", "classifier"}
    assert means.grad[:6].any(1).tolist() == [True] * 4 + [False] * 2
    assert moved("inhibition") == {"encoder", "model"}
    assert means.grad[:6].any(1).tolist() == [False] * 4 + [True] * 2
    assert moved("adversary") == {"adversary"}
    for weights in learner.adversary[-1].parameters():
        torch.nn.init.zeros_(weights)
    nothing_known = learner.terms(images)["inhibition"].detach()
    assert float(nothing_known) == pytest.approx(0, abs=1e-6)


def test_mixup_mixes_contexts_and_labels_alike(encoder, monkeypatch):
    learner = made(encoder, **GUIDED, mixup=0.2)
    share = neural_statistician._beta(0.2, 20_000, generator(0, "test")).double()
    assert float(share.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(share.var()) == pytest.approx(float(Beta(0.2, 0.2).variance), abs=0.005)
    inside, classes, share = torch.randn(8, 4), torch.arange(8), torch.linspace(0, 1, 8)
    monkeypatch.setattr(neural_statistician, "_beta", lambda *_: share)
    found = learner._excitation(inside, classes, generator(0, "test"))
    partner = torch.randperm(8, generator=generator(0, "test"))
    mixed = share[:, None] * inside + (1 - share[:, None]) * inside[partner]
    log_p = learner.classifier(mixed).log_softmax(1)
    expected = -(share * log_p[classes, classes] + (1 - share) * log_p[classes, partner]).mean()
    torch.testing.assert_close(found, expected)


def test_the_loss_weighs_its_terms_with_the_noise_of_its_step(encoder, images, tmp_path):
    learner = made(encoder, **GUIDED, halve_alpha_every=3).train()
    learner.steps += 3
    terms = {name: float(term.detach()) for name, term in learner.terms(images).items()}
    expected = (
        1.5 * terms["reconstruction"]
        + (terms["kl_latent"] + terms["kl_context"]) / 1.5
        + 2 * terms["excitation"]
        + 3 * terms["inhibition"]
        + terms["adversary"]
    )
    assert float(learner.loss(images).detach()) == pytest.approx(expected, rel=1e-5)
    learner.save(tmp_path / "learner.safetensors")
    resumed = made(encoder, **GUIDED).restore(tmp_path / "learner.safetensors")
    assert int(resumed.steps) == 4
    following = learner.terms(images)["kl_context"]
    assert torch.equal(resumed.terms(images)["kl_context"], following)
    assert float(following.detach()) != terms["kl_context"]


@pytest.mark.parametrize("settings", [{}, {**GUIDED, "mixup": 0.2, "latent_layers": 2}])
def test_it_learns_to_tell_new_classes_apart(encoder, make_bank, settings):
    train, held_out = make_bank(12, noise=15), make_bank(8, noise=15, seed=5)
    factory = partial(NeuralStatistician, **(SMALL | {"hidden": 32}), **settings)
    config = TrainConfig(Setting(6, 1, 4), steps=400, learning_rate=0.003, validation=JUDGED)
    trained = meta_train(config, factory, encoder, train, held_out, seed=0).learner
    with seeded_initialisation(0, "test"):
        untrained = factory(encoder)
    before, after = (
        fewshot.evaluate(learner, held_out, n_way=4, n_query=5, episodes=50).error
        for learner in (untrained, trained)
    )
    assert after < 0.5 * before, (before, after)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"excitation": 1.0}, "n_classes: guidance needs the number of training classes"),
        ({**GUIDED, "excited": 6}, "excited: 6 of context_dim 6; inhibition needs others"),
        ({**GUIDED, "excited": 0}, "excited: all of context_dim 6; inhibition needs others"),
        ({"compare": "excited"}, "compare: .excited. needs excitation > 0"),
        ({"sample_dropout": 1.0}, r"sample_dropout: expected in \[0, 1\), got 1"),
        ({"latent_layers": 0}, "latent_layers: expected at least 1, got 0"),
    ],
)
def test_impossible_settings(encoder, settings, message):
    with pytest.raises(InputError, match=rf"^NeuralStatistician\.{message}"):
        made(encoder, **settings)


def test_what_it_cannot_be_trained_on_is_said(encoder, bank, images, make_episodes):
    with pytest.raises(InputError, match="meta-training needs images; set freeze_encoder"):
        made(encoder).loss(make_episodes(d=8))
    with pytest.raises(InputError, match="episodes that name their classes"):
        made(encoder, **GUIDED).loss(Episodes(images.support, images.query))
    factory = partial(NeuralStatistician, **SMALL, **(GUIDED | {"n_classes": 11}))
    config = TrainConfig(Setting(4, 1, 3), steps=1, validation=JUDGED)
    with pytest.raises(InputError, match="n_classes: made for 11 training classes, there are 12"):
        meta_train(config, factory, encoder, bank, bank, seed=0)
