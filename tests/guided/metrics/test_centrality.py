"""Centrality of linear models, whose agreement is known."""

import numpy as np
import pytest

from guided import InputError
from guided.metrics import GenerativeModel, model_centrality


def linear(codes_to_images, n=None):
    """Images are an orthogonal map of codes, and latents its inverse."""
    return GenerativeModel(
        n or len(codes_to_images),
        decode=lambda codes: codes @ codes_to_images,
        encode=lambda images: images @ np.transpose(codes_to_images),
    )


def rotation(degrees):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, s], [-s, c]])


def test_the_odd_one_is_the_least_central():
    """1 within, and a half, chance, with the one that is turned by half a right angle."""
    models = [linear(rotation(angle)) for angle in (0, 0, 90, 45)]
    scores, agreement = model_centrality(models, votes=100)
    assert agreement[:3, :3] == pytest.approx(np.ones((3, 3)))
    assert agreement[3] == pytest.approx([0.5, 0.5, 0.5, 1], abs=0.15)
    assert scores == pytest.approx([5 / 6] * 3 + [0.5], abs=0.12)
    assert scores.argmin() == 3


def test_a_vote_saturates():
    """A rotation by less than half a right angle changes no vote, with enough images in it."""
    scores, _ = model_centrality([linear(rotation(angle)) for angle in (0, 25)], size=200)
    assert scores == pytest.approx([1, 1])


def test_order_sign_and_dead_latents_do_not_matter():
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))[0]
    shuffled = GenerativeModel(
        5,
        decode=lambda codes: codes[:, ::-1] @ turn,
        encode=lambda images: np.hstack([-(images @ turn.T), 1e-3 * images]),
    )
    scores, _ = model_centrality([linear(turn), shuffled])
    assert scores == pytest.approx([1, 1])


def test_each_models_images_are_made_once_for_all_others():
    made = []

    def counted(codes):
        made.append(len(codes))
        return codes

    models = [GenerativeModel(2, counted, lambda images: images) for _ in range(4)]
    model_centrality(models, votes=10, size=4)
    # A model's 20 votes of 4 images, and as many for the variance over all.
    assert sum(made) == 4 * (20 * 4 + 20 * 4)


def test_the_same_seed_gives_the_same_scores():
    models = [linear(rotation(angle)) for angle in (0, 45)]
    found = [model_centrality(models, seed)[1][0, 1] for seed in (0, 0, 1, 2, 3)]
    assert found[0] == found[1] and len(set(found)) > 1


def test_too_few_models_or_codes_are_refused():
    for models in ([linear(rotation(0))], [linear(rotation(0)), linear(np.ones((1, 1)))]):
        with pytest.raises(InputError, match="at least two models of at least two codes"):
            model_centrality(models)
