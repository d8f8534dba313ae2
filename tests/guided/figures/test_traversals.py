"""Traversals: codes in which one latent, or one direction, moves and nothing else does."""

import numpy as np
import pytest
import torch

from guided import DeformablePCA, ExcitationInhibition
from guided.figures import spread, traversal, traversal_along, traversal_figure


def test_traversal_moves_one_latent_a_row():
    z = torch.arange(5.0)
    codes = traversal(z, [3, 1], torch.tensor([-1.0, 0.5]))
    assert codes[0].tolist() == [[0, 1, 2, -1, 4], [0, 1, 2, 0.5, 4]]
    assert codes[1].tolist() == [[0, -1, 2, 3, 4], [0, 0.5, 2, 3, 4]]
    assert z.tolist() == [0, 1, 2, 3, 4]
    own = traversal(torch.zeros(3), [2, 0], torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert own[0, :, 2].tolist() == [1, 2] and own[1, :, 0].tolist() == [3, 4]
    assert own.count_nonzero() == 4


def test_along_a_direction_nothing_else_moves(build_model, make_images):
    vae, images = build_model().vae, make_images(64)
    posterior = vae.posterior(images)
    codes, direction = posterior.mean[:4].detach(), torch.tensor([0, 0.6, 0, 0, -0.8, 0, 0, 0])
    moved = traversal_along(codes, direction, posterior, torch.arange(-3, 4)).detach()
    assert moved.shape == (4, 7, 8)
    change = moved - codes[:, None]
    torch.testing.assert_close(change, (change @ direction)[..., None] * direction)
    # All images are put to the same places: a value of 1 is one deviation of draws.
    places = moved @ direction
    torch.testing.assert_close(places, places[:1].expand(4, -1))
    assert places[0, 3].item() == pytest.approx((posterior.mean @ direction).mean().item())
    rng = torch.Generator().manual_seed(0)
    draws = torch.cat([posterior.sample(rng) for _ in range(300)])
    step = (places[0, -1] - places[0, 0]).item() / 6
    assert step == pytest.approx((draws @ direction).std().item(), rel=0.03)
    torch.testing.assert_close(spread(vae, images), draws.std(0), rtol=0.03, atol=0)


def test_named_latents_come_first(build_model, make_images, sheet, row_labels):
    guidance = [DeformablePCA(), ExcitationInhibition(attributes={"class": 2}, hidden=4)]
    vae, image = build_model(*guidance, channels=3).vae, make_images(1, 3)[0]
    figure = traversal_figure(vae, image)
    labels = row_labels(figure)
    kl = vae.posterior(image[None]).kl()[0]
    classes = ["class 0", "class 1"] if kl[2] > kl[3] else ["class 1", "class 0"]
    assert labels[:4] == ["rotation", "scale", *classes]
    assert sorted(labels[4:]) == ["content 0", "content 1", "content 2", "content 3"]
    assert sheet(figure).shape[:2] == (8 * 16, 9 * 16)
    assert row_labels(traversal_figure(vae, image, rows=3)) == labels[:3]


def test_unnamed_latents_come_by_their_kl(build_model, make_images, sheet, row_labels):
    vae, images = build_model().vae, make_images(1)
    with torch.no_grad():
        vae.encoder.latent_head.weight.zero_()
        # KL grows with the mean: latents 6, 2 and 0 say most, in this order.
        vae.encoder.latent_head.bias.copy_(torch.tensor([1, 0, 2, 0, 0, 0, 3, 0] + [0] * 8))
    figure = traversal_figure(vae, images[0], rows=3, unit=torch.full((8,), 0.5))
    assert row_labels(figure) == ["content 6", "content 2", "content 0"]
    codes = traversal(vae.encoder(images)[0], [6, 2, 0], 0.5 * torch.linspace(-3, 3, 9))
    with torch.no_grad():
        expected = vae.decode(codes.flatten(0, 1)).unflatten(0, (3, 9))[1, 8, 0]
    np.testing.assert_allclose(sheet(figure)[16:32, -16:], expected, atol=1e-6)
