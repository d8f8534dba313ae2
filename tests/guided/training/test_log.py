"""TensorBoard logs, read back with TensorBoard's own reader."""

from collections.abc import Callable
from pathlib import Path

import torch
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from guided.training.log import RunLog

Scalars = Callable[[Path], dict[str, dict[int, float]]]


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with RunLog(None) as log:
        assert not log.active
        log.scalars("loss", {"kl": 1.0}, 1)
        log.images("inputs", torch.zeros(1, 1, 4, 4), 1)
        log.histogram("kl", torch.zeros(3), 1)
        log.figure("traversals", Figure(), 1)
        log.text("config", "a", 1)
    assert list(tmp_path.iterdir()) == []


def test_everything_can_be_read_back(tmp_path, read_scalars):
    with RunLog(tmp_path) as log:
        assert log.active
        for step in (1, 2):
            log.scalars("loss", {"kl": torch.tensor(step / 2), "excitation/class": 3.0}, step)
        log.images("inputs", torch.rand(3, 1, 4, 5), 2, columns=3)
        log.histogram("kl_per_latent", torch.arange(4.0), 2)
        log.figure("traversals", Figure(figsize=(1, 1)), 2)
        log.text("config", "*a*")
    assert read_scalars(tmp_path) == {
        "loss/kl": {1: 0.5, 2: 1.0},
        "loss/excitation/class": {1: 3.0, 2: 3.0},
    }
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    tags = events.Tags()
    assert set(tags["images"]) == {"inputs", "traversals"}
    assert tags["histograms"] == ["kl_per_latent"]
    assert tags["tensors"] == ["config/text_summary"]
    (grid,) = events.Images("inputs")
    assert (grid.height, grid.width) == (4 + 2, 3 * 5 + 4)  # a border of one pixel
