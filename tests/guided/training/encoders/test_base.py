"""Encoders with a training of their own: what a training sees, and what becomes of its encoder."""

from dataclasses import dataclass

import pytest
import torch

import guided
from guided.backbones import Backbone
from guided.training.encoders import build_encoder


class Distances(Backbone):
    """Distances to one image for each class."""

    def __init__(self, input_shape, *, classes):
        super().__init__(input_shape, classes=classes)
        self.feature_dim = classes
        self.register_buffer("means", torch.zeros(classes, *input_shape).flatten(1))
        self.scale = torch.nn.Parameter(torch.rand(()))

    def forward(self, images):
        return self.scale * torch.cdist(images.flatten(1), self.means)

    def decoder(self, latent_dim):
        raise NotImplementedError


@dataclass(frozen=True)
class ClassMeans(guided.EncoderTraining):
    labels = ("class",)

    def build(self, images):
        classes = images.categories()["class"]
        return guided.Encoder(Distances(tuple(images.images.shape[1:]), classes=classes), None)

    def train(self, encoder, images, validation, context):
        assert set(images.labels) == {"class"}
        assert not encoder.training
        labels, pixels = images.labels["class"], encoder.normalised(images.images).flatten(1)
        encoder.train().backbone.means.copy_(
            torch.stack([pixels[labels == i].mean(0) for i in range(len(encoder.backbone.means))])
        )
        held_out = {} if validation is None else {"images": float(len(validation.images))}
        return [{"step": 0.0, "seed": float(context.seed), **held_out}]


@pytest.fixture
def images(make_images):
    """20 images of three classes; the class of four is unknown."""
    labels = torch.arange(20) % 5
    return guided.LabelledImages(
        make_images(20),
        {"class": labels.where(labels < 4, -1) + 10 * (labels == 3), "other": labels},
    )


def test_a_training_sees_the_labels_that_it_declares_and_is_kept_in_a_file(images, tmp_path):
    """Renumbered without gaps, -1 where they are unknown."""
    trained = guided.train_encoder(ClassMeans(), images, images, seed=3)
    encoder = trained.encoder
    assert list(trained.history) == [{"step": 0.0, "seed": 3.0, "images": 20.0}]
    assert not encoder.training
    for i in range(4):
        mean = images.images[torch.arange(20) % 5 == i].float().mean(0).flatten() / 255
        torch.testing.assert_close(encoder.backbone.means[i], mean)
    encoder.save(tmp_path / "encoder.safetensors")
    loaded = guided.Encoder.load(tmp_path / "encoder.safetensors")
    assert torch.equal(loaded(images.images), encoder(images.images))
    assert guided.train_encoder(ClassMeans(), images).history[0].keys() == {"step", "seed"}


def test_first_weights_are_a_function_of_the_seed(images):
    state = torch.get_rng_state()
    scales = [build_encoder(ClassMeans(), images, s).backbone.scale.item() for s in (0, 0, 1)]
    assert scales[0] == scales[1] != scales[2]
    assert torch.equal(torch.get_rng_state(), state)


def test_what_cannot_be_is_refused(images):
    unlabelled = guided.LabelledImages(images.images, {"other": images.labels["other"]})
    for run in (build_encoder, guided.train_encoder):
        with pytest.raises(
            guided.InputError, match="ClassMeans: needs labels of 'class'; the images have other"
        ):
            run(ClassMeans(), unlabelled)
    with pytest.raises(guided.InputError, match="did you mean 'device'"):
        guided.train_encoder(ClassMeans(), images, devise="cpu")
