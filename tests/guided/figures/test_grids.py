"""Grids of images: every image lies where its labels are."""

import numpy as np
import pytest
import torch

from guided.figures import labelled_rows, sheet_figure, spaced


@pytest.mark.parametrize("channels", [1, 3])
def test_images_lie_where_their_labels_are(channels, sheet, row_labels):
    images = torch.rand(2, 3, channels, 4, 5)
    figure = labelled_rows(images, ["rotation", "content 0"], ["-1", "0", "1"])
    assert row_labels(figure) == ["rotation", "content 0"]
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["-1", "0", "1"]
    found = torch.from_numpy(sheet(figure)).reshape(2, 4, 3, 5, channels)
    assert torch.equal(found.permute(0, 2, 4, 1, 3), images)


def test_values_outside_the_range_are_drawn_as_the_nearest_inside(sheet):
    images = torch.tensor([-0.5, 0.0, 1.0, 1.5]).view(1, 4, 1, 1, 1).expand(1, 4, 3, 2, 2)
    assert sheet(labelled_rows(images, ["row"], [""] * 4))[0, ::2, 0].tolist() == [0, 0, 1, 1]


def test_corner_texts_belong_to_the_last_images_of_their_row():
    images = torch.zeros(2, 3, 1, 10, 20)
    (axes,) = labelled_rows(images, ["", ""], [""] * 3, [[], ["a", "b"]]).axes
    placed = {text.get_text(): text.get_position() for text in axes.texts}
    assert placed == {"a": pytest.approx((39.4, 19.7)), "b": pytest.approx((59.4, 19.7))}


def test_sheets_fill_the_last_row_with_grey(sheet, row_labels):
    images = torch.rand(7, 1, 4, 5)
    figure = sheet_figure(images, columns=3)
    assert row_labels(figure) == ["1", "4", "7"]
    np.testing.assert_array_equal(sheet(figure)[4:8, 5:10], images[4, 0])
    assert (sheet(figure)[8:, 5:] == 0.5).all()
    assert row_labels(sheet_figure(images)) == ["1"]


def test_spaced_images_span_all_of_them():
    images = torch.arange(9)
    assert spaced(images, 3).tolist() == [0, 4, 8]
    assert spaced(images, 20).tolist() == list(range(9))
