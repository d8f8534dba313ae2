"""Scores without labels of encoders that agree by construction, and of one that does not."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from fewshot.study.select.candidates import Candidate
from fewshot.study.select.score import (
    Centrality,
    Seen,
    agreement_row,
    factor_scores,
    see,
    udr,
    usual_votes,
)
from guided.backbones import Pixels
from guided.decoder import Decoder
from guided.encoder import Encoder
from guided.latents import LatentLayout
from guided.likelihoods import Gaussian

SIDE = 3
N = SIDE**2


def linear(mix, run="", arm="vae", seed=0):
    """Latents are a linear map of nine pixels, and images its transpose."""
    mix = torch.from_numpy(np.asarray(mix, np.float32))
    d = len(mix)
    encoder = Encoder(Pixels((1, SIDE, SIDE)), LatentLayout({"content": (0, d)})).eval()
    with torch.no_grad():
        encoder.latent_head.weight.zero_()
        encoder.latent_head.weight[:d] = 8 * mix
        encoder.latent_head.bias.copy_(torch.cat([-4 * mix.sum(1), torch.full((d,), -4.0)]))
    network = nn.Linear(d, N)
    with torch.no_grad():
        network.weight.copy_(mix.T / 8)
        network.bias.fill_(0.5)
    shaped = nn.Sequential(network, nn.Unflatten(1, (1, SIDE, SIDE)))
    return Candidate(run, arm, seed, encoder, Decoder(shaped, Gaussian(), d).eval())


@pytest.fixture(scope="module")
def images():
    """Nine independent pixels."""
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(256, size=(600, 1, SIDE, SIDE), dtype=np.uint8))


@pytest.fixture(scope="module")
def candidates():
    """Four that read pixels, in any order and sign, and one that reads mixtures of all."""
    rng = np.random.default_rng(0)
    copies = [np.eye(N)[rng.permutation(N)] * rng.choice([-1, 1], N)[:, None] for _ in range(4)]
    mixed = np.linalg.qr(rng.normal(size=(N, N)))[0]
    made = [linear(mix, arm=f"arm{i // 2}", seed=i % 2) for i, mix in enumerate(copies)]
    return [made[0], made[1], linear(mixed, arm="mixed"), made[2], made[3]]


def label_free_scores(candidates, images, votes=20):
    """``values`` by score, ``agreement``, ``others``, ``live``: as a selection makes them."""
    seen = [see(candidate.encoder, images) for candidate in candidates]
    rows = [agreement_row(candidates, seen, i, 0, votes=votes) for i in range(len(seen))]
    agreement = np.array(rows, float)
    central = Centrality.of(agreement, [(c.run, c.arm) for c in candidates])
    return SimpleNamespace(
        values=udr(seen, len(seen)) | {"centrality": central.all},
        others=central.other_arms,
        agreement=agreement,
        live=[len(one.live) for one in seen],
    )


def test_copies_agree_and_the_other_is_ranked_last(candidates, images):
    scores = label_free_scores(candidates, images)
    copies = {name: np.delete(values, 2) for name, values in scores.values.items()}
    for name in ("udr_lasso", "udr_spearman", "centrality"):
        assert scores.values[name][2] < 0.7 * copies[name].min(), name
    # The median over partners: 1 - alpha; and 1 less for the chance correlations of other pixels.
    np.testing.assert_allclose(copies["udr_lasso"], 0.9, atol=0.02)
    by_chance = (N - 1) * np.sqrt(2 / (np.pi * len(images)))
    np.testing.assert_allclose(copies["udr_spearman"], 1 / (1 + by_chance), atol=0.02)
    assert copies["centrality"].min() > 0.75  # the mean over partners
    assert scores.agreement[0, 1] == scores.agreement[3, 0] == 1
    assert scores.live == [N] * 5
    # Of arm0's own: its partners are arm1's two, who agree with it, and the mixed one.
    both = (scores.agreement + scores.agreement.T) / 2
    assert scores.others[0] == pytest.approx((2 + both[0, 2]) / 3)


def test_an_arm_without_a_decoder_has_no_centrality(candidates, images):
    bare = [replace(candidates[0], decoder=None), *candidates[1:]]
    scores = label_free_scores(bare, images, votes=5)
    assert np.isnan(scores.values["centrality"]).tolist() == [True] + [False] * 4
    assert not np.isnan(scores.values["udr_lasso"]).any()
    some = label_free_scores([replace(c, decoder=None) for c in candidates[:4]], images)
    assert np.isnan(some.values["centrality"]).all()


def test_latents_without_information_take_no_part(candidates, images):
    """One more latent, whose posterior is the prior, changes no score."""
    padded = []
    for candidate in candidates:
        weight = candidate.encoder.latent_head.weight[:N].detach().numpy() / 8
        other = linear(np.vstack([weight, np.zeros((1, N))]), arm=candidate.arm)
        with torch.no_grad():
            other.encoder.latent_head.bias[-1] = 0
        padded.append(other)
    scores, again = (label_free_scores(some, images, votes=5) for some in (candidates, padded))
    assert again.live == scores.live
    for name in ("udr_lasso", "udr_spearman", "centrality"):
        np.testing.assert_allclose(again.values[name], scores.values[name], atol=1e-6)


def test_the_kl_is_that_of_the_posterior(candidates, images):
    seen = see(candidates[0].encoder, images)
    pixels = images.double().flatten(1).numpy() / 255
    order = candidates[0].encoder.latent_head.weight[:N].detach().abs().argmax(1).numpy()
    assert np.abs(seen.means) == pytest.approx(np.abs(8 * pixels[:, order] - 4), abs=1e-5)
    expected = 0.5 * ((seen.means**2).mean(0) + np.exp(-4) - 1 + 4)
    assert seen.kl == pytest.approx(expected)
    assert seen.kl[seen.live].tolist() == sorted(seen.kl, reverse=True)


def test_pixels_are_the_factors_that_one_encoder_finds(candidates, images, make_bank):
    pixels = images.flatten(1).double() / 255
    bank = replace(
        make_bank(n_classes=2, sizes=300),
        images=images,
        factors={"a": pixels[:, 0], "b": pixels[:, 4], "constant": torch.ones(600)},
    )
    copy, mixed, truth = (
        factor_scores(encoder, bank)
        for encoder in (candidates[0].encoder, candidates[2].encoder, None)
    )
    for name in ("mig", "sap", "mcc", "disentanglement"):
        assert copy[name] > mixed[name] + 0.1, name
    assert truth["mcc"] == pytest.approx(1)


def test_others_are_scored_beside_the_candidates_and_are_no_ones_partners(candidates, images):
    seen = [see(candidate.encoder, images) for candidate in candidates]
    truth = Seen.whole(images.flatten(1).double().numpy())
    alone, together = udr(seen, 5), udr([*seen, truth, seen[2]], 5)
    for name, values in together.items():
        np.testing.assert_allclose(values[:5], alone[name])
        assert values[5] == pytest.approx(values[0], abs=0.02), "pixels are what the copies read"
        assert values[6] < values[5] - 0.2


def test_more_models_are_asked_less_each():
    assert [usual_votes(n) for n in (3, 24, 48, 200)] == [20, 20, 10, 5]
