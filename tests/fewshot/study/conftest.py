"""The tiny study's configuration, images and trainings in name alone; intervals by margins."""

import math

import pytest
from scipy.stats import t

import fewshot.meta_train
import fewshot.study.arms
import fewshot.study.run
from fewshot.commands.compare import CompareConfig
from fewshot.config import load
from guided.training.pretrain import Pretrained, build_model
from guided.training.state import Progress


def margins_interval(values):
    """Student's intervals of both margins, that of episodes without its noise."""
    s, e = values.shape
    of_seed, of_episode = values.mean(1), values.mean(0)
    total = values.var() * s * e
    rest = total - s * e * (of_seed.var() + of_episode.var())
    noise = rest / ((s - 1) * (e - 1)) / (s * e)
    seeds = t.ppf(0.975, s - 1) ** 2 * of_seed.var(ddof=1) / s
    episodes = t.ppf(0.975, e - 1) ** 2 * max(of_episode.var(ddof=1) / e - noise, 0)
    half = math.sqrt(seeds + episodes)
    return values.mean() - half, values.mean() + half


@pytest.fixture(scope="session")
def crossed_interval():
    return margins_interval


@pytest.fixture(scope="module")
def parsed(finished):
    return load(CompareConfig, finished.config)


@pytest.fixture(scope="module")
def splits(parsed, shared_cache):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEWSHOT_CACHE", str(shared_cache))
        return parsed.dataset(None).splits()


def without_training(monkeypatch):
    """Replace training by a note of what would have been trained."""
    trained = []

    def pretrain(train, validation, config, *, seed, description, score, **__):
        trained.append(description if score else f"{description}, by ELBO")
        model = build_model(config, train, seed)
        return Pretrained(model.vae.eval(), model, Progress(best_score=1.0))

    def meta_train(config, learner, encoder, *_, description, **__):
        trained.append(description)
        return fewshot.meta_train.MetaTrained(learner(encoder), Progress(best_score=1.0))

    monkeypatch.setattr(fewshot.study.arms, "pretrain", pretrain)
    monkeypatch.setattr(fewshot.study.run, "meta_train", meta_train)
    monkeypatch.setattr(fewshot.study.run, "diagnose", lambda *_, **__: [])
    return trained


@pytest.fixture(scope="session")
def patch_training():
    return without_training


@pytest.fixture
def shallow(monkeypatch):
    """What would have been trained."""
    return without_training(monkeypatch)
