"""All figures of a model: their names and what they show."""

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from guided import DeformablePCA, ExcitationInhibition
from guided.figures import (
    log_inputs,
    log_pictures,
    log_progress,
    picture_figures,
    reconstructed,
    traversal_figures,
)
from guided.training import RunLog


def test_reconstructions_follow_their_inputs(build_model, make_images):
    vae, images = build_model().vae, make_images(3)
    pictures = reconstructed(vae, images)
    torch.testing.assert_close(pictures[:3], images.float() / 255)
    torch.testing.assert_close(pictures[3:], vae.decode(vae.encoder(images)))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_models_pictures_and_their_rows(channels, build_model, make_images, sheet, row_labels):
    images = make_images(30, channels)
    figures = picture_figures(build_model(DeformablePCA(), channels=channels), images)
    assert {name: len(row_labels(figure)) for name, figure in figures.items()} == {
        "traversals": 8,
        "traversals_light_decoder": 8,
        "traversals_basis": 6,
        "principal_components": 1,
        "samples": 10,
        "reconstructions": 2,
    }
    assert sheet(figures["samples"]).shape[:2] == (160, 160)
    shown = sheet(figures["reconstructions"])
    expected = images[0].permute(1, 2, 0).squeeze(-1) / 255
    np.testing.assert_allclose(shown[:16, :16], expected, atol=1e-6)
    unguided = picture_figures(build_model(channels=channels), images)
    assert set(unguided) == {"traversals", "samples", "reconstructions"}


def test_figures_of_the_same_name_are_numbered(build_model, make_images):
    twice = [ExcitationInhibition(attributes={name: 1}) for name in ("smile", "class")]
    figures = traversal_figures(build_model(*twice), make_images(9))
    assert list(figures) == ["traversals", "attribute_traversals", "attribute_traversals_2"]


def test_pictures_of_a_model_are_logged(build_model, make_images, tmp_path):
    with RunLog(tmp_path) as log:
        log_pictures(log, build_model(DeformablePCA()), make_images(20), 5)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    figures = {"traversals", "traversals_light_decoder", "traversals_basis", "principal_components"}
    assert set(events.Tags()["images"]) == figures | {"reconstructions", "samples"}


def test_pictures_of_a_training_are_of_the_same_images(build_model, make_images, tmp_path):
    images = make_images(20)
    with RunLog(tmp_path) as log:
        log_inputs(log, images)
        for step in (5, 10):
            log_progress(log, build_model(), images, step)
    events = EventAccumulator(str(tmp_path), size_guidance={"images": 0}).Reload()
    (inputs,) = events.Images("progress/inputs")
    assert (inputs.step, inputs.height, inputs.width) == (0, 17 + 1, 16 * 17 + 1)
    both = events.Images("progress/reconstructions")  # 16 images above theirs
    assert [shown.step for shown in both] == [5, 10]
    assert (both[0].height, both[0].width) == (2 * 17 + 1, 16 * 17 + 1)
    moved = events.Images("progress/traversals")[1]  # eight latents, nine values of each
    assert (moved.step, moved.height, moved.width) == (10, 8 * 17 + 1, 9 * 17 + 1)
