"""Meta-training: it learns, equals a plain loop, resumes bit for bit, trains what it should."""

import copy
from functools import partial

import pytest
import torch

import fewshot
from fewshot.episodes import Setting
from fewshot.evaluation import embed_bank, episode_errors
from fewshot.learners.prototypical import Prototypical
from fewshot.meta_train import TrainConfig, meta_train
from fewshot.sampler import EpisodeSampler
from fewshot.tasks.clusters import ClusterTasks
from guided.augment import Augmentation
from guided.backbones import Pixels
from guided.encoder import Encoder
from guided.errors import InputError
from guided.seeds import derive_seed

SHORT = TrainConfig(
    setting=Setting(5, 1, 3),
    steps=7,
    episodes_per_step=2,
    validation=Setting(3, 1, 4),
    validation_episodes=8,
    validate_every=2,
    log_every=1,
)


@pytest.fixture(scope="module")
def banks(make_bank):
    """Training and validation classes, hard enough for an untrained network to err."""
    both = make_bank(20, noise=60.0)
    return both.classes(range(14)), both.classes(range(14, 20))


@pytest.fixture
def trained(banks, encoder):
    """Meta-train by settings that replace those of ``SHORT``; returns the result."""

    def run(learner=Prototypical, *, seed=1, start=encoder, state_file=None, **changes):
        settings = config(**changes)
        return meta_train(settings, learner, start, *banks, seed=seed, state_file=state_file)

    return run


def config(**changes):
    return TrainConfig(**{**vars(SHORT), **changes})


def changed(before, after):
    old, new = before.state_dict(), after.state_dict()
    return {name for name in new if name not in old or not torch.equal(old[name], new[name])}


def identical(one, other):
    return one.state_dict().keys() == other.state_dict().keys() and not changed(one, other)


def plain_loop(settings, encoder, train, seed):
    """The same training as a script would have it; the encoder of the last step."""
    model = copy.deepcopy(encoder).train()
    if settings.freeze_encoder:
        model.eval().requires_grad_(False)
        model.projection.requires_grad_()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, settings.learning_rate)
    sampler = EpisodeSampler(train, settings.setting, derive_seed(seed, "train"))
    for step in range(settings.steps):
        if settings.halve_every and step in (2, 4, 6):
            optimizer.param_groups[0]["lr"] /= 2
        drawn = [sampler[2 * step], sampler[2 * step + 1]]
        rows = [d.support.flatten() for d in drawn] + [d.query.flatten() for d in drawn]
        embedded = model(train.images[torch.cat(rows)])
        losses = []
        for i in range(2):
            prototypes, query = embedded[5 * i : 5 * i + 5], embedded[10 + 15 * i : 25 + 15 * i]
            scores = -(query[:, None] - prototypes[None]).square().sum(2)
            labels = torch.arange(5).repeat_interleave(3)
            losses.append(torch.nn.functional.cross_entropy(scores, labels))
        optimizer.zero_grad()
        torch.stack(losses).mean().backward()
        optimizer.step()
    return model


@pytest.mark.parametrize(
    "settings", [{}, {"halve_every": 2}, {"freeze_encoder": True, "projection": 5}]
)
def test_equals_a_plain_loop(banks, encoder, trained, settings):
    # Judged once, after the last step: what is kept is the last state.
    settings = {"validate_every": 100, **settings}
    before = copy.deepcopy(encoder)
    found = trained(seed=4, **settings).encoder.state_dict()
    assert identical(before, encoder), "the given encoder is copied"
    start = encoder
    if "projection" in settings:
        # No step, and so the weights that the projection begins with.
        start = trained(seed=4, **settings | {"steps": 1, "learning_rate": 1e-30}).encoder
    expected = plain_loop(config(**settings), start, banks[0], 4).state_dict()
    # Distances ignore a common offset: Adam turns the rounding errors of its gradient into steps.
    del expected["projection.bias" if "projection" in settings else "head.bias"]
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values, rtol=1e-3, atol=1e-5)


def test_keeps_the_best_validation(banks, trained):
    """The score is the error of the kept encoder on the first validation episodes."""
    found = trained()
    progress = found.progress
    assert progress.best_step < progress.step == 7, "a seed whose last state is not its best"
    assert [entry["step"] for entry in progress.history] == [2, 4, 6, 7]
    assert progress.best_score == min(entry["score"] for entry in progress.history)
    judge = EpisodeSampler(banks[1], SHORT.validation, derive_seed(1, "validation"))
    embeddings = embed_bank(found.encoder, banks[1])
    errors = episode_errors(Prototypical(found.encoder), embeddings, judge, 8)
    assert float(errors.mean()) == progress.best_score


def test_stops_when_patience_is_exhausted(trained):
    # A learning rate that changes nothing: no validation after the first improves.
    settings = {"steps": 50, "learning_rate": 1e-30, "patience": 3, "projection": 4}
    progress = trained(**PIXELS, **settings).progress
    assert (progress.best_step, progress.step) == (2, 2 + 3 * 2)


class InterruptedError_(Exception):
    pass


class Interrupted(Prototypical):
    """Raises at one call of its loss."""

    def __init__(self, encoder, *, at):
        super().__init__(encoder)
        self.left = at

    def loss(self, episodes):
        self.left -= 1
        if self.left < 0:
            raise InterruptedError_
        return super().loss(episodes)


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("at", [1, 3, 6])
def test_resumes_bit_for_bit(tmp_path, trained, at, frozen):
    settings = {"freeze_encoder": frozen, "projection": 5 if frozen else 0, "halve_every": 3}
    whole, file = trained(**settings), tmp_path / "state.pt"
    with pytest.raises(InterruptedError_):
        trained(partial(Interrupted, at=at), state_file=file, **settings)
    assert file.exists() == (at >= 2), "written at each validation"
    torch.manual_seed(123)  # what else happened in the process does not matter
    before = torch.random.get_rng_state()
    left = 7 - at // 2 * 2  # the steps done are not done again
    resumed = trained(partial(Interrupted, at=left), state_file=file, **settings)
    assert identical(resumed.encoder, whole.encoder)
    assert resumed.progress == whole.progress
    assert torch.equal(before, torch.random.get_rng_state())
    assert not identical(trained(seed=2, **settings).encoder, whole.encoder)


@pytest.mark.parametrize("tasks", [None, partial(ClusterTasks, n_clusters=6, n_partitions=2)])
def test_images_of_episodes_can_be_deformed(trained, tasks):
    """Each image by its own, as its episode's number says; nothing else changes."""
    shown = []

    class Watching(Prototypical):
        def loss(self, episodes):
            shown.append(torch.cat([episodes.support, episodes.query], 2).float())
            return super().loss(episodes)

    def images(per_step, **deformations):
        shown.clear()
        settings = {"episodes_per_step": per_step, "steps": 4 // per_step, "tasks": tasks}
        trained(Watching, augmentation=Augmentation(**deformations), **settings)
        return torch.cat(shown)

    plain = images(2) / 255
    torch.testing.assert_close(images(2, translation=1e-6), plain, atol=1e-4, rtol=0)
    turned = images(2, rotation=30)
    assert not torch.isclose(turned, plain, atol=1e-3).flatten(3).all(3).any()
    torch.testing.assert_close(images(1, rotation=30), turned)


READS_IMAGES = {"learner": partial(Prototypical, batch_norm="support")}
FROZEN = {"freeze_encoder": True}
PIXELS = {"start": Encoder(Pixels((1, 16, 16)), None)}
POSITIVE = ["steps", "episodes_per_step", "validation_episodes", "validate_every", "log_every"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *(({key: 0}, rf"TrainConfig\.{key}: expected at least 1, got 0") for key in POSITIVE),
        ({"projection": -1}, "TrainConfig.projection: expected"),
        ({"learning_rate": 0.0}, "TrainConfig.learning_rate: expected > 0"),
        ({"learning_rate": float("nan")}, "TrainConfig.learning_rate: expected > 0"),
        ({"learning_rate": 1e30}, r"loss: the loss is .* at step \d+; lower learning_rate"),
        ({"augmentation": Augmentation(rotation=1, views=2)}, r"augmentation\.views: an episode"),
        (FROZEN, "train: nothing is left to train; set projection"),
        (PIXELS, "train: nothing is left to train; set projection"),
        (FROZEN | READS_IMAGES, "freeze_encoder: needs a learner of embeddings"),
        (FROZEN | {"augmentation": Augmentation(rotation=3)}, "augmentation: changes images"),
        (FROZEN | {"tasks": partial(ClusterTasks)}, "tasks: are of images; freeze_encoder"),
        ({"setting": Setting(15, 1, 1)}, "n_way: 15 classes asked for, the set has 14"),
        (
            {"validation": Setting(2, 1, 20)},
            r"6 of 6 classes have too few images: .*; n_shot \+ n_query needs 21",
        ),
    ],
)
def test_impossible_trainings_are_refused(trained, changes, message):
    with pytest.raises(InputError, match=f"^{message}"):
        trained(**changes)


@pytest.mark.parametrize(
    ("start", "frozen"),
    [
        (lambda encoder: encoder, True),
        (lambda encoder: encoder.select("class"), True),
        (lambda encoder: PIXELS["start"], False),
    ],
)
def test_a_frozen_encoder_trains_only_its_projection(trained, encoder, start, frozen):
    """Batch norm's running statistics stay too; pixels have nothing else to train."""
    chosen = start(encoder)
    found = trained(start=chosen, freeze_encoder=frozen, projection=6).encoder
    assert changed(chosen, found) == {"projection.weight", "projection.bias"}
    assert (found.latents, found.out_dim) == (chosen.latents, 6)
    assert found.projection.in_features == chosen.out_dim


def test_a_frozen_encoder_leaves_the_learner_in_training(trained):
    """Whose number of inner steps, for one, is that of training."""
    seen = set()

    class Watching(Prototypical):
        def loss(self, episodes):
            seen.add((self.training, self.encoder.training))
            return super().loss(episodes)

    trained(Watching, freeze_encoder=True, projection=6)
    assert seen == {(True, False)}


def test_settings_by_keyword_are_those_of_a_configuration(banks, encoder, trained):
    expected = trained(steps=3)
    for found in (
        fewshot.train(Prototypical, encoder, *banks, SHORT, seed=1, steps=3),
        fewshot.train(partial(Prototypical), encoder, *banks, seed=1, **vars(config(steps=3))),
    ):
        assert identical(found.encoder, expected.encoder)
        assert found.progress == expected.progress
    with pytest.raises(InputError, match=r"^train: no setting .* 'step'; did you mean 'steps'"):
        fewshot.train(Prototypical, encoder, *banks, step=5)
    with pytest.raises(InputError, match=r"^learner: expected a class, got a Prototypical; pass"):
        fewshot.train(Prototypical(encoder), encoder, *banks)
