"""A finished training in words and as HTML."""

import re
from functools import partial

import pytest

import guided
from guided.training.shown import SHOWN, kept, outcome
from guided.training.state import Progress


def progress_of(*scores, objective="negative_elbo", factor=1.0):
    progress = Progress()
    for score in scores:
        progress.step += 10
        progress.record({objective: score * factor, "score": score})
    return progress


def test_the_state_that_was_kept_and_why():
    best = "30 steps; kept step 20, whose "
    assert outcome(progress_of(5, 3, 4)) == f"{best}held-out negative ELBO is 3.00 nats per image"
    assert outcome(progress_of(5, 3, 4, factor=2)) == f"{best}score is 3.00"
    reconstruction = progress_of(5, 3, 4, objective="reconstruction")
    words = f"{best}held-out reconstruction error is 3.00 nats per image"
    assert outcome(reconstruction, autoencoder=True) == words
    last = Progress(step=40)
    last.record({})
    assert outcome(last) == "40 steps"
    assert outcome(Progress(step=3)) == "3 steps"


@pytest.fixture
def trained(make_images):
    small = partial(guided.Conv4, width=4)
    attributes = guided.ExcitationInhibition(attributes={"class": 3})
    images = guided.LabelledImages(make_images(32), {"class": (make_images(32)[:, 0, 0, 0] % 2)})

    def train(steps, every):
        return guided.pretrain(
            images,
            images,
            backbone=small,
            latent_dim=8,
            guidance=[attributes],
            batch_size=8,
            steps=steps,
            validate_every=every,
        )

    return train


def cells(shown):
    rows = re.findall("<tr>(.*?)</tr>", shown, re.S)
    return [re.findall("<t[hd][^>]*>([^<]*)</t[hd]>", row) for row in rows]


def test_a_notebook_shows_latents_and_validations(trained):
    result = trained(9, 1)
    shown = result._repr_html_()
    assert f"{result}." in shown
    found = cells(shown)
    assert ["class", "0 … 2"] in found
    assert ["content", "3 … 7"] in found
    best = kept(result.progress)
    (marked,) = [row for row in found if row[-1] == "kept"]
    assert marked[:1] == [str(best["step"])]
    assert f"{best['kl']:.2f}" in marked
    head = next(row for row in found if row[0] == "step")
    assert "score" not in head  # it is the negative ELBO
    steps = [row[0] for row in found if row[0].isdigit()]
    assert len(steps) <= SHOWN + 1
    assert "8" in steps
    assert "Validations" not in trained(1, 1)._repr_html_()
