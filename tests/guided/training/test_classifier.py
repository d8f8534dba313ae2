"""The classifier whose features measure samples."""

from functools import partial

import pytest
import torch

from guided import Conv4, InputError, LabelledImages
from guided.training.classifier import ClassifierConfig, train_classifier

CONFIG = ClassifierConfig(backbone=partial(Conv4, width=4), steps=40, batch_size=16)


def quadrants(n, seed):
    """The class is the quadrant that is bright."""
    rng = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 100, (n, 1, 16, 16), generator=rng, dtype=torch.uint8)
    labels = torch.arange(n) % 4
    for i, label in enumerate(labels.tolist()):
        row, column = 8 * (label // 2), 8 * (label % 2)
        images[i, 0, row : row + 8, column : column + 8] += 100
    return LabelledImages(images, {"class": labels})


def test_it_learns_what_can_be_learned():
    config = ClassifierConfig(backbone=partial(Conv4, width=8), steps=80, batch_size=16)
    classifier = train_classifier(config, quadrants(64, 0))
    test = quadrants(80, 1)
    assert not classifier.training
    assert classifier.error(test.images, test.labels["class"]) < 5
    assert classifier.error(test.images, test.labels["class"], batch_size=7) < 5
    assert classifier.encoder.out_dim == 8


def test_error_is_the_share_of_wrong_answers():
    train = quadrants(32, 0)
    classifier = train_classifier(
        ClassifierConfig(backbone=CONFIG.backbone, steps=1, batch_size=32), train
    )
    predicted = classifier(train.images).argmax(1)
    wrong = [int(a != b) for a, b in zip(predicted, train.labels["class"], strict=True)]
    error = classifier.error(train.images, train.labels["class"])
    assert error == pytest.approx(100 * sum(wrong) / 32)


def test_it_is_a_function_of_its_seed():
    def trained(seed):
        config = ClassifierConfig(backbone=CONFIG.backbone, steps=3, batch_size=8, seed=seed)
        return train_classifier(config, quadrants(20, 0))

    first, again, other = (trained(seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["answer.weight"], other["answer.weight"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps: expected at least 1"),
        ({"batch_size": 1}, "batch_size: expected at least 2"),
        ({"seed": -1}, "seed: expected at least 0"),
        ({"learning_rate": 0.0}, "learning_rate: expected > 0"),
    ],
)
def test_impossible_settings(settings, message):
    with pytest.raises(InputError, match=message):
        ClassifierConfig(**settings)


def test_too_few_images_for_a_batch():
    with pytest.raises(InputError, match="batch_size: 16 is more than the 10 training images"):
        train_classifier(CONFIG, quadrants(10, 0))


def test_a_loss_that_explodes_is_named():
    config = ClassifierConfig(backbone=CONFIG.backbone, steps=3, batch_size=8, learning_rate=1e38)
    with pytest.raises(InputError, match="classification: the loss is"):
        train_classifier(config, quadrants(20, 0))
