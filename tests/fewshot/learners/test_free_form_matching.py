"""Free-form matching: what a prior allows is no cost, what it forbids is one."""

import pytest
import torch

from fewshot.config import describe
from fewshot.config.build import build
from fewshot.episodes import Episodes
from fewshot.learners import FreeFormMatching
from fewshot.learners.base import LearnerFactory
from fewshot.learners.free_form_matching import BY_HAND
from guided import Augmentation, Deformations
from guided.affine import AFFINE, affine, warp
from guided.backbones import Pixels
from guided.deformations import covariance_of
from guided.encoder import Encoder
from guided.errors import InputError

SIDE = 24


def on_pixels(**settings):
    return FreeFormMatching(Encoder(Pixels((1, SIDE, SIDE)), None), cosine=False, **settings).eval()


@pytest.fixture(scope="module")
def glyphs():
    """Four drawings, ``[4, 1, 24, 24]``."""
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    inside = (abs(y - 11.5) < 7) & (abs(x - 11.5) < 7)
    horizontal, vertical = abs(y - 8) < 1.5, abs(x - 9) < 1.5
    ring = abs(((y - 11.5) ** 2 + (x - 11.5) ** 2).sqrt() - 5.5) < 1.2
    cross = ((abs(y - x) < 2) | (abs(y + x - 23) < 2)) & inside
    drawn = [(horizontal | vertical) & inside, ring, cross, (ring | vertical) & inside]
    return torch.stack(drawn).float().unsqueeze(1)


def changed(images, **amounts):
    given = {name: torch.tensor([float(amounts.get(name, 0))]) for name in AFFINE}
    return warp(images, affine(**given))


def costs(learner, query, support):
    """``[q, s]`` of images, a support image a class."""
    prepared = Episodes(learner.prepare(support)[None, :, None], learner.prepare(query)[None, None])
    return learner.costs(prepared)[0]


@pytest.mark.parametrize("amounts", [{}, {"rotation": 0.3}, {"shear": 0.25, "scale": 0.2}])
def test_a_deformed_glyph_matches_itself(glyphs, amounts):
    found = costs(on_pixels(), changed(glyphs, **amounts), glyphs)
    assert found.argmin(1).tolist() == [0, 1, 2, 3]


def test_a_prior_decides_which_deformations_are_cheap(glyphs):
    """Of a turned glyph one that knows rotations, of a leaning one one that knows slopes."""
    turns = on_pixels(prior=Augmentation(rotation=30))
    leans = on_pixels(prior=Augmentation(shear=0.6))
    turned, leaning = (changed(glyphs[:1], **a) for a in ({"rotation": 0.4}, {"shear": 0.5}))
    for query, better, worse in ((turned, turns, leans), (leaning, leans, turns)):
        mine, other = (float(costs(made, query, glyphs[:1])) for made in (better, worse))
        assert mine < 0.7 * other


def test_a_learned_prior_equal_to_that_by_hand_gives_the_same(glyphs, tmp_path):
    """Of aligned images; the other covariance counts only without alignment."""
    by_hand, other = covariance_of(BY_HAND), covariance_of(Augmentation(translation=0.2))
    Deformations(other, by_hand).save(tmp_path / "a.safetensors")
    Deformations(by_hand, other).save(tmp_path / "b.safetensors")
    query = changed(glyphs, rotation=0.2)
    expected = costs(on_pixels(), query, glyphs)
    assert torch.equal(costs(on_pixels(prior=tmp_path / "a.safetensors"), query, glyphs), expected)
    found = costs(on_pixels(prior=tmp_path / "b.safetensors"), query, glyphs)
    assert not torch.allclose(found, expected, rtol=0.01)
    plain = {"alignment": "none"}
    expected = costs(on_pixels(**plain), query, glyphs)
    found = costs(on_pixels(prior=tmp_path / "b.safetensors", **plain), query, glyphs)
    assert torch.equal(found, expected)


def test_shots_and_figures(glyphs):
    """The least of a class's costs, or their mean; queries are shown as the deformed support."""
    pairs = torch.stack([glyphs, changed(glyphs, rotation=0.5)], 1)  # two shots
    query = changed(glyphs, shear=0.2)
    episodes = Episodes(pairs[None], query[None, :, None])
    single = [costs(on_pixels(), query, pairs[:, shot]) for shot in range(2)]
    for shots, expected in [("templates", torch.minimum(*single)), ("mean", sum(single) / 2)]:
        learner = on_pixels(shots=shots)
        torch.testing.assert_close(learner.costs(episodes.map(learner.prepare))[0], expected)
    logits = on_pixels().logits(episodes)
    assert logits.shape == (1, 4, 4)
    figures = on_pixels().figures(episodes, logits[0].argmax(1).view(4, 1))
    assert set(figures) == {"explanations"}


def test_what_does_not_fit_is_refused(tmp_path):
    for settings, message in [
        ({"alignment": "rotation"}, "alignment: expected none, position or scale"),
        ({"prior": Augmentation(thickness=0.5)}, "prior: moves no image"),
        ({"prior": tmp_path / "none"}, "prior: .*none: no such file"),
        ({"stiffness": 0.0}, "stiffness: expected > 0"),
    ]:
        with pytest.raises(InputError, match=f"FreeFormMatching.{message}"):
            on_pixels(**settings)
    chosen = {"class_path": "FreeFormMatching", "init_args": {"window": 2}}
    with pytest.raises(InputError, match=r"window: no such key"):
        build(LearnerFactory, chosen)


@pytest.mark.parametrize("prior", [{"rotation": 10.0}, "some/file.safetensors"])
def test_both_kinds_of_prior_are_read_from_a_configuration(prior):
    chosen = {"class_path": "FreeFormMatching", "init_args": {"prior": prior}}
    assert describe(build(LearnerFactory, chosen))["init_args"] == {"prior": prior}
