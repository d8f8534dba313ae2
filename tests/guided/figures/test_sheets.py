"""Sheets: a figure's images at their own resolution, with its labels."""

import numpy as np
import pytest
import torch

from guided import DeformablePCA
from guided.figures import Sheet, labelled_rows, log_pictures
from guided.training import RunLog


@pytest.mark.parametrize("channels", [1, 3])
def test_a_sheet_keeps_pixels_and_labels(channels, tmp_path):
    images = torch.rand(2, 3, channels, 5, 4)
    sheet = Sheet.of(labelled_rows(images, ["a", "<b>"], ["x", "", "−3"]))
    assert (sheet.rows, sheet.columns) == (("a", "<b>"), ("x", "", "−3"))
    place = sheet.pixels[5:10, 8:12].reshape(5, 4, channels)
    expected = (255 * images[1, 2]).round().permute(1, 2, 0).numpy()
    assert np.abs(place - expected).max() <= 1
    sheet.save(tmp_path / "s.png")
    again = Sheet.load(tmp_path / "s.png")
    assert np.array_equal(again.pixels, sheet.pixels)
    assert (again.rows, again.columns) == (sheet.rows, sheet.columns)


def test_a_training_leaves_sheets_beside_its_pictures(build_model, make_images, tmp_path):
    log_pictures(RunLog(None), build_model(DeformablePCA()), make_images(20), 1, tmp_path)
    names = {path.stem for path in (tmp_path / "sheets").iterdir()}
    assert names == {path.stem for path in tmp_path.glob("*.png")} | {"reconstructions"}
    assert Sheet.load(tmp_path / "sheets" / "reconstructions.png").rows == (
        "image",
        "reconstruction",
    )
