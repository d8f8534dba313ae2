"""Pairs of codes that share a latent, against what the best classifier can know."""

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression

import guided
from guided.guidance.traversal_contrast import draw_pairs, pair_classifier

GENTLE = guided.TraversalContrast(start=0, width=4)


def noise(seed=0):
    return torch.Generator().manual_seed(seed)


def codes(n, latents):
    return torch.randn(n, latents, generator=noise(1))


def batch(n=12):
    return torch.rand(n, 1, 16, 16, generator=noise(2))


def term(model, images=None, **kwargs):
    images = batch() if images is None else images
    objective = model.objective(
        images, {}, generator=noise(3), guidance_generator=noise(4), **kwargs
    )
    return objective.terms["traversal_contrast"]


def test_pairs_share_one_latent_of_the_slice_and_all_outside_it():
    z = codes(400, 6)
    pairs = draw_pairs(z, [1, 2, 4], generator=noise())
    same = pairs.first == pairs.second
    assert same[:, [0, 3, 5]].all()
    # Others may be equal by chance, once in 400.
    assert same.gather(1, torch.tensor([1, 2, 4])[pairs.shared][:, None]).all()
    assert same[:, [1, 2, 4]].sum(1).float().mean() < 1.02
    assert (pairs.shared.bincount(minlength=3) > 100).all()
    for latent in (1, 2, 4):  # the first are shuffled one by one, and so keep their marginals
        assert torch.equal(pairs.first[:, latent].sort().values, z[:, latent].sort().values)
    assert (torch.corrcoef(pairs.first.T) - torch.eye(6)).abs().max() < 0.2
    kept = pairs.first[:, [0, 3, 5]]
    of_an_image = (kept[:, None] == z[:, [0, 3, 5]]).all(2).any(1)
    assert of_an_image.all(), "the rest is of one image"
    tied = draw_pairs(z[:, :1].repeat(1, 3), [0, 1, 2], generator=noise())
    assert torch.corrcoef(tied.first.T)[0, 1].abs() < 0.2


def test_a_gap_keeps_the_others_apart():
    z = codes(300, 4) * torch.tensor([1.0, 2.0, 3.0, 4.0])
    pairs = draw_pairs(z, [0, 1, 2, 3], 1.5, noise())
    apart = (pairs.second - pairs.first).abs() / z.std(0)
    shared = F.one_hot(pairs.shared, 4).bool()
    assert (apart[shared] == 0).all()
    assert apart[~shared].min() > 1.499
    settings = guided.TraversalContrast(start=10, gap=2, gap_steps=20)
    assert [settings.gap_at(step) for step in (0, 10, 20, 30, 99)] == [2, 2, 1, 0, 0]


def test_a_decoder_that_uses_three_of_five_codes_allows_four_fifths():
    """The best classifier knows the shared code if it is drawn, and else guesses among the others:
    accuracy (m + 1) / k, cross-entropy (1 - m / k) log(k - m)."""
    pairs = draw_pairs(codes(4000, 5), [0, 1, 2, 3, 4], generator=noise())
    decoder = torch.randn(3, 9, generator=noise(5))
    first, second = pairs.first[:, :3] @ decoder, pairs.second[:, :3] @ decoder
    read = (second - first) @ decoder.pinverse()  # a strong classifier inverts the decoder
    found = read.abs() < 1e-4
    probabilities = torch.cat([found.float(), (~found.any(1, True)).float().expand(-1, 2)], 1)
    probabilities /= probabilities.sum(1, keepdim=True)
    accuracy = (probabilities.argmax(1) == pairs.shared).float().mean()
    assert float(accuracy) == pytest.approx(0.8, abs=0.02)
    loss = F.nll_loss(probabilities.clamp_min(1e-9).log(), pairs.shared)
    assert float(loss) == pytest.approx(0.4 * np.log(2), abs=0.03)


def quarters(z):
    """Images ``[B, 1, 16, 16]`` of which each of three latents lights a quarter of its own."""
    images = torch.full((len(z), 1, 16, 16), 0.2)
    for latent, (row, column) in enumerate([(0, 0), (0, 8), (8, 0)]):
        images[:, 0, row : row + 8, column : column + 8] = z[:, latent, None, None].sigmoid()
    return images


def test_with_the_usual_gap_the_network_learns_what_can_be_known():
    """Three of five latents are drawn: it reaches 4/5 soon; without a gap it is far from that."""
    settings = guided.TraversalContrast()
    accuracies = []
    for gap in (settings.gap_at(0), 0.0):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = pair_classifier((1, 16, 16), 5, 8)
        optimizer = torch.optim.Adam(network.parameters(), 0.01)
        right = []
        for step in range(90):
            pairs = draw_pairs(codes(128, 5).roll(step, 0), list(range(5)), gap, noise(step))
            images = torch.cat([quarters(pairs.first), quarters(pairs.second)], 1)
            logits = network(images)
            optimizer.zero_grad()
            F.cross_entropy(logits, pairs.shared).backward()
            optimizer.step()
            right.append((logits.argmax(1) == pairs.shared).float().mean())
        accuracies.append(float(torch.stack(right[-20:]).mean()))
    assert accuracies[0] == pytest.approx(0.8, abs=0.04)
    assert accuracies[1] < 0.7


@pytest.mark.parametrize(("degrees", "accuracy"), [(0, 1.0), (45, 0.5)])
def test_a_weak_classifier_needs_aligned_latents(degrees, accuracy):
    """Differences of a rotated pair are equally large on both axes; turned back, a strong
    classifier would read them all."""
    pairs = draw_pairs(codes(3000, 2), [0, 1], generator=noise())
    angle = torch.tensor(degrees).deg2rad()
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).view(2, 2)
    away = ((pairs.first - pairs.second) @ turn).abs()
    weak = LogisticRegression(C=1e4).fit(away[:2000], pairs.shared[:2000])
    assert weak.score(away[2000:], pairs.shared[2000:]) == pytest.approx(accuracy, abs=0.04)
    strong = ((pairs.first - pairs.second).abs().argmin(1) == pairs.shared).float().mean()
    assert float(strong) > 0.999


def test_the_network_learns_no_more_than_chance_of_a_blank_decoder():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = pair_classifier((1, 16, 16), 4, 4)
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    for step in range(40):
        shared = draw_pairs(codes(64, 4), [0, 1, 2, 3], generator=noise(step)).shared
        loss = F.cross_entropy(network(torch.full((64, 2, 16, 16), 0.3)), shared)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() == pytest.approx(np.log(4), abs=0.05)


def test_the_network_is_smooth_but_for_its_last_layer():
    """Spectral norm: no layer stretches its input by more than 1, after enough steps."""
    network = pair_classifier((1, 16, 16), 4, 4)
    network.train()
    for _ in range(30):
        network(torch.rand(2, 2, 16, 16, generator=noise()))
    hidden = network[-3]
    norm = torch.linalg.matrix_norm(hidden.weight, 2)
    assert norm.item() == pytest.approx(1, abs=0.02)


def test_decoder_and_network_are_moved_and_the_encoder_is_not(build_model):
    model = build_model(GENTLE).train()
    running = {k: v.clone() for k, v in model.vae.decoder.named_buffers()}
    term(model).backward()
    assert all(p.grad is None for p in model.vae.encoder.parameters())
    for part in (model.vae.decoder, model.strategies[0].network):
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters()), part
    with torch.no_grad():
        model.vae.losses(batch(), model.vae.posterior(batch()), codes(12, 8))
    plain = build_model().train()
    with torch.no_grad():
        plain.objective(batch(), {}, generator=noise(3))
        plain.vae.losses(batch(), plain.vae.posterior(batch()), codes(12, 8))
    for name, value in plain.vae.decoder.named_buffers():
        assert torch.equal(value, dict(model.vae.decoder.named_buffers())[name]), name
        assert not value.is_floating_point() or not torch.equal(value, running[name])


def test_until_it_starts_the_network_learns_alone(build_model):
    model = build_model(guided.TraversalContrast(start=5, width=4)).train()
    for number in (4, 5):
        model.start_step(number)
        model.zero_grad()
        term(model).backward()
        moved = [p.grad is not None for p in model.vae.decoder.parameters()]
        assert all(moved) if number == 5 else not any(moved)
        assert all(p.grad is not None for p in model.strategies[0].network.parameters())
    measured = model.strategies[0].measurements(None, {})
    assert 0 <= float(measured["traversal_contrast_accuracy"]) <= 1


def test_draws_are_its_own(build_model):
    model = build_model(GENTLE)
    plain = build_model().objective(batch(), {}, generator=noise(3))
    guided_too = model.objective(batch(), {}, generator=noise(3), guidance_generator=noise(9))
    assert torch.equal(plain.z, guided_too.z)
    assert term(model) == term(model)
    assert term(model) != guided_too.terms["traversal_contrast"]


def test_a_slice_of_its_own(build_model):
    model = build_model(guided.TraversalContrast(latents=3, start=0, width=4))
    assert model.vae.layout.slices == {"traversal": (0, 3), "content": (3, 8)}
    assert model.strategies[0].network[-1].out_features == 3
    assert term(model).item() == pytest.approx(np.log(3), abs=0.5)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_resumed_training_ends_with_the_same_bits(tmp_path, make_images, precision):
    config = guided.PretrainConfig(
        backbone=partial(guided.Conv4, width=4),
        latent_dim=4,
        guidance=[guided.TraversalContrast(start=3, gap=1, gap_steps=4, width=4)],
        steps=8,
        batch_size=8,
        validate_every=4,
        log_every=2,
        kl_warmup=0,
    )
    train = partial(guided.pretrain, guided.LabelledImages(make_images(20)), precision=precision)
    whole = train(config=config)
    train(config=config, steps=4, state_file=tmp_path / "state")
    resumed = train(config=config, state_file=tmp_path / "state")
    torch.testing.assert_close(resumed.model.state_dict(), whole.model.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weight": -1}, "weight: expected at least 0"),
        ({"start": -1}, "start: expected at least 0"),
        ({"gap": -1}, "gap: expected at least 0"),
        ({"latents": 1}, "latents: expected at least 2"),
        ({"gap_steps": 0}, "gap_steps: expected at least 1"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(guided.InputError, match=rf"TraversalContrast\.{message}"):
        guided.TraversalContrast(**settings)


def test_it_needs_a_decoder_and_images_large_enough(build_model, make_images):
    with pytest.raises(guided.InputError, match="elbo: TraversalContrast decodes images"):
        build_model(GENTLE, elbo=False)
    with pytest.raises(guided.InputError, match="images of 16 × 16, got 4 and"):
        guided.pretrain(
            guided.LabelledImages(make_images(size=8)),
            backbone=partial(guided.Conv4, width=4),
            latent_dim=4,
            batch_size=4,
            guidance=[GENTLE],
        )
