"""Generalized contrastive learning as guidance: its terms pair by pair, and its refusals."""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F

import guided
from guided.latents import LatentAllocator

SIZES = {"class": 5, "alphabet": 3, "drawer": 4}
DRAWER = "drawer within alphabet"


def build(auxiliary="class", latent_dim=6, views=1, **settings):
    torch.manual_seed(0)
    context = guided.GuidanceContext((1, 8, 8), LatentAllocator(latent_dim), SIZES, views)
    settings = guided.GeneralizedContrast(auxiliary=auxiliary, **settings)
    return settings.build(context).double()


def term(module, mean, targets=()):
    posterior = guided.Posterior(mean, torch.zeros_like(mean))
    found = module.losses(torch.empty(0), posterior, torch.empty(0), dict(targets))
    assert found.keys() == module.weights.keys()
    (value,) = found.values()
    return value


def codes(n, latents=6):
    chance = torch.Generator().manual_seed(1)
    return torch.randn(n, latents, generator=chance, dtype=torch.float64)


@torch.no_grad()
def score(module, y, u):
    """r(y, u) of one image and one value, latent by latent."""
    scores = module.scores
    total = float(scores.marginal(y[None])) + float(scores.offsets[u])
    for i in range(len(y)):
        values = y[i].reshape(1)
        for w, b in zip(scores.components.weights, scores.components.biases, strict=True):
            values = (F.silu(values) if values.numel() > 1 else values) @ w[i] + b[i]
        total += float(F.silu(values) @ scores.vectors[u, i])
    return total


def loss_by_pairs(module, mean, pairs):
    """Pairs (image, its value, others' values)."""
    losses = []
    for i, own, others in pairs:
        other = sum(math.log1p(math.exp(score(module, mean[i], u))) for u in others)
        losses.append(math.log1p(math.exp(-score(module, mean[i], own))) + other)
    return sum(losses) / len(losses)


def test_the_term_pair_by_pair_with_unknown_labels_left_out():
    module, mean = build(latents=4, negatives=2), codes(6)
    labels = torch.tensor([3, -1, 0, 4, -1, 3])
    pairs = [(0, 3, (0, 4)), (2, 0, (4, 3)), (3, 4, (3, 3)), (5, 3, (3, 0))]
    found = term(module, mean, {"class": labels})
    assert float(found.detach()) == pytest.approx(
        loss_by_pairs(module, mean[:, :4], pairs), rel=1e-6
    )
    changed = mean.clone()
    changed[1] = 9
    assert term(module, changed, {"class": labels}) == found
    assert term(module, mean, {"class": torch.full((6,), -1)}) == 0
    assert build(latents=4).inside == slice(0, 4)


def test_drawers_are_compared_within_their_alphabet():
    module, mean = build(DRAWER), codes(6)
    targets = {
        "alphabet": torch.tensor([2, 1, 2, -1, 1, 0]),
        "drawer": torch.tensor([0, 3, 1, 2, 2, 0]),
    }
    assert module.attributes == ("drawer", "alphabet")
    # The value of drawer d of alphabet a; the only image of its alphabet has nobody to compare.
    pairs = [(0, 8, (9,)), (1, 7, (6,)), (2, 9, (8,)), (4, 6, (7,))]
    found = term(module, mean, targets)
    assert float(found.detach()) == pytest.approx(loss_by_pairs(module, mean, pairs), rel=1e-6)


def test_views_are_pairs_and_other_images_views_are_not():
    module, mean = build("view", views=2, negatives=2), codes(8)
    losses = []
    for i in range(8):
        own = (i + 4) % 8
        half = range(0, 4) if own < 4 else range(4, 8)
        others = [half[(own - half[0] - k) % 4] for k in (1, 2)]
        r = [module.scores(mean[[i]], mean[[j]]).item() for j in (own, *others)]
        losses.append(math.log1p(math.exp(-r[0])) + sum(math.log1p(math.exp(v)) for v in r[1:]))
    assert term(module, mean).item() == pytest.approx(sum(losses) / 8, rel=1e-6)
    assert module.attributes == ()


def test_an_image_is_compared_with_no_other_view_of_itself():
    """One image of its alphabet has no other there; two have each other, in each view."""
    module, mean = build(DRAWER, latents=2, views=2), codes(6)
    alphabet, drawer = torch.tensor([0, 1, 1]), torch.tensor([2, 0, 3])
    targets = {"drawer": drawer.repeat(2), "alphabet": alphabet.repeat(2)}
    value = [4 * int(a) + int(d) for a, d in zip(alphabet, drawer, strict=True)]
    pairs = [(i + of, value[i], (value[3 - i],)) for of in (0, 3) for i in (1, 2)]
    expected = loss_by_pairs(module, mean[:, :2], pairs)
    assert float(term(module, mean, targets).detach()) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("auxiliary", ["class", "view"])
def test_it_is_measured_of_codes_in_bfloat16(auxiliary):
    """Logs are written outside autocast."""
    module = build(auxiliary, latents=None if auxiliary == "view" else 4, views=2).float()
    mean = codes(8).bfloat16()
    targets = {"class": torch.tensor([0, 1, 2, 3] * 2)}
    (rounded,) = module.measurements(guided.Posterior(mean, mean), targets).values()
    whole = guided.Posterior(mean.float(), mean.float())
    assert [rounded] == list(module.measurements(whole, targets).values())


def test_gradients_reach_the_latents_of_the_slice_alone(build_model):
    mean = codes(6).requires_grad_()
    module = build(latents=4)
    module_term = term(module, mean, {"class": torch.tensor([0, 1, 2, 3, 4, 0])})
    module_term.backward()
    assert (mean.grad[:, :4] != 0).all()
    assert (mean.grad[:, 4:] == 0).all()
    assert all(weights.grad.abs().sum() > 0 for weights in module.parameters())
    model = build_model(guided.GeneralizedContrast(latents=3), elbo=False)
    assert model.vae.layout.slices == {"class": (0, 3), "content": (3, 8)}


def test_training_tells_classes_and_views_apart():
    """Of images that are two patterns; with the ELBO and without."""
    chance = torch.Generator().manual_seed(0)
    labels = torch.arange(2).repeat(20)
    images = (torch.rand(40, 1, 16, 16, generator=chance) * 60).to(torch.uint8)
    images[labels == 1, :, :8] += 150
    data = guided.LabelledImages(images, {"class": labels})
    config = guided.PretrainConfig(
        backbone=partial(guided.Conv4, width=4), latent_dim=4, steps=40, batch_size=20, elbo=False
    )
    guidance = guided.GeneralizedContrast(weight=1)
    model = guided.pretrain(data, config=config, guidance=[guidance], learning_rate=0.02).model
    (module,) = model.eval().strategies
    posterior = model.vae.posterior(images)
    targets = {"class": labels[torch.randperm(40, generator=chance)]}
    (right,) = module.measurements(posterior, {"class": labels}).values()
    assert float(right) > 0.65  # half of the others are of the same class: at most 0.75
    (chance_level,) = module.measurements(posterior, targets).values()
    assert float(chance_level) < float(right)


@pytest.mark.parametrize("auxiliary", ["class", "view"])
def test_without_weight_the_vae_is_the_plain_one_to_the_bit(auxiliary, make_images):
    """Its term draws no random numbers."""
    data = guided.LabelledImages(make_images(20), {"class": torch.arange(20) % 5})
    config = guided.PretrainConfig(
        backbone=partial(guided.Conv4, width=4),
        latent_dim=4,
        steps=3,
        batch_size=8,
        augmentation=guided.Augmentation(translation=0.1, views=2),
    )
    plain, without, with_it = (
        guided.pretrain(data, config=config, guidance=guidance).vae.state_dict()
        for guidance in (
            [],
            [guided.GeneralizedContrast(auxiliary=auxiliary, weight=0)],
            [guided.GeneralizedContrast(auxiliary=auxiliary)],
        )
    )
    assert all(torch.equal(value, without[key]) for key, value in plain.items())
    assert not all(torch.equal(value, with_it[key]) for key, value in plain.items())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weight": -1}, "GeneralizedContrast.weight: expected at least 0, got -1"),
        ({"hidden": 0}, "GeneralizedContrast.hidden: expected at least 1, got 0"),
        ({"negatives": 0}, "GeneralizedContrast.negatives: expected at least 1, got 0"),
        ({"latents": 0}, "GeneralizedContrast.latents: expected at least 1, got 0"),
        ({"latents": 7}, "'class' asks for 7 latents"),
        ({"auxiliary": "hand"}, "the data have no 'hand'; there are class, alphabet, drawer"),
        ({"auxiliary": "hand within alphabet"}, "the data have no 'hand'"),
        ({"auxiliary": "view"}, "auxiliary view needs augmentation.views 2, got 1"),
    ],
)
def test_impossible_settings(settings, message):
    with pytest.raises(guided.InputError, match=message):
        build(**settings)


def test_more_negatives_than_images_are_refused():
    with pytest.raises(guided.InputError, match="negatives: 4 need a batch of more images, got 4"):
        term(build("view", views=2, negatives=4), codes(8))
