"""The classifier whose features measure samples."""

from functools import partial

import pytest
import torch

from guided import Conv4, InputError, LabelledImages
from guided.training.classifier import ClassifierConfig, train_classifier

config = partial(ClassifierConfig, backbone=partial(Conv4, width=8), steps=3, batch_size=16)


def quadrants(n, seed=0):
    """The class is the quadrant that is bright."""
    rng = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 100, (n, 1, 16, 16), generator=rng, dtype=torch.uint8)
    labels = torch.arange(n) % 4
    for i, label in enumerate(labels.tolist()):
        row, column = 8 * (label // 2), 8 * (label % 2)
        images[i, 0, row : row + 8, column : column + 8] += 100
    return LabelledImages(images, {"class": labels})


def test_it_learns_what_can_be_learned():
    classifier = train_classifier(config(steps=80), quadrants(64))
    assert not classifier.training
    test = quadrants(80, 1)
    images, labels = test.images, test.labels["class"]
    assert classifier.error(images, labels) < 5
    # The error is the share of wrong answers.
    untrained = train_classifier(config(steps=1), quadrants(64))
    wrong = untrained(images).argmax(1) != labels
    for batch_size in (7, 1000):
        error = untrained.error(images, labels, batch_size)
        assert error == pytest.approx(100 * sum(wrong.tolist()) / 80)


def test_it_is_a_function_of_its_seed():
    first, again, other = (
        train_classifier(config(seed=seed), quadrants(20)).state_dict() for seed in (0, 0, 1)
    )
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert not torch.equal(first["answer.weight"], other["answer.weight"])


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("steps", 0, "steps: expected at least 1"),
        ("batch_size", 1, "batch_size: expected at least 2"),
        ("seed", -1, "seed: expected at least 0"),
        ("learning_rate", 0.0, "learning_rate: expected > 0"),
        ("learning_rate", 1e38, "classification: the loss is"),
        ("batch_size", 21, "batch_size: 21 is more than the 20 training images"),
    ],
)
def test_impossible_settings_and_losses_are_named(name, value, message):
    with pytest.raises(InputError, match=message):
        train_classifier(config(**{name: value}), quadrants(20))
