"""Pictures of attributes: rows of images, and the classifier's answers in their corners."""

import pytest
import torch

from guided import ExcitationInhibition, Gaussian
from guided.figures import traversal_along
from guided.guidance.excitation_inhibition import STEPS


def pictured(model, images):
    (guide,) = model.strategies
    (name, figure), *others = guide.figures(model.vae, images).items()
    assert name == "attribute_traversals" and not others
    return guide, figure


@pytest.mark.parametrize("channels", [1, 3])
def test_each_attribute_is_shown_on_three_images(
    channels, build_model, make_images, sheet, row_labels
):
    guidance = ExcitationInhibition(attributes={"class": 3, "smile": 1}, hidden=4)
    likelihood = Gaussian() if channels == 3 else None
    model = build_model(guidance, channels=channels, likelihood=likelihood)
    images = make_images(9, channels)
    guide, figure = pictured(model, images)
    assert row_labels(figure) == ["class", "", "", "smile", "", ""]
    (axes,) = figure.axes
    columns = [label.get_text() for label in axes.get_xticklabels()]
    assert columns == ["image", "unchanged", "-3", "-2", "-1", "+0", "+1", "+2", "+3"]
    pictures = torch.from_numpy(sheet(figure)).view(6, 16, 9, 16, channels).permute(0, 2, 4, 1, 3)
    chosen = images[[0, 4, 8]]
    posterior, codes = model.vae.posterior(images), model.vae.posterior(chosen).mean
    for rows, (name, place) in zip(
        pictures.split(3), {"class": slice(3), "smile": slice(3, 4)}.items(), strict=True
    ):
        torch.testing.assert_close(rows[:, 0], chosen.float() / 255)
        axis = torch.zeros(8)
        axis[place] = guide.direction(name)
        moved = traversal_along(codes, axis, posterior, STEPS)
        with torch.no_grad():
            torch.testing.assert_close(rows[:, 1], model.vae.decode(codes).clamp(0, 1))
            last = model.vae.decode(moved[:, -1]).clamp(0, 1)
        torch.testing.assert_close(rows[:, -1], last, rtol=1e-4, atol=1e-5)
        # The classifier's answer rises with the place.
        logits = guide.predict(name, moved.flatten(0, 1)).unflatten(0, (3, -1))
        if name == "smile":
            assert ((logits[..., 1] - logits[..., 0]).diff() > 0).all()


def test_corners_hold_the_classifiers_answers(build_model, make_images):
    guidance = ExcitationInhibition(attributes={"class": 3, "smile": 1}, hidden=4)
    model, images = build_model(guidance), make_images(9)
    guide, figure = pictured(model, images)
    # By the column and the row, counted from 1, at whose lower right corner they stand.
    words = {
        tuple(round(end / 16 + 0.03, 6) for end in text.get_position()): text.get_text()
        for text in figure.axes[0].texts
    }
    assert len(words) == 2 * 3 * (1 + len(STEPS))
    codes = model.vae.posterior(images[[0, 4, 8]]).mean
    for row, category in enumerate(guide.predict("class", codes).argmax(1).tolist()):
        assert words[2, row + 1] == str(category)
    for row, p in enumerate(guide.predict("smile", codes).softmax(1)[:, 1].tolist()):
        assert words[2, row + 4] == f"{p:.0%}"


def test_an_attribute_within_another_has_no_answers(build_model, make_images, sheet, row_labels):
    guidance = ExcitationInhibition(attributes={"drawer within class": 3, "smile": 1}, hidden=4)
    _, figure = pictured(build_model(guidance), make_images(2))
    assert sheet(figure).shape == (4 * 16, 9 * 16)
    assert row_labels(figure)[0] == "drawer\nwithin class"
    assert min(text.get_position()[1] for text in figure.axes[0].texts) > 2 * 16
