"""Refusals of pretraining: impossible settings, and losses that are not finite."""

import math
from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch

from guided import (
    Conv4,
    Guidance,
    GuidanceModule,
    InputError,
    LabelledImages,
    PretrainConfig,
    pretrain,
)

CONFIG = PretrainConfig(
    backbone=partial(Conv4, width=4),
    latent_dim=6,
    kl_warmup=4,
    steps=6,
    batch_size=8,
    validate_every=2,
    log_every=1,
)


@pytest.fixture
def data(make_images):
    return LabelledImages(make_images(20)), LabelledImages(make_images(6))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("latent_dim", 0),
        ("steps", 0),
        ("validate_every", 0),
        ("log_every", -1),
        ("batch_size", 1),
        ("kl_warmup", -5),
        ("patience", -1),
        ("learning_rate", 0.0),
        ("learning_rate", math.nan),
        ("adversary_learning_rate", -1.0),
    ],
)
def test_impossible_settings_name_their_key(key, value):
    with pytest.raises(InputError, match=f"^{key}: .*got {value}"):
        replace(CONFIG, **{key: value})


def test_a_batch_larger_than_the_data_is_refused(data):
    with pytest.raises(InputError, match="batch_size: 21 is more than the 20 training images"):
        pretrain(*data, replace(CONFIG, batch_size=21), seed=0)


@dataclass(frozen=True)
class Poison(Guidance):
    """Its loss, or only its gradient, is not a number at one step."""

    step: int
    gradient: bool = False

    def build(self, context):
        return PoisonModule(self)


class PoisonModule(GuidanceModule):
    def __init__(self, settings):
        super().__init__()
        self.step, self.gradient, self.calls = settings.step, settings.gradient, 0

    @property
    def weights(self):
        return {"poison": 1.0}

    def losses(self, images, posterior, z, targets):
        self.calls += 1
        if self.calls != self.step:
            return {"poison": 0 * z.sum()}
        return {"poison": (0 * z.sum()).sqrt() if self.gradient else z.sum() * math.nan}


@pytest.mark.parametrize("log_every", [1, 100])
@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize("step", [3, 4])
def test_a_loss_that_is_no_number_stops_and_spares_the_state_before(
    step, gradient, log_every, data, tmp_path
):
    """The poisoned step may be logged or validated, or neither."""
    path = tmp_path / "state"
    config = replace(CONFIG, log_every=log_every)
    poisoned = replace(config, guidance=[Poison(step=step, gradient=gradient)])
    with pytest.raises(
        InputError, match=r"^[a-z_]+: the loss is nan at step [345];.*learning_rate"
    ):
        pretrain(*data, poisoned, seed=0, state_file=path)
    healthy = replace(config, guidance=[Poison(step=-1)])
    resumed = pretrain(*data, healthy, seed=0, state_file=path)
    whole = pretrain(*data, healthy, seed=0)
    weights = whole.model.state_dict()
    for name, value in resumed.model.state_dict().items():
        assert torch.equal(value, weights[name]), name
    assert resumed.progress == whole.progress


@pytest.mark.parametrize(("step", "log_every"), [(3, 1), (4, 100)])
def test_the_term_that_is_no_number_is_named(step, log_every, data):
    guidance = [Poison(step=step)]
    with pytest.raises(InputError, match=rf"^poison: the loss is nan at step {step}"):
        pretrain(*data, replace(CONFIG, guidance=guidance, log_every=log_every), seed=0)


def test_an_unknown_setting_is_named_with_the_nearest(data):
    with pytest.raises(InputError, match="no setting is called 'step'; did you mean 'steps'"):
        pretrain(*data, step=3)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(20, 1, 8, 8), "train: expected an image bank or LabelledImages, got Tensor"),
        (LabelledImages(torch.zeros(20, 1, 8, 8)), r"train: expected uint8 images .*float32"),
        (
            LabelledImages(torch.zeros(20, 1, 8, 8, dtype=torch.uint8), {"a": torch.arange(19)}),
            "train: 19 labels of 'a' for 20 images",
        ),
    ],
)
def test_what_are_no_images_is_refused(images, message):
    with pytest.raises(InputError, match=message):
        pretrain(images, config=CONFIG)


def test_patience_needs_something_to_wait_for(data):
    with pytest.raises(InputError, match="patience: needs validation images or a score"):
        pretrain(data[0], config=CONFIG, patience=2)
