"""TensorBoard logs, read back with TensorBoard's own reader."""

import io

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from guided.training.log import RunLog


@pytest.mark.parametrize("active", [False, True])
def test_everything_can_be_read_back(active, tmp_path, monkeypatch, read_scalars):
    monkeypatch.chdir(tmp_path)
    with RunLog(tmp_path if active else None) as log:
        assert log.active == active
        for step in (1, 2):
            log.scalars("3_loss", {"kl": torch.tensor(step / 2), "excitation/class": 3.0}, step)
        log.images("inputs", torch.rand(3, 1, 4, 5), 2, columns=3)
        log.histogram("kl_per_latent", torch.arange(4.0), 2)
        log.figure("traversals", Figure(figsize=(1, 1)), 2)
        log.text("config", "*a*")
    if not active:
        assert list(tmp_path.iterdir()) == []
        return
    assert read_scalars(tmp_path) == {
        "3_loss/kl": {1: 0.5, 2: 1.0},
        "3_loss/excitation/class": {1: 3.0, 2: 3.0},
    }
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    tags = events.Tags()
    assert set(tags["images"]) == {"inputs", "traversals"}
    assert tags["histograms"] == ["kl_per_latent"]
    assert "config/text_summary" in tags["tensors"]
    assert events.SummaryMetadata("3_loss/kl").summary_description.startswith("KL divergence")
    (grid,) = events.Images("inputs")
    assert (grid.height, grid.width) == (4 + 2, 3 * 5 + 4)  # a border of one pixel
    (picture,) = events.Images("traversals")
    with Image.open(io.BytesIO(picture.encoded_image_string)) as shown:
        assert shown.size == (picture.width, picture.height)
        assert np.asarray(shown.convert("L")).min() == 255, "an empty figure"


def test_a_figure_is_drawn_once_for_the_log_and_a_file(tmp_path):
    with RunLog(tmp_path) as log:
        log.figure("traversals", Figure(figsize=(1, 1)), file=tmp_path / "traversals.png")
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    (picture,) = events.Images("traversals")
    assert picture.encoded_image_string == (tmp_path / "traversals.png").read_bytes()
