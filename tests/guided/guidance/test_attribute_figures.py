"""Pictures of attributes: rows of images, and the classifier's answers in their corners."""

import pytest
import torch

from guided import ExcitationInhibition, Gaussian
from guided.figures import traversal_along
from guided.guidance.excitation_inhibition import STEPS


@pytest.mark.parametrize("channels", [1, 3])
@torch.no_grad()
def test_each_attribute_is_shown_on_three_images(
    channels, build_model, make_images, sheet, row_labels
):
    guidance = ExcitationInhibition(attributes={"class": 3, "smile": 1}, hidden=4)
    likelihood = Gaussian() if channels == 3 else None
    model = build_model(guidance, channels=channels, likelihood=likelihood)
    images, (guide,) = make_images(9, channels), model.strategies
    figure = guide.figures(model.vae, images)["attribute_traversals"]
    assert row_labels(figure) == ["class", "", "", "smile", "", ""]
    (axes,) = figure.axes
    columns = [label.get_text() for label in axes.get_xticklabels()]
    assert columns == ["image", "unchanged", "-3", "-2", "-1", "+0", "+1", "+2", "+3"]
    pictures = torch.from_numpy(sheet(figure)).view(6, 16, 9, 16, channels).permute(0, 2, 4, 1, 3)
    chosen = images[[0, 4, 8]]
    posterior, codes = model.vae.posterior(images), model.vae.posterior(chosen).mean
    for rows, name, place in (
        (pictures[:3], "class", slice(3)),
        (pictures[3:], "smile", slice(3, 4)),
    ):
        axis = torch.zeros(8)
        axis[place] = guide.direction(name)
        moved = traversal_along(codes, axis, posterior, STEPS)
        torch.testing.assert_close(rows[:, 0], chosen.float() / 255)
        torch.testing.assert_close(rows[:, 1], model.vae.decode(codes).clamp(0, 1))
        last = model.vae.decode(moved[:, -1]).clamp(0, 1)
        torch.testing.assert_close(rows[:, -1], last, rtol=1e-4, atol=1e-5)
    # The texts of the column "unchanged", from top to bottom.
    texts = sorted(axes.texts, key=lambda text: text.get_position()[1])
    answers = [text.get_text() for text in texts if 16 < text.get_position()[0] <= 32]
    likeliest = guide.predict("class", codes).argmax(1).tolist()
    smiles = guide.predict("smile", codes).softmax(1)[:, 1].tolist()
    assert answers == [*map(str, likeliest), *(f"{p:.0%}" for p in smiles)]


def test_an_attribute_within_another_has_no_answers(build_model, make_images, sheet, row_labels):
    guidance = ExcitationInhibition(attributes={"drawer within class": 3, "smile": 1}, hidden=4)
    model = build_model(guidance)
    figure = model.strategies[0].figures(model.vae, make_images(2))["attribute_traversals"]
    assert sheet(figure).shape == (4 * 16, 9 * 16)
    assert row_labels(figure)[0] == "drawer\nwithin class"
    assert min(text.get_position()[1] for text in figure.axes[0].texts) > 2 * 16
