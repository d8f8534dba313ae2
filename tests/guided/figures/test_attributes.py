"""Pictures in which the latents of one attribute move and nothing else does."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from guided.backbones import Conv4
from guided.figures.attributes import STEPS, attribute_figures, moved_along
from guided.figures.traversals import spread, traversal_figures
from guided.guidance.deformable_pca import DeformablePCA
from guided.guidance.excitation_inhibition import ExcitationInhibition, ExcitationInhibitionModule
from guided.guided_vae import GuidedVAE
from guided.likelihoods import Bernoulli, Gaussian, Likelihood

NAME = "attribute_traversals"
SMILE = {"smile": 2, "class": 5, "drawer": 3}


def build(
    attributes: dict[str, int], channels: int = 1, likelihood: Likelihood | None = None
) -> GuidedVAE:
    torch.manual_seed(0)
    guidance = [ExcitationInhibition(attributes=attributes, hidden=4)] if attributes else []
    return GuidedVAE(
        backbone=partial(Conv4, width=4),
        likelihood=likelihood or Bernoulli(),
        latent_dim=8,
        guidance=guidance,  # type: ignore[arg-type]
        input_shape=(channels, 16, 16),
        categories=SMILE,
    ).eval()


def guide(model: GuidedVAE) -> ExcitationInhibitionModule:
    (found,) = model.strategies
    assert isinstance(found, ExcitationInhibitionModule)
    return found


def moved(model: GuidedVAE, name: str, images: Tensor, n: int = 4) -> tuple[Tensor, Tensor]:
    posterior = model.vae.posterior(images)
    codes = posterior.mean[:n]
    return codes, moved_along(model, guide(model), name, posterior, codes).detach()


def test_a_single_latent_goes_to_its_places_and_the_others_stay(
    make_images: Callable[..., Tensor],
) -> None:
    model, images = build({"class": 3, "smile": 1}), make_images(30)
    codes, there = moved(model, "smile", images)
    assert there.shape == (4, len(STEPS), 8)
    others = [0, 1, 2, 4, 5, 6, 7]
    assert torch.equal(there[..., others], codes[:, None, others].expand(-1, len(STEPS), -1))
    sign = guide(model).direction("smile").item()
    mean, deviation = model.vae.posterior(images).mean[:, 3].mean(), spread(model.vae, images)[3]
    places = (mean + sign * deviation * STEPS).expand(4, -1)
    torch.testing.assert_close(there[..., 3], places.detach())


def test_in_a_wider_slice_only_the_place_on_the_direction_changes(
    make_images: Callable[..., Tensor],
) -> None:
    model, images = build({"smile": 3}), make_images(30)
    codes, there = moved(model, "smile", images)
    axis = guide(model).direction("smile")
    assert torch.equal(there[..., 3:], codes[:, None, 3:].expand(-1, len(STEPS), -1))
    change = there[..., :3] - codes[:, None, :3]
    torch.testing.assert_close(change, (change @ axis)[..., None] * axis)
    places = there[..., :3] @ axis
    torch.testing.assert_close(places, places[:1].expand(4, -1))
    # The classifier's answer rises with the place.
    logits = guide(model).predict("smile", there.flatten(0, 1)).detach().unflatten(0, (4, -1))
    assert ((logits[..., 1] - logits[..., 0]).diff() > 0).all()


def test_a_place_of_one_is_a_standard_deviation_of_draws(
    make_images: Callable[..., Tensor],
) -> None:
    model, images = build({"smile": 3}), make_images(64)
    _, there = moved(model, "smile", images)
    axis = guide(model).direction("smile")
    step = ((there[0, -1] - there[0, 0])[:3] @ axis / 6).item()
    posterior, rng = model.vae.posterior(images), torch.Generator().manual_seed(0)
    draws = torch.cat([posterior.sample(rng)[:, :3] @ axis for _ in range(300)])
    assert step == pytest.approx(draws.std().item(), rel=0.03)


def sheet(figure: Any) -> np.ndarray:
    (axes,) = figure.axes
    return np.asarray(axes.images[0].get_array())


@pytest.mark.parametrize("channels", [1, 3])
def test_the_figure_shows_each_attribute_of_three_images(
    channels: int, make_images: Callable[..., Tensor]
) -> None:
    model = build({"class": 3, "smile": 1}, channels, Gaussian() if channels == 3 else None)
    images = make_images(9, channels)
    (figure,) = attribute_figures(model, images).values()
    (axes,) = figure.axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["class", "", "", "smile", "", ""]
    columns = [label.get_text() for label in axes.get_xticklabels()]
    assert columns == ["image", "as it is", "-3", "-2", "-1", "+0", "+1", "+2", "+3"]
    pictures = torch.from_numpy(sheet(figure)).view(6, 16, 9, 16, channels).permute(0, 2, 4, 1, 3)
    chosen = images[[0, 4, 8]]
    for attribute, name in enumerate(["class", "smile"]):
        rows = pictures[3 * attribute : 3 * attribute + 3]
        torch.testing.assert_close(rows[:, 0], chosen.float() / 255)
        posterior = model.vae.posterior(images)
        codes = model.vae.posterior(chosen).mean
        there = moved_along(model, guide(model), name, posterior, codes)
        with torch.no_grad():
            torch.testing.assert_close(rows[:, 1], model.vae.decode(codes).clamp(0, 1))
            last = model.vae.decode(there[:, -1]).clamp(0, 1)
        torch.testing.assert_close(rows[:, -1], last, rtol=1e-4, atol=1e-5)


def test_each_code_is_told_what_the_classifier_says(make_images: Callable[..., Tensor]) -> None:
    model, images = build({"class": 3, "smile": 1}), make_images(9)
    (figure,) = attribute_figures(model, images).values()
    (axes,) = figure.axes
    # By the column and the row, counted from 1, at whose lower right corner they stand.
    words = {
        tuple(round(end / 16 + 0.03, 6) for end in text.get_position()): text.get_text()
        for text in axes.texts
    }
    assert len(words) == 2 * 3 * (1 + len(STEPS))
    codes = model.vae.posterior(images[[0, 4, 8]]).mean
    for row, category in enumerate(guide(model).predict("class", codes).argmax(1).tolist()):
        assert words[2, row + 1] == str(category)
    for row, p in enumerate(guide(model).predict("smile", codes).softmax(1)[:, 1].tolist()):
        assert words[2, row + 4] == f"{p:.0%}"


def test_within_another_attribute_the_classifier_says_nothing(
    make_images: Callable[..., Tensor],
) -> None:
    model = build({"drawer within class": 3, "smile": 1})
    (figure,) = attribute_figures(model, make_images(9)).values()
    (axes,) = figure.axes
    assert sheet(figure).shape == (6 * 16, 9 * 16)
    assert axes.get_yticklabels()[0].get_text() == "drawer\nwithin class"
    assert min(text.get_position()[1] for text in axes.texts) > 3 * 16


def test_fewer_images_than_rows(make_images: Callable[..., Tensor]) -> None:
    (figure,) = attribute_figures(build({"smile": 1}), make_images(2)).values()
    assert sheet(figure).shape == (2 * 16, 9 * 16)


def test_without_supervised_guidance_there_is_no_such_figure(
    make_images: Callable[..., Tensor],
) -> None:
    assert attribute_figures(build({}), make_images(9)) == {}
    assert NAME not in traversal_figures(build({}), make_images(9))
    assert NAME in traversal_figures(build({"smile": 2}), make_images(9))


def test_two_guidances_share_the_figure(make_images: Callable[..., Tensor]) -> None:
    torch.manual_seed(0)
    model = GuidedVAE(
        backbone=partial(Conv4, width=4),
        likelihood=Bernoulli(),
        latent_dim=8,
        guidance=[
            ExcitationInhibition(attributes={"smile": 1}),
            DeformablePCA(deformations=("rotation",)),
            ExcitationInhibition(attributes={"class": 2}),
        ],
        input_shape=(1, 16, 16),
        categories=SMILE,
    ).eval()
    (figure,) = attribute_figures(model, make_images(9)).values()
    assert sheet(figure).shape == (6 * 16, 9 * 16)
