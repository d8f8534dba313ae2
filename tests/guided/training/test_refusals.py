"""Refusals of pretraining: impossible settings, and losses that are not finite."""

import math
from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch

import guided
from guided import LabelledImages

CONFIG = guided.PretrainConfig(
    backbone=partial(guided.Conv4, width=4), latent_dim=6, steps=6, batch_size=8, validate_every=2
)


@pytest.mark.parametrize(
    ("value", "keys"),
    [
        (0, ["latent_dim", "steps", "validate_every", "log_every", "learning_rate"]),
        (-1, ["kl_warmup", "patience", "adversary_learning_rate"]),
        (1, ["batch_size"]),
        (math.nan, ["learning_rate"]),
    ],
)
def test_impossible_settings_name_their_key(value, keys):
    for key in keys:
        with pytest.raises(guided.InputError, match=rf"^PretrainConfig\.{key}: .*got {value}"):
            replace(CONFIG, **{key: value})


BYTES = torch.zeros(20, 1, 8, 8, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("images", "settings", "message"),
    [
        (BYTES, {}, "train: expected an image bank or LabelledImages, got Tensor"),
        (LabelledImages(BYTES.float()), {}, r"train: expected uint8 images .*float32"),
        (LabelledImages(BYTES, {"a": torch.arange(19)}), {}, "train: 19 labels of 'a' for 20"),
        (LabelledImages(BYTES), {"batch_size": 21}, "batch_size: 21 is more than the 20"),
        (LabelledImages(BYTES), {"patience": 2}, "patience: needs validation images or a score"),
        (LabelledImages(BYTES), {"step": 3}, "'step'; did you mean 'steps'"),
    ],
)
def test_what_does_not_fit_is_refused(images, settings, message):
    with pytest.raises(guided.InputError, match=message):
        guided.pretrain(images, config=CONFIG, **settings)


@dataclass(frozen=True)
class Poison(guided.Guidance):
    """Its loss, or only its gradient, is not a number at one step."""

    step: int
    gradient: bool = False

    def build(self, context):
        return PoisonModule(self)


class PoisonModule(guided.GuidanceModule):
    weights = {"poison": 1.0}  # noqa: RUF012

    def __init__(self, settings):
        super().__init__()
        self.step, self.gradient, self.calls = settings.step, settings.gradient, 0

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
    seen = not gradient and (log_every == 1 or step == 4)
    where = f"poison: the loss is nan at step {step}" if seen else "[a-z_]+: .* nan at step [345]"
    with pytest.raises(guided.InputError, match=f"^{where};.*learning_rate"):
        guided.pretrain(*data, poisoned, state_file=path)
    healthy = replace(config, guidance=[Poison(step=-1)])
    resumed = guided.pretrain(*data, healthy, state_file=path)
    whole = guided.pretrain(*data, healthy)
    states = resumed.model.state_dict(), whole.model.state_dict()
    torch.testing.assert_close(*states, rtol=0, atol=0)
    assert resumed.progress == whole.progress
