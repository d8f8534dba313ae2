"""Fixtures of the tests of ``guided``."""

from functools import partial

import numpy as np
import pytest
import torch

from guided import Bernoulli, Conv4, GuidedVAE


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Tiny networks gain nothing from threads, and sums then have one order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def make_images():
    """uint8 noise ``[n, channels, size, size]``, a function of its arguments."""

    def make(n=8, channels=1, size=16, seed=0):
        rng = torch.Generator().manual_seed(seed)
        shape = (n, channels, size, size)
        return torch.randint(0, 256, shape, generator=rng, dtype=torch.uint8)

    return make


@pytest.fixture
def read_scalars():
    """All scalars of a log folder: tag -> step -> value, as TensorBoard shows them."""

    def read(folder):
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        from tensorboard.util.tensor_util import make_ndarray

        events = EventAccumulator(str(folder), size_guidance={"tensors": 0})
        events.Reload()
        return {
            tag: {e.step: make_ndarray(e.tensor_proto).item() for e in events.Tensors(tag)}
            for tag in events.Tags()["tensors"]
            if events.SummaryMetadata(tag).plugin_data.plugin_name == "scalars"
        }

    return read


@pytest.fixture
def build_model():
    """A small model with the given guidance, in evaluation mode: 8 latents, 16×16 images."""

    def build(*guidance, channels=1, **settings):
        torch.manual_seed(0)
        model = GuidedVAE(
            backbone=partial(Conv4, width=4),
            likelihood=settings.pop("likelihood", None) or Bernoulli(),
            latent_dim=8,
            guidance=guidance,
            input_shape=(channels, 16, 16),
            categories={"class": 5, "smile": 2, "drawer": 3},
            **settings,
        )
        return model.eval()

    return build


@pytest.fixture
def sheet():
    """The pixels of a figure of one grid of images, ``[rows * H, columns * W(, 3)]``."""

    def pixels(figure):
        (axes,) = figure.axes
        return np.asarray(axes.images[0].get_array())

    return pixels


@pytest.fixture
def row_labels():
    """The labels of the rows of such a figure."""

    def labels(figure):
        (axes,) = figure.axes
        return [label.get_text() for label in axes.get_yticklabels()]

    return labels
