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
    model, images = build_model(DeformablePCA()), make_images(20)
    log_pictures(RunLog(None), model, images, 1, tmp_path)
    more = {"reconstructions", "traversed_image"}
    sheets = {path.stem: Sheet.load(path) for path in (tmp_path / "sheets").iterdir()}
    assert set(sheets) == {path.stem for path in tmp_path.glob("*.png")} | more
    assert all(sheets[name].rows == ("image", "reconstruction") for name in more)
    assert np.array_equal(sheets["traversed_image"].pixels[:16], images[10, 0].numpy())
    # Rows are by role, then by KL, which the bars show.
    kl = model.vae.posterior(images[10:11]).kl()[0].tolist()
    labels = dict(zip(model.vae.layout.labels(), kl, strict=True))
    moved = sheets["traversals"]
    assert moved.bars == pytest.approx([labels[row] for row in moved.rows], abs=1e-3)
    rest = [bar for row, bar in zip(moved.rows, moved.bars, strict=True) if "content" in row]
    assert rest == sorted(rest, reverse=True) and len(rest) > 2
    assert sheets["reconstructions"].bars == ()
