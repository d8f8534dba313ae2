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
PROTOTYPICAL = partial(Prototypical)


@pytest.fixture(scope="module")
def banks(make_bank):
    """Training and validation classes, hard enough for an untrained network to err."""
    both = make_bank(20, noise=60.0)
    return both.classes(range(14)), both.classes(range(14, 20))


def changed(before: Encoder, after: Encoder) -> set[str]:
    old, new = before.state_dict(), after.state_dict()
    return {name for name in new if name not in old or not torch.equal(old[name], new[name])}


def identical(one: Encoder, other: Encoder) -> bool:
    return one.state_dict().keys() == other.state_dict().keys() and not changed(one, other)


def config(**changes):
    return TrainConfig(**{**vars(SHORT), **changes})


def plain_loop(settings, encoder, train, seed):
    """The same training as a script would have it; the encoder of the last step."""
    model = copy.deepcopy(encoder).train()
    optimizer = torch.optim.Adam(model.parameters(), settings.learning_rate)
    sampler = EpisodeSampler(train, settings.setting, derive_seed(seed, "train"))
    rate, number = settings.learning_rate, 0
    for step in range(settings.steps):
        if step and settings.halve_every and step % settings.halve_every == 0:
            rate /= 2
        optimizer.param_groups[0]["lr"] = rate
        losses = []
        optimizer.zero_grad()
        drawn = [sampler[number + i] for i in range(settings.episodes_per_step)]
        number += settings.episodes_per_step
        rows = [d.support.flatten() for d in drawn] + [d.query.flatten() for d in drawn]
        embedded = model(train.images[torch.cat(rows)])
        n_support = sum(d.support.numel() for d in drawn)
        supports = embedded[:n_support].chunk(len(drawn))
        queries = embedded[n_support:].chunk(len(drawn))
        for support, query in zip(supports, queries, strict=True):
            prototypes = support.view(5, 1, -1).mean(1)
            scores = -(query[:, None] - prototypes[None]).square().sum(2)
            labels = torch.arange(5).repeat_interleave(3)
            losses.append(torch.nn.functional.cross_entropy(scores, labels))
        torch.stack(losses).mean().backward()
        optimizer.step()
    return model


@pytest.mark.parametrize("halve_every", [0, 2])
def test_equals_a_plain_loop(banks, encoder, halve_every):
    # Judged once, after the last step: what is kept is the last state.
    settings = config(halve_every=halve_every, validate_every=100)
    trained = meta_train(settings, PROTOTYPICAL, encoder, *banks, seed=4)
    expected = plain_loop(settings, encoder, banks[0], 4).state_dict()
    # Distances ignore a common offset: Adam turns the rounding errors of its gradient into steps.
    del expected["head.bias"]
    for name in expected:
        values = trained.encoder.state_dict()[name]
        torch.testing.assert_close(values, expected[name], rtol=1e-3, atol=1e-5)
    assert changed(encoder, trained.encoder)


def test_keeps_the_best_validation(banks, encoder):
    """The score is the error of the kept encoder on the first validation episodes."""
    trained = meta_train(SHORT, PROTOTYPICAL, encoder, *banks, seed=1)
    progress = trained.progress
    assert progress.best_step < progress.step == 7, "a seed whose last state is not its best"
    assert [entry["step"] for entry in progress.history] == [2, 4, 6, 7]
    assert progress.best_score == min(entry["score"] for entry in progress.history)
    judge = EpisodeSampler(banks[1], SHORT.validation, derive_seed(1, "validation"))
    embeddings = embed_bank(trained.encoder, banks[1])
    errors = episode_errors(Prototypical(trained.encoder), embeddings, judge, 8)
    assert float(errors.mean()) == progress.best_score
    assert not trained.encoder.training


def test_stops_when_patience_is_exhausted(banks, pixels):
    # A learning rate that changes nothing: no validation after the first improves.
    settings = config(steps=50, learning_rate=1e-30, patience=3, projection=4)
    progress = meta_train(settings, PROTOTYPICAL, pixels, *banks, seed=0).progress
    assert progress.best_step == 2
    assert progress.step == 2 + 3 * 2


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
def test_resumes_bit_for_bit(tmp_path, banks, encoder, at, frozen):
    settings = config(freeze_encoder=frozen, projection=5 if frozen else 0, halve_every=3)
    whole = meta_train(settings, PROTOTYPICAL, encoder, *banks, seed=1)
    file = tmp_path / "state.pt"
    with pytest.raises(InterruptedError_):
        interrupted = partial(Interrupted, at=at)
        meta_train(settings, interrupted, encoder, *banks, seed=1, state_file=file)
    assert file.exists() == (at >= 2), "written at each validation"
    torch.manual_seed(123)  # what else happened in the process does not matter
    resumed = meta_train(settings, PROTOTYPICAL, encoder, *banks, seed=1, state_file=file)
    assert identical(resumed.encoder, whole.encoder)
    assert resumed.progress == whole.progress


def test_resuming_does_not_start_again(tmp_path, banks, encoder):
    file = tmp_path / "state.pt"
    with pytest.raises(InterruptedError_):
        meta_train(SHORT, partial(Interrupted, at=5), encoder, *banks, seed=1, state_file=file)
    # Four steps are on disk, three remain.
    meta_train(SHORT, partial(Interrupted, at=3), encoder, *banks, seed=1, state_file=file)


def test_seeds_differ_and_the_callers_random_state_does_not_matter(banks, encoder):
    def trained(seed):
        return meta_train(config(steps=2, projection=4), PROTOTYPICAL, encoder, *banks, seed=seed)

    first = trained(0)
    before = torch.random.get_rng_state()
    assert identical(trained(0).encoder, first.encoder)
    assert torch.equal(before, torch.random.get_rng_state())
    assert not identical(trained(1).encoder, first.encoder)


def test_the_given_encoder_is_left_alone(banks, encoder):
    before = copy.deepcopy(encoder)
    meta_train(SHORT, PROTOTYPICAL, encoder, *banks, seed=0)
    assert identical(before, encoder)
    assert not encoder.training
    assert all(p.grad is None for p in encoder.parameters())


def test_a_translated_training_is_the_same_training(banks, encoder, monkeypatch):
    translated = []

    def counting(graph, inputs):
        def run(*values):
            translated.append(1)
            return graph.forward(*values)

        return run

    # Without torch's own code generator, which takes long and a C++ compiler.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=counting))
    plain = meta_train(SHORT, PROTOTYPICAL, encoder, *banks, seed=0)
    compiled = meta_train(config(compile=True), PROTOTYPICAL, encoder, *banks, seed=0)
    assert len(translated) == SHORT.steps  # validation is not translated
    for name, value in plain.encoder.state_dict().items():
        torch.testing.assert_close(compiled.encoder.state_dict()[name], value, msg=name)
    compiled.encoder(banks[1].images)
    assert len(translated) == SHORT.steps


@pytest.mark.parametrize("tasks", [None, partial(ClusterTasks, n_clusters=6, n_partitions=2)])
def test_images_of_episodes_can_be_deformed(banks, encoder, tasks):
    """Each image by its own, as its episode's number says; nothing else changes."""
    shown = []

    class Watching(Prototypical):
        def loss(self, episodes):
            shown.append(episodes)
            return super().loss(episodes)

    def images(augmentation, per_step):
        shown.clear()
        steps = 4 // per_step
        changes = {"augmentation": augmentation, "episodes_per_step": per_step, "steps": steps}
        changes["tasks"] = tasks
        meta_train(config(**changes), partial(Watching), encoder, *banks, seed=0)
        return torch.cat([torch.cat([e.support, e.query], 2).float() for e in shown])

    plain = images(Augmentation(), 2) / 255
    faint = images(Augmentation(translation=1e-6), 2)
    torch.testing.assert_close(faint, plain, atol=1e-4, rtol=0)
    turned = images(Augmentation(rotation=30), 2)
    assert not torch.isclose(turned, plain, atol=1e-3).flatten(3).all(3).any()
    torch.testing.assert_close(images(Augmentation(rotation=30), 1), turned)


def test_a_compiler_that_fails_is_one_line(banks, encoder, monkeypatch):
    def broken(graph, inputs):
        raise RuntimeError("no\ncompiler")

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=broken))
    with pytest.raises(InputError, match=r"^compile: .*torch\.compile failed: .*") as caught:
        meta_train(config(compile=True), PROTOTYPICAL, encoder, *banks, seed=0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, r"^steps: expected at least 1, got 0"),
        ({"episodes_per_step": 0}, r"^episodes_per_step: expected at least 1"),
        ({"validation_episodes": 0}, r"^validation_episodes: expected at least 1"),
        ({"validate_every": 0}, r"^validate_every: expected at least 1"),
        ({"log_every": 0}, r"^log_every: expected at least 1"),
        ({"projection": -1}, r"^projection: expected"),
        ({"learning_rate": 0.0}, r"^learning_rate: expected > 0"),
        ({"augmentation": Augmentation(rotation=1, views=2)}, r"^augmentation\.views: an episode"),
        ({"learning_rate": float("nan")}, r"^learning_rate: expected > 0"),
    ],
)
def test_impossible_configuration(changes, message):
    with pytest.raises(InputError, match=message):
        config(**changes)


def test_a_loss_that_explodes_is_named(banks, encoder):
    with pytest.raises(InputError, match=r"^loss: the loss is .* at step \d+; lower learning_rate"):
        meta_train(config(learning_rate=1e30), PROTOTYPICAL, encoder, *banks, seed=0)


def no_encoder(**changes):
    return config(freeze_encoder=True, **changes)


@pytest.mark.parametrize(
    ("settings", "learner", "message"),
    [
        (no_encoder(), PROTOTYPICAL, r"^train: nothing is left to train; set projection"),
        (
            no_encoder(projection=4),
            partial(Prototypical, batch_norm="support"),
            r"^freeze_encoder: needs a learner of embeddings",
        ),
        (
            config(compile=True),
            partial(Prototypical, batch_norm="support"),
            r"^compile: needs a learner of embeddings whose encoder is trained",
        ),
        (
            no_encoder(compile=True, projection=4),
            PROTOTYPICAL,
            r"^compile: needs a learner of embeddings whose encoder is trained",
        ),
        (
            no_encoder(augmentation=Augmentation(rotation=3), projection=4),
            PROTOTYPICAL,
            r"^augmentation: changes images",
        ),
        (
            config(setting=Setting(15, 1, 1)),
            PROTOTYPICAL,
            "n_way: 15 classes asked for, the set has 14",
        ),
        (
            config(validation=Setting(2, 1, 20)),
            PROTOTYPICAL,
            r"has 20 images; n_shot \+ n_query needs 21",
        ),
    ],
)
def test_impossible_trainings_are_refused(banks, encoder, settings, learner, message):
    with pytest.raises(InputError, match=message):
        meta_train(settings, learner, encoder, *banks, seed=0)


def test_pixels_have_nothing_to_train_but_a_projection(banks, pixels):
    with pytest.raises(InputError, match=r"^train: nothing is left to train; set projection"):
        meta_train(SHORT, PROTOTYPICAL, pixels, *banks, seed=0)
    trained = meta_train(config(projection=6), PROTOTYPICAL, pixels, *banks, seed=0).encoder
    assert changed(pixels, trained) == {"projection.weight", "projection.bias"}


# --- the call with settings by keyword ----------------------------------------------------------


def test_settings_by_keyword_are_those_of_a_configuration(banks, encoder):
    expected = meta_train(config(steps=3), PROTOTYPICAL, encoder, *banks, seed=2)
    for trained in (
        fewshot.train(Prototypical, encoder, *banks, SHORT, seed=2, steps=3),
        fewshot.train(PROTOTYPICAL, encoder, *banks, seed=2, **vars(config(steps=3))),
    ):
        assert identical(trained.encoder, expected.encoder)
        assert trained.progress == expected.progress


def test_an_unknown_setting_names_the_nearest(banks, encoder):
    message = r"^train: no setting is called 'step'; did you mean 'steps'\?"
    with pytest.raises(InputError, match=message):
        fewshot.train(Prototypical, encoder, *banks, step=5)


def test_a_learner_that_is_built_already_is_refused(banks, encoder):
    with pytest.raises(InputError, match=r"^learner: expected a class, got a Prototypical; pass"):
        fewshot.train(Prototypical(encoder), encoder, *banks)


@pytest.mark.parametrize("latents", ["all", "class"])
def test_a_frozen_encoder_trains_only_its_projection(banks, encoder, latents):
    chosen = encoder.select(latents)
    settings = config(freeze_encoder=True, projection=6)
    trained = meta_train(settings, PROTOTYPICAL, chosen, *banks, seed=0).encoder
    # Batch norm's running statistics among what stays.
    assert changed(chosen, trained) == {"projection.weight", "projection.bias"}
    assert (trained.latents, trained.out_dim) == (latents, 6)
    assert trained.projection.in_features == chosen.out_dim


def test_lowers_the_error_on_classes_it_never_saw(banks, encoder):
    settings = {"steps": 100, "setting": Setting(10, 1, 5), "learning_rate": 1e-2}
    trained = fewshot.train(Prototypical, encoder, *banks, SHORT, validate_every=20, **settings)
    before, after = (
        fewshot.evaluate(learner, banks[1], n_query=5, episodes=200, seed=77).error
        for learner in (Prototypical(encoder), trained.learner)
    )
    assert before > 20
    assert after < before / 2
