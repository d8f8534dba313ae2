"""Pictures of what a VAE has learned."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from guided.augment import Augmentation
from guided.backbones import Conv4
from guided.figures.traversals import (
    augmentation_figure,
    basis_figure,
    labelled_rows,
    log_pictures,
    picture_figures,
    prior_samples,
    reconstructions,
    sheet_figure,
    spread,
    traversal,
    traversal_figure,
)
from guided.guidance.deformable_pca import DeformablePCA, DeformablePCAModule
from guided.guidance.excitation_inhibition import ExcitationInhibition
from guided.guided_vae import GuidedVAE
from guided.likelihoods import Bernoulli, Gaussian
from guided.training.log import RunLog

DPCA = DeformablePCA(deformations=("rotation", "scale"))
EXCITE = ExcitationInhibition(attributes={"class": 2}, hidden=4)


def build(*guidance: Callable[..., object], channels: int = 1) -> GuidedVAE:
    torch.manual_seed(0)
    return GuidedVAE(
        backbone=partial(Conv4, width=4),
        likelihood=Bernoulli(),
        latent_dim=8,
        guidance=guidance,  # type: ignore[arg-type]
        input_shape=(channels, 16, 16),
        categories={"class": 3},
    ).eval()


def row_labels(figure: object) -> list[str]:
    (axes,) = figure.axes  # type: ignore[attr-defined]
    return [label.get_text() for label in axes.get_yticklabels()]


def sheet(figure: object) -> np.ndarray:
    (axes,) = figure.axes  # type: ignore[attr-defined]
    return np.asarray(axes.images[0].get_array())


def test_reconstructions_follow_their_inputs(make_images: Callable[..., Tensor]) -> None:
    model = build()
    images = make_images(3)
    pictures = reconstructions(model.vae, images)
    torch.testing.assert_close(pictures[:3], images.float() / 255)
    torch.testing.assert_close(pictures[3:], model.vae.decode(model.vae.encoder(images)))


def test_traversal_moves_one_latent_a_row() -> None:
    z = torch.arange(5.0)
    codes = traversal(z, [3, 1], torch.tensor([-1.0, 0.5]))
    assert codes.tolist() == [
        [[0, 1, 2, -1, 4], [0, 1, 2, 0.5, 4]],
        [[0, -1, 2, 3, 4], [0, 0.5, 2, 3, 4]],
    ]
    assert z.tolist() == [0, 1, 2, 3, 4]


def test_labelled_rows_lie_where_their_labels_are() -> None:
    images = torch.rand(2, 3, 1, 4, 5)
    figure = labelled_rows(images, ["rotation", "content 0"], ["-1", "0", "1"])
    assert row_labels(figure) == ["rotation", "content 0"]
    assert sheet(figure).shape == (8, 15)
    for row in range(2):
        for column in range(3):
            part = sheet(figure)[4 * row : 4 * row + 4, 5 * column : 5 * column + 5]
            np.testing.assert_array_equal(part, images[row, column, 0].numpy())


def test_values_outside_the_range_are_drawn_as_the_nearest_inside() -> None:
    images = torch.tensor([-0.5, 0.0, 1.0, 1.5]).view(1, 4, 1, 1, 1).expand(1, 4, 3, 2, 2)
    drawn = labelled_rows(images, ["row"], [""] * 4).axes[0].images[0].get_array()
    assert drawn is not None
    assert drawn[0, ::2, 0].tolist() == [0, 0, 1, 1]


def test_colour_stays_colour() -> None:
    images = torch.rand(1, 2, 3, 4, 5)
    np.testing.assert_array_equal(
        sheet(labelled_rows(images, ["a"], ["0", "1"]))[:, 5:], images[0, 1].permute(1, 2, 0)
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_traversal_figure_shows_named_latents_first(
    channels: int, make_images: Callable[..., Tensor]
) -> None:
    model = build(DPCA, EXCITE, channels=channels)
    figure = traversal_figure(model, make_images(1, channels)[0])
    labels = row_labels(figure)
    assert labels[:4] == ["rotation", "scale", "class 0", "class 1"]
    assert sorted(labels[4:]) == ["content 0", "content 1", "content 2", "content 3"]
    assert sheet(figure).shape[:2] == (8 * 16, 9 * 16)
    assert row_labels(traversal_figure(model, make_images(1, channels)[0], rows=3)) == labels[:3]


def test_unnamed_latents_come_by_what_their_posterior_says(
    make_images: Callable[..., Tensor],
) -> None:
    model = build()
    with torch.no_grad():
        model.vae.encoder.latent_head.weight.zero_()
        # KL grows with the mean: latents 6, 2 and 0 say most, in this order.
        model.vae.encoder.latent_head.bias.copy_(torch.tensor([1, 0, 2, 0, 0, 0, 3, 0] + [0] * 8))
    figure = traversal_figure(model, make_images(1)[0], rows=3)
    assert row_labels(figure) == ["content 6", "content 2", "content 0"]
    codes = traversal(model.vae.encoder(make_images(1))[0], [6, 2, 0], torch.linspace(-3, 3, 9))
    with torch.no_grad():
        expected = model.vae.decode(codes.flatten(0, 1)).unflatten(0, (3, 9))[1, 8, 0]
    np.testing.assert_allclose(sheet(figure)[16:32, -16:], expected, atol=1e-6)


def test_light_traversal_is_the_light_decoders(make_images: Callable[..., Tensor]) -> None:
    model = build(DPCA)
    (guidance,) = model.strategies
    assert isinstance(guidance, DeformablePCAModule)
    figure = traversal_figure(model, make_images(1)[0], light=True)
    code = model.vae.encoder(make_images(1)).detach()
    code[0, 0] = 3.0
    with torch.no_grad():
        expected = guidance.render(code)[0, 0].clamp(0, 1)
    np.testing.assert_allclose(sheet(figure)[:16, -16:], expected, atol=1e-6)


def test_pictures_of_a_model_are_logged(make_images: Callable[..., Tensor], tmp_path: Path) -> None:
    with RunLog(tmp_path) as log:
        log_pictures(log, build(DPCA), make_images(20), 5)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert set(events.Tags()["images"]) == {
        "inputs",
        "reconstructions",
        "traversals",
        "traversals_light_decoder",
        "traversals_basis",
        "samples",
        "principal_components",
    }
    (inputs,), (both,) = events.Images("inputs"), events.Images("reconstructions")
    assert (inputs.step, both.step) == (5, 5)
    assert (inputs.height, inputs.width) == (2 * 17 + 1, 8 * 17 + 1)
    assert (both.height, both.width) == (2 * 17 + 1, 16 * 17 + 1)


def test_spread_is_the_aggregate_posteriors(make_images: Callable[..., Tensor]) -> None:
    model = build()
    images = make_images(64)
    found = spread(model.vae, images)
    posterior = model.vae.posterior(images)
    generator = torch.Generator().manual_seed(0)
    draws = torch.cat([posterior.sample(generator) for _ in range(300)])
    torch.testing.assert_close(found, draws.std(0), rtol=0.03, atol=0)


def test_each_latent_can_have_its_own_steps() -> None:
    codes = traversal(torch.zeros(3), [2, 0], torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert codes[0, :, 2].tolist() == [1, 2] and codes[1, :, 0].tolist() == [3, 4]
    assert codes.count_nonzero() == 4


def test_samples_are_decoded_draws_of_the_prior() -> None:
    model = build()
    found = prior_samples(model.vae, 5, seed=3)
    assert found.shape == (5, 1, 16, 16)
    torch.testing.assert_close(prior_samples(model.vae, 5, seed=3, batch_size=2), found)
    assert not torch.equal(prior_samples(model.vae, 5, seed=4), found)
    with torch.no_grad():  # a decoder that writes its first latents into the corner
        model.vae.decoder = torch.nn.Sequential(
            torch.nn.Linear(8, 256), torch.nn.Unflatten(1, (1, 16, 16))
        )
        model.vae.decoder[0].weight.copy_(torch.eye(256, 8))
        model.vae.decoder[0].bias.zero_()
    codes = prior_samples(model.vae, 4000).logit()[:, 0, 0, :8]
    # 32,000 draws: three standard errors.
    assert abs(float(codes.mean())) < 0.017
    assert float(codes.std()) == pytest.approx(1, abs=0.012)
    assert float(codes.T.corrcoef().fill_diagonal_(0).abs().max()) < 0.08


def test_samples_of_an_unbounded_decoder_stay_within_the_image() -> None:
    model = build()
    model.vae.likelihood = Gaussian()
    with torch.no_grad():
        model.vae.decoder[-1].weight.mul_(1000)  # type: ignore[index, union-attr, operator]
    found = prior_samples(model.vae, 20)
    assert (found.min(), found.max()) == (0, 1)


def test_basis_traversal_paints_one_component_a_row() -> None:
    """From the basis' mean: no deformation, no other component."""
    model = build(DPCA)
    (guidance,) = model.strategies
    assert isinstance(guidance, DeformablePCAModule)
    with torch.no_grad():
        guidance.basis.weight.mul_(torch.tensor([1.0, 3.0, 2.0, 6.0, 5.0, 4.0]))
    figure = basis_figure(model, rows=4, unit=torch.full((8,), 0.5))
    assert row_labels(figure) == ["content 3", "content 4", "content 5", "content 1"]
    assert sheet(figure).shape == (4 * 16, 9 * 16)
    basis, mean = guidance.basis.weight.detach(), guidance.basis.bias.detach()
    for row, component in enumerate([3, 4, 5, 1]):
        for column, value in ((0, -1.5), (4, 0.0), (8, 1.5)):
            expected = (mean + value * basis[:, component]).view(16, 16).clamp(0, 1)
            part = sheet(figure)[16 * row : 16 * row + 16, 16 * column : 16 * column + 16]
            np.testing.assert_allclose(part, expected, atol=1e-5)


def test_sheets_fill_the_last_row_with_grey() -> None:
    images = torch.rand(7, 1, 4, 5)
    figure = sheet_figure(images, columns=3)
    assert row_labels(figure) == ["1", "4", "7"]
    np.testing.assert_array_equal(sheet(figure)[4:8, 5:10], images[4, 0])
    assert (sheet(figure)[8:, 5:] == 0.5).all()
    assert row_labels(sheet_figure(images)) == ["1"]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_models_pictures_and_their_rows(
    channels: int, make_images: Callable[..., Tensor]
) -> None:
    images = make_images(30, channels)
    figures = picture_figures(build(DPCA, channels=channels), images)
    rows = {name: len(row_labels(figure)) for name, figure in figures.items()}
    assert rows == {
        "traversals": 8,
        "traversals_light_decoder": 8,
        "traversals_basis": 6,
        "principal_components": 1,
        "samples": 10,
        "reconstructions": 2,
    }
    assert sheet(figures["samples"]).shape[:2] == (160, 160)
    assert sheet(figures["principal_components"]).shape[:2] == (16, 6 * 16)
    shown = sheet(figures["reconstructions"])
    expected = images[0].permute(1, 2, 0).squeeze(-1) / 255
    np.testing.assert_allclose(shown[:16, :16], expected, atol=1e-6)
    unguided = picture_figures(build(channels=channels), images)
    assert set(unguided) == {"traversals", "samples", "reconstructions"}


def test_an_augmentations_sheet_has_a_row_for_each_deformation() -> None:
    image = torch.zeros(1, 12, 12)
    image[:, 3:9, 5:7] = 1
    augmentation = Augmentation(rotation=40, thickness=0.9, views=2)
    figure = augmentation_figure(augmentation, image, columns=4)
    (axes,) = figure.axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["rotation 40", "thickness 0.9", "all"]
    sheet = torch.from_numpy(axes.images[0].get_array().data).view(3, 12, 5, 12).transpose(1, 2)
    assert torch.equal(sheet[:, 0], image.expand(3, 12, 12))
    assert not (sheet[:, 1:] == image).flatten(2).all(2).any()
    turned, thickened, both = sheet[:, 1:].double()
    assert (thickened[:, :, 8:].sum((1, 2)) == 0).all()  # it does not turn
    assert (turned[:, :, 8:].sum((1, 2)) > 0).any()
    assert (both[:, :, 8:].sum((1, 2)) > 0).any()
