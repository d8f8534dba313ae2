"""Collapse and convergence, of histories and posteriors that are known."""

import pytest
import torch

from fewshot.study.diagnostics import latent_facts
from fewshot.study.encoder_facts import EncoderFacts, cautions, kept, late_fall, latents_table
from guided.backbones import Pixels
from guided.encoder import Encoder
from guided.latents import LatentLayout


def history(*losses, name="negative_elbo", **more):
    return [{"step": 10 * i, name: loss, **more} for i, loss in enumerate(losses, 1)]


def facts_of(entries, kl=(1.0,), *, basis=True):
    return EncoderFacts.of("pca", 0, entries, {"kl_per_latent": kl}, basis)


def test_the_fall_in_the_last_quarter_of_the_steps():
    losses = [200.0, 120.0, 104.0, 100.0]
    assert late_fall(history(*losses)) == pytest.approx(4 / 100)
    assert late_fall(history(*losses, name="score")) == pytest.approx(4 / 100)
    assert late_fall(history(*losses, name="score", reconstruction=5.0)) == 0
    assert late_fall(history(200.0, 104.0, 100.0, 103.0)) == 0, "noise is no fall"
    assert late_fall(history(100.0, 101.0, 102.0, 103.0)) == 0
    assert late_fall(history(200.0)) is late_fall(history(2.0, 1.0, name="kl")) is None


def test_a_training_has_converged_where_its_loss_is_flat():
    flat = [200.0, 120.0, 100.1, 100.0]
    assert facts_of(history(*flat, score=1.0)).growing == "", "the first of equal scores is kept"
    scored = [{**entry, "score": entry["negative_elbo"]} for entry in history(*flat)]
    assert facts_of(scored).growing == "its last validation is its best"
    falling = facts_of(history(200.0, 120.0, 104.0, 100.0, score=1.0))
    assert "by 4 % of its whole fall" in falling.growing
    assert (falling.kept_step, falling.last_step) == (10, 40)
    assert facts_of(history(*flat)).growing == "", "nothing was chosen"
    assert facts_of([]).growing == facts_of(history(5.0, score=5.0)).growing == ""
    assert EncoderFacts.from_json(falling.to_json()) == falling


def test_cautions_name_arms_and_seeds():
    fine = facts_of(history(*[1.0] * 4, score=1.0))
    assert cautions([fine]) == []
    collapsed = EncoderFacts("vae", 2, (0.004, 0.0))
    (line,) = cautions([fine, collapsed])
    assert line.startswith("The posterior of vae has collapsed (seed 2)")
    assert (collapsed.active, EncoderFacts("vae", 2, (0.004, 0.3)).active) == (0, 1)
    assert not EncoderFacts("pixels", 0).collapsed, "nothing was measured"


def test_a_table_of_latents_has_means_over_seeds():
    vae = EncoderFacts("vae", 0, (1.0, 0.0), (4.0, 0.0), reconstruction=80.0)
    again = EncoderFacts("vae", 1, (2.0, 0.2), (6.0, 2.0), reconstruction=90.0)
    before = EncoderFacts("before", 0, (1.0, 0.0))
    chains = EncoderFacts("chains", 0, (), (0.5, 3.0), reconstruction=70.0)
    assert latents_table([EncoderFacts("classifier", 0)]) == ""
    found = latents_table([EncoderFacts("classifier", 0), vae, again, before, chains])
    assert found.splitlines()[2:] == [
        "| vae | 85.0 | 2 | 1.5 | 1.50 | 1.6 | 1.5 | 3.00 |",
        "| before | – | 2 | 1.0 | 1.00 | 1.0 | – | – |",
        "| chains | 70.0 | 2 | – | – | – | 1.0 | 1.75 |",
    ]


def test_the_reconstruction_is_that_of_the_state_that_was_kept():
    entries = [{"step": s, "score": abs(s - 4), "reconstruction": 100.0 - s} for s in (2, 4, 6)]
    facts = EncoderFacts.of("a", 0, entries, {"variance_ratios": [2.0]}, basis=False)
    assert (facts.reconstruction, facts.ratios, facts.kl) == (96.0, (2.0,), ())
    assert EncoderFacts.from_json(facts.to_json()) == facts
    assert not {"ratios", "reconstruction"} & EncoderFacts("a", 0).to_json().keys()


def test_the_first_of_the_lowest_scores_is_kept():
    assert kept([{"step": 2, "score": 3.0}, {"step": 4, "score": 3.0}])["step"] == 2
    assert kept([{"known": 3.0}]) == kept([]) == {}


def test_kl_and_variance_of_each_latent(make_bank):
    """Latent 0 is twice the image's mean, of standard deviation 1/2; latent 1 ignores the image."""
    bank = make_bank(2, 5)
    encoder = Encoder(Pixels((1, 16, 16)), LatentLayout({"content": (0, 2)}))
    with torch.no_grad():
        encoder.head.weight.zero_()
        encoder.head.weight[0] = 2 / 256
        encoder.head.bias[:] = torch.tensor([0.0, 0.0, 0.25, 1.0]).log().nan_to_num(neginf=0)
    means = 2 * bank.images.float().div(255).mean((1, 2, 3))
    expected = torch.distributions.kl_divergence(
        torch.distributions.Normal(means, 0.5), torch.distributions.Normal(0.0, 1.0)
    ).mean()
    facts = latent_facts(encoder, bank, posterior=True)
    assert facts["kl_per_latent"] == pytest.approx([float(expected), 0.0], abs=1e-4)
    assert facts["variance_ratios"] == pytest.approx([float(means.var()) / 0.25, 0.0], abs=1e-4)
    assert latent_facts(encoder, bank, posterior=False) == {}
