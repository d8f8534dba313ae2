"""Causal mechanisms: the prior against autograd and closed forms, interventions by hand."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.autograd.functional import jacobian
from torch.distributions import Normal, kl_divergence

import guided
from guided.metrics import HeldOut
from guided.vae import Posterior

SCALES = {"light": (2.0, 0.5), "size": (-1.0, 4.0), "shade": (0.0, 1.0)}
CAUSAL = guided.CausalMechanisms({"light": [], "size": [], "shade": ["light", "size"]}, hidden=4)
WIDE = replace(CAUSAL, width=2)
REGRESSION = guided.CausalMechanisms({name: [] for name in SCALES}, prior=False)


@pytest.fixture
def build(build_model):
    return partial(build_model, factors=SCALES)


def noise(seed=0):
    return torch.Generator().manual_seed(seed)


def scrambled(module):
    """With random weights in place of those that start as the identity."""
    torch.manual_seed(1)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return module


def targets(n=6):
    labels = torch.randn(n, 3, generator=noise(5))
    labels[0, 0] = labels[:, 2] = float("nan")
    return {f"factor {name}": labels[:, k] for k, name in enumerate(SCALES)}


@pytest.mark.parametrize("settings", [CAUSAL, WIDE])
def test_the_prior_is_the_density_by_change_of_variables(settings, build):
    strategy = scrambled(build(settings).strategies[0]).double()
    z = torch.randn(5, 8, generator=noise(), dtype=torch.float64)
    found = strategy.prior_correction(z)
    width = 3 * settings.width
    for row, correction in zip(z[:, :width], found, strict=True):
        standard = Normal(0.0, 1.0)
        back = strategy.flow.noise(row[None])[0][0]
        matrix = jacobian(lambda own: strategy.flow.noise(own[None])[0][0], row)
        density = standard.log_prob(back).sum() + torch.linalg.slogdet(matrix)[1]
        expected = standard.log_prob(row).sum() - density
        torch.testing.assert_close(correction, expected, rtol=0, atol=1e-9)


def test_with_it_the_kl_is_that_to_its_own_prior(build):
    """Without causes the prior is a Gaussian of learned mean and deviation: a closed form."""
    strategy = build(guided.CausalMechanisms({name: [] for name in SCALES})).strategies[0]
    raw, shift = torch.tensor([0.5, -1.0, 1.5]), torch.tensor([1.0, 0.0, -2.0])
    for k, network in enumerate(strategy.flow.networks):
        network.values.data = torch.stack([raw[k], shift[k]])
    posterior = Posterior(torch.randn(1, 3, generator=noise()), torch.full((1, 3), -0.7))
    z = Posterior(*(v.expand(40_000, -1) for v in vars(posterior).values())).sample(noise(2))
    found = posterior.kl().sum() + strategy.prior_correction(z).mean()
    prior = Normal(shift, (2 * (raw / 2).tanh()).exp())
    expected = kl_divergence(Normal(posterior.mean, (0.5 * posterior.logvar).exp()), prior).sum()
    assert found.item() == pytest.approx(expected.item(), rel=0.02)


def test_the_prior_has_the_weight_and_the_warm_up_of_the_kl(build):
    images = torch.rand(6, 1, 16, 16, generator=noise())
    plain = build(kl_weight=4.0).objective(images, {}, generator=noise(3))
    model = build(CAUSAL, kl_weight=4.0)
    strategy = model.strategies[0]
    objective = partial(model.objective, images, targets(), generator=noise(3), kl_warmup=0.25)
    at_first = objective()
    assert torch.equal(plain.z, at_first.z)
    assert at_first.terms["kl"] == plain.terms["kl"], "it starts as N(0, 1)"
    scrambled(strategy)
    later = objective(generator=noise(3))
    assert later.weights == {"reconstruction": 1.0, "kl": 1.0, "causal_labels": 10.0}
    expected = plain.terms["kl"] + strategy.prior_correction(plain.z).mean()
    torch.testing.assert_close(later.terms["kl"], expected)
    later.total.backward()
    assert all(p.grad is not None and p.grad.any() for p in strategy.flow.parameters())


def test_latents_are_drawn_to_known_labels(build):
    model = build(WIDE)
    (strategy,) = model.strategies
    z = torch.randn(6, 8, generator=noise(), requires_grad=True)
    posterior = Posterior(z, z)
    loss = strategy.losses(torch.empty(0), posterior, z, targets())["causal_labels"]
    total = 0.0
    for k, (mean, deviation) in enumerate(SCALES.values()):
        labels = targets()[f"factor {list(SCALES)[k]}"]
        known = [i for i in range(6) if not labels[i].isnan()]
        error = [
            0.5 * (z[i, j].item() - (labels[i].item() - mean) / deviation) ** 2
            for i in known
            for j in (2 * k, 2 * k + 1)
        ]
        total += sum(error) / max(1, len(known))
    assert loss.item() == pytest.approx(total, rel=1e-5)
    loss.backward()
    assert not z.grad[:, 4:].any(), "the third factor is never known"
    assert not z.grad[0, :2].any()
    assert z.grad[1:, :4].all()


def test_affine_mechanisms_stretch_and_shift_labels(build):
    strategy = build(replace(WIDE, mechanism="affine")).strategies[0]
    labels, z = torch.tensor([[1.0, -2.0, 0.5]]), torch.randn(1, 6, generator=noise())
    expected = torch.tensor(0.5).exp() * labels.repeat_interleave(2, 1) + 0.5
    torch.testing.assert_close(strategy.expected(labels, z), expected)
    scrambled(strategy.mechanism)
    other = z.clone()
    other[:, 4:] += 1  # an effect is no cause
    assert torch.equal(strategy.expected(labels, z), strategy.expected(labels, other))
    other[:, 0] += 1
    changed = strategy.expected(labels, z) != strategy.expected(labels, other)
    assert changed.tolist() == [[False] * 4 + [True] * 2]


@pytest.mark.parametrize("settings", [CAUSAL, WIDE, REGRESSION])
def test_an_intervention_moves_what_it_causes(settings, build):
    strategy = scrambled(build(settings).strategies[0])
    codes = torch.randn(7, 8, generator=noise())
    before, values = codes.clone(), torch.linspace(1, 3, 7)
    after = strategy.counterfactual(codes, "light", values)
    width = settings.width
    assert torch.equal(codes, before), "the codes that were given stay"
    expected = ((values - 2) / 0.5)[:, None].expand(-1, width)
    torch.testing.assert_close(after[:, :width], expected)
    assert torch.equal(after[:, width : 2 * width], codes[:, width : 2 * width])
    assert torch.equal(after[:, 3 * width :], codes[:, 3 * width :])
    effect = after[:, 2 * width : 3 * width] != codes[:, 2 * width : 3 * width]
    assert effect.all() if settings.prior else not effect.any()


class Linear(torch.nn.Module):
    """A model whose images are linear in their codes: it sees again what it imagines."""

    def __init__(self, layout):
        super().__init__()
        self.layout = layout
        mixing = torch.randn(16, 8, generator=noise(8), dtype=torch.float64)
        self.mixing, self.unmixing = mixing.float(), torch.linalg.pinv(mixing).float()

    def decode(self, z):
        return (z @ self.mixing.T).reshape(-1, 1, 4, 4)

    def forward(self, images):
        return images.flatten(1) @ self.unmixing.T

    def posterior(self, images):
        return Posterior(self(images), torch.zeros(len(images), 8))


def test_a_perfect_linear_model_passes_the_examination(build):
    """shade = 3 light_z - size_z + 0.5 ε, in standardised causes: the flow is given that truth."""
    model = build(CAUSAL)
    (strategy,) = model.strategies
    strategy.flow.networks[2] = network = torch.nn.Linear(2, 2)
    network.weight.data = torch.tensor([[0.0, 0.0], [3.0, -1.0]])
    network.bias.data = torch.tensor([2 * torch.atanh(torch.tensor(0.5).log() / 2), 0.0])
    causes = torch.randn(400, 2, generator=noise(4))
    shade = 3 * causes[:, 0] - causes[:, 1] + 0.5 * torch.randn(400, generator=noise(6))
    factors = {"light": 2 + 0.5 * causes[:, 0], "size": -1 + 4 * causes[:, 1], "shade": shade}

    def truth(factors, name, values):
        after = {**factors, name: values}
        if name == "light":
            after["shade"] = factors["shade"] + 3 * (values - factors["light"]) / 0.5
        if name == "size":
            after["shade"] = factors["shade"] - (values - factors["size"]) / 4
        return after

    linear = Linear(model.vae.layout)
    codes = torch.cat([causes, shade[:, None], torch.randn(400, 5, generator=noise(7))], 1)
    linear.chosen = torch.zeros(0)  # its device
    held_out = HeldOut(linear, linear.decode(codes), {}, factors, truth)
    found = strategy.examine(linear, held_out)
    assert len(found) == 6, "light and size cause something; shade does not"
    assert all(entry["target"] < 0.1 for entry in found)
    moved = {entry["measure"]: entry["other"] for entry in found}
    assert moved["do(light): error of shade, in percent of its range"] > 15
    assert moved["do(light): error of size, in percent of its range"] < 0.1
    rival = build(REGRESSION).strategies[0].examine(linear, held_out)
    shades = [entry for entry in rival if "error of shade" in entry["measure"]]
    assert all(entry["target"] == pytest.approx(entry["other"], abs=0.1) for entry in shades)
    assert strategy.examine(linear, replace(held_out, counterfactual=None)) == []


def train(make_images, **settings):
    images = make_images(20)
    labels = {f"factor {name}": torch.randn(20, generator=noise(k)) for k, name in enumerate("abc")}
    labels["factor b"][3] = float("nan")
    return guided.pretrain(
        guided.LabelledImages(images, labels),
        guided.LabelledImages(images),
        backbone=partial(guided.Conv4, width=4),
        latent_dim=4,
        batch_size=8,
        validate_every=2,
        log_every=2,
        kl_warmup=0,
        **settings,
    )


@pytest.mark.parametrize("mechanism", ["identity", "affine"])
def test_a_resumed_training_ends_with_the_same_bits(tmp_path, make_images, mechanism):
    graph = {"a": [], "b": ["a"], "c": []}
    own = guided.CausalMechanisms(graph, hidden=4, mechanism=mechanism)
    trained = partial(train, make_images, guidance=[own])
    whole = trained(steps=4)
    trained(steps=2, state_file=tmp_path / "state")
    resumed = trained(steps=4, state_file=tmp_path / "state")
    torch.testing.assert_close(resumed.model.state_dict(), whole.model.state_dict(), rtol=0, atol=0)
    (figure,) = whole.model.strategies[0].figures(whole.vae, make_images(20)).values()
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [
        *("do(a)", "do(b)", "do(c)")
    ]
    mixed = trained(steps=2, precision="bfloat16").model.state_dict()
    assert all(values.isfinite().all() for values in mixed.values())
    strategy = whole.model.strategies[0]
    last = whole.progress.history[-1]
    z = whole.model.vae.posterior(make_images(20)).sample(guided.seeds.generator(0, "validation"))
    kl = whole.model.vae.posterior(make_images(20)).kl().sum(1) + strategy.prior_correction(z)
    assert last["kl"] == pytest.approx(kl.mean().item(), rel=1e-4), "the prior that was learned"


def test_without_prior_and_weight_the_vae_is_the_plain_one_to_the_bit(make_images):
    none = guided.CausalMechanisms({"a": [], "b": []}, prior=False, weight=0)
    plain, with_it = (train(make_images, guidance=g, steps=3).vae for g in ([], [none]))
    assert with_it.layout.slices == {"a": (0, 1), "b": (1, 2), "content": (2, 4)}
    assert with_it.layout.roles == {"a": "attribute", "b": "attribute"}
    for name, values in plain.state_dict().items():
        assert torch.equal(values, with_it.state_dict()[name]), name


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"factors": {}}, "factors: expected at least one"),
        ({"factors": {"a": ["b"]}}, "factors.a: its cause 'b' is not one of"),
        ({"factors": {"a": ["a"]}}, "factors: expected a graph without circles"),
        ({"width": 0}, "width: expected at least 1"),
        ({"weight": -1}, "weight: expected at least 0"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(guided.InputError, match=rf"CausalMechanisms\.{message}"):
        guided.CausalMechanisms(**{"factors": {"a": []}, **settings})


def test_what_does_not_fit_is_refused(build_model, build):
    with pytest.raises(guided.InputError, match="no factor 'light' that varies; there are none"):
        build_model(CAUSAL)
    with pytest.raises(guided.InputError, match="elbo: CausalMechanisms has a prior of its own"):
        build(CAUSAL, elbo=False)
    with pytest.raises(guided.InputError, match="autoencoder: CausalMechanisms has a prior"):
        build(CAUSAL, autoencoder=True)
    build(REGRESSION, elbo=False)
