"""Matching networks against plain loops and known answers."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cosine

from fewshot.learners.matching import Matching
from fewshot.learners.prototypical import Prototypical


@pytest.mark.parametrize("temperature", [1.0, 0.05])
@pytest.mark.parametrize("shot", [1, 3])
def test_equation_1_image_by_image(pixels, make_episodes, temperature, shot):
    episodes = make_episodes(shot=shot)
    logits = Matching(pixels, temperature=temperature).logits(episodes)
    for i in range(len(episodes)):
        for q, query in enumerate(episodes.query[i].flatten(0, 1)):
            weights = np.zeros((4, shot))
            for c, k in np.ndindex(4, shot):
                similarity = 1 - cosine(query, episodes.support[i, c, k])
                weights[c, k] = np.exp(similarity / temperature)
            expected = weights.sum(1) / weights.sum()
            np.testing.assert_allclose(logits[i, q].exp().numpy(), expected, rtol=1e-9)


def test_cold_attention_sees_the_closest_image_alone(pixels, make_episodes):
    """Also where the attention itself would be 0 in floating point."""
    episodes = make_episodes(e=20)
    logits = Matching(pixels, temperature=1e-5).logits(episodes)
    query, support = (
        torch.nn.functional.normalize(x.flatten(1, 2), dim=2)
        for x in (episodes.query, episodes.support)
    )
    closest = (query @ support.mT).argmax(2) // episodes.n_shot
    assert logits.isfinite().all()
    assert torch.equal(logits.argmax(2), closest)


def test_equals_cosine_prototypes_at_one_shot(pixels, make_episodes):
    episodes = make_episodes(shot=1)
    prototypical = Prototypical(pixels, metric="cosine", temperature=0.1)
    expected = prototypical.logits(episodes).log_softmax(2)
    torch.testing.assert_close(Matching(pixels, temperature=0.1).logits(episodes), expected)
