"""Deformation matching: glyphs are found again however they are moved, sized or warped."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from fewshot import Setting, train
from fewshot.cli import main
from fewshot.commands.compare import CompareConfig
from fewshot.config import load
from fewshot.episodes import Episodes
from fewshot.evaluation import table_for
from fewshot.learners import DeformationMatching, Prototypical
from fewshot.learners.deformation.alignment import ink
from fewshot.sampler import EpisodeSampler
from fewshot.study import Study
from guided.affine import AFFINE, affine, warp
from guided.augment import Augmentation
from guided.backbones import Conv4, Pixels
from guided.encoder import Encoder
from guided.errors import InputError
from guided.seeds import derive_seed, seeded_initialisation

SIDE = 28


def on_pixels(shape=(1, SIDE, SIDE), **settings):
    return DeformationMatching(Encoder(Pixels(shape), None), **settings).eval()


@pytest.fixture(scope="module")
def glyphs():
    """Six drawings, ``[6, 1, 28, 28]``, on an empty ground."""
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    horizontal, vertical = (abs(y - k) < 2 for k in (9, 18)), (abs(x - k) < 2 for k in (10, 18))
    inside = (abs(y - 13.5) < 8) & (abs(x - 13.5) < 8)
    top, bottom, left, right = (line & inside for line in (*horizontal, *vertical))
    ring = abs(((y - 13.5) ** 2 + (x - 13.5) ** 2).sqrt() - 6.5) < 1.3
    cross = ((abs(y - x) < 2) | (abs(y + x - 27) < 2)) & inside
    drawn = [top | left, bottom | right, top | bottom, left | right, ring, cross]
    smooth = [gaussian_filter(d.float().numpy(), 0.6) for d in drawn]
    return torch.stack([torch.from_numpy(s) for s in smooth]).unsqueeze(1)


def changed(images, **amounts):
    given = {name: torch.tensor([float(amounts.get(name, 0))]) for name in AFFINE}
    return warp(images, affine(**given))


def warped(images):
    """Pixels moved by a little more than one, smoothly."""
    y, x = torch.meshgrid(torch.arange(SIDE) / 4, torch.arange(SIDE) / 5, indexing="ij")
    shifts = torch.stack([y.sin(), x.cos()], 2) * 2.5 / SIDE
    identity = torch.eye(2, 3).unsqueeze(0)
    return warp(images, identity, shifts.unsqueeze(0))


def costs(learner, query, support):
    """``[q, s]`` of images, a support image a class."""
    prepared = Episodes(learner.prepare(support)[None, :, None], learner.prepare(query)[None, None])
    return learner.costs(prepared)[0]


CHANGES = {
    "itself": lambda x: x,
    "moved": lambda x: changed(x, translation_x=0.2, translation_y=-0.15),
    "larger": lambda x: changed(x, scale=-0.2),
    "wider": lambda x: warp(x, torch.tensor([[[0.8, 0, 0], [0, 1.1, 0]]])),
    "turned": lambda x: changed(x, rotation=0.15),
    "warped": warped,
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("direction", ["both", "query", "support"])
def test_a_changed_glyph_matches_itself_alone(glyphs, change, direction):
    found = costs(on_pixels(direction=direction), CHANGES[change](glyphs), glyphs)
    own = found.diagonal()
    others = found + torch.diag(torch.full((len(found),), torch.inf))
    assert (own < 0.4 * others.amin(1)).all()
    logits = on_pixels(cosine=False, direction=direction).logits(
        Episodes(glyphs[None, :, None], CHANGES[change](glyphs)[None, :, None])
    )
    assert logits[0].argmax(1).tolist() == list(range(6))


@pytest.mark.parametrize(
    ("alignment", "change", "invariant"),
    [
        ({"alignment": "none"}, "moved", False),
        ({"alignment": "position"}, "moved", True),
        ({"alignment": "position"}, "larger", False),
        ({"alignment": "scale"}, "moved", True),
        ({"alignment": "scale"}, "larger", True),
        ({"alignment": "scale", "stretch": 0.0}, "wider", False),
        ({"alignment": "scale", "stretch": 1.0}, "wider", True),
        ({"alignment": "scale"}, "turned", False),
        ({"alignment": "rotation"}, "turned", True),
    ],
)
def test_alignment_removes_what_it_promises(glyphs, alignment, change, invariant):
    """Half a letter's rotation is matched by turning it back; without, the cost is several times
    that of two drawings on different grids."""
    learner = on_pixels(window=0, context=1, **alignment)
    turned = change == "turned"
    query = changed(glyphs, rotation=0.26) if turned else CHANGES[change](glyphs)
    found, expected = costs(learner, query, glyphs), costs(learner, glyphs, glyphs)
    apart = expected[~torch.eye(6, dtype=bool)].mean()
    ratio = found.diagonal()[:4].mean() / apart  # a ring turned is itself
    assert (ratio < 0.06) == invariant, float(ratio)


def test_bright_and_dark_ink_are_matched_alike(glyphs):
    learner = on_pixels()
    query = warped(glyphs)
    expected = costs(learner, query, glyphs)
    torch.testing.assert_close(
        costs(learner, 1 - query, 1 - glyphs), expected, rtol=1e-3, atol=1e-6
    )
    coloured = torch.tensor([0.9, 0.4, 0.2]).view(3, 1, 1)
    assert not ink(coloured.expand(2, 3, 8, 9)).any()


@pytest.mark.parametrize(
    "settings", [{}, {"cosine": False}, {"alignment": "rotation"}, {"relative": True}]
)
def test_logits_are_cosines_less_weighted_costs(glyphs, settings):
    learner = on_pixels(weight=0.7, temperature=0.5, **settings)
    support, query = torch.stack([glyphs, warped(glyphs)], 1), changed(glyphs, scale=0.1)
    logits = learner.logits(Episodes(support[None], query[None, :, None]))[0]
    singly = [costs(learner, query, support[:, i]) for i in range(2)]
    least = torch.minimum(*singly)
    expected = -0.7 * least / least.mean(1, keepdim=True)
    if learner.cosine:
        cosines = torch.cosine_similarity(
            query.flatten(1)[:, None], support.mean(1).flatten(1)[None], dim=2
        )
        apart = (1 - cosines) / (1 - cosines).mean(1, keepdim=True)
        expected = expected + (-apart if learner.relative else cosines)
    torch.testing.assert_close(logits, expected / 0.5, rtol=1e-4, atol=1e-5)
    mean = on_pixels(
        weight=0.7,
        temperature=0.5,
        shots="mean",
        cosine=False,
        **({"alignment": learner.alignment}),
    ).logits(Episodes(support[None], query[None, :, None]))[0]
    average = (singly[0] + singly[1]) / 2
    torch.testing.assert_close(mean, -1.4 * average / average.mean(1, keepdim=True))


@pytest.fixture(scope="module")
def pooled():
    with seeded_initialisation(0, "test"):
        return Encoder(Conv4((1, SIDE, SIDE), width=8, downsample="pool"), None).eval()


def test_map_costs_are_those_of_the_nearest_of_nine_neighbours(pooled, glyphs):
    """An implementation place by place."""
    learner = DeformationMatching(pooled, maps=1.0, direction="query").eval()
    with torch.no_grad():
        maps = pooled.backbone.maps(learner.prepare(glyphs)).permute(0, 2, 3, 1).numpy()
    squares = (maps**2).sum(3)
    unit = maps / np.sqrt(squares + squares.mean((1, 2), keepdims=True) / 4)[..., None]
    expected = np.empty((6, 6))
    for q, s in np.ndindex(6, 6):
        least = [
            ((unit[s, max(0, y - 1) : y + 2, max(0, x - 1) : x + 2] - unit[q, y, x]) ** 2)
            .sum(2)
            .min()
            for y, x in np.ndindex(maps.shape[1:3])
        ]
        expected[q, s] = np.mean(least)
    prepared = learner.prepare(glyphs)
    found = learner.map_costs(Episodes(prepared[None, :, None], prepared[None, None]))[0]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_maps_are_a_share_of_the_cost(pooled, glyphs, share):
    support, query = torch.stack([glyphs, warped(glyphs)], 1), changed(glyphs, scale=0.1)
    episodes = Episodes(support[None], query[None, :, None])
    learner = DeformationMatching(pooled, maps=share).eval()
    prepared = episodes.map(learner.prepare)
    with torch.no_grad():
        found = learner.logits(episodes)
        cosines = Prototypical(pooled, metric="cosine", temperature=0.1).logits(episodes)
    of_pixels, of_maps = (
        x / x.mean(2, keepdim=True) for x in (learner.costs(prepared), learner.map_costs(prepared))
    )
    expected = cosines - 20 * ((1 - share) * of_pixels + share * of_maps)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_maps_that_cannot_be_matched_are_refused(pooled, glyphs):
    with pytest.raises(InputError, match=r"maps: expected in \[0, 1\], got 1.5"):
        DeformationMatching(pooled, maps=1.5)
    with pytest.raises(InputError, match="set size to the encoder's"):
        DeformationMatching(pooled, maps=0.5, size=14)
    episodes = Episodes(glyphs[None, :, None], glyphs[None, :, None])
    with pytest.raises(InputError, match="Pixels: has no feature maps"):
        on_pixels(maps=0.5).logits(episodes)
    with pytest.raises(InputError, match="meta-train with maps: 0"):
        DeformationMatching(pooled, maps=0.5).loss(episodes)


@pytest.mark.parametrize(
    ("way", "shot", "query", "shape"),
    [(2, 1, 1, (1, 28, 28)), (3, 2, 4, (3, 40, 40)), (4, 1, 2, (3, 36, 24)), (2, 3, 1, (1, 9, 11))],
)
@pytest.mark.parametrize("alignment", ["none", "scale"])
def test_any_shape_of_episodes_and_images(way, shot, query, shape, alignment):
    learner = on_pixels(shape, alignment=alignment)
    drawn = torch.Generator().manual_seed(0)
    support = torch.rand(2, way, shot, *shape, generator=drawn)
    same = support[:, :, :1].expand(-1, -1, query, -1, -1, -1)
    logits = learner.logits(Episodes(support, same))
    assert logits.shape == (2, way * query, way)
    assert (logits.argmax(2) == torch.arange(way).repeat_interleave(query)).all()
    assert max(learner.prepared_shape[1:]) <= 28


@pytest.mark.parametrize("policy", ["support", "transductive"])
def test_other_batch_norms_match_the_same_images(encoder, bank, policy):
    episodes = EpisodeSampler(bank, Setting(3, 1, 2), seed=0).batch(0, 2).gather(bank.images)
    settings = {"metric": "cosine", "batch_norm": policy, "temperature": 0.1}
    cosines = Prototypical(encoder, **settings).logits(episodes)
    both = DeformationMatching(encoder, batch_norm=policy).eval().logits(episodes)
    alone = DeformationMatching(encoder, cosine=False).eval().logits(episodes)
    torch.testing.assert_close(both, cosines + alone, rtol=1e-4, atol=1e-4)


def test_views_are_averaged_and_the_image_itself_is_matched(encoder, bank):
    learner = DeformationMatching(encoder).eval()
    learner.views = Augmentation(rotation=20, views=3)
    table = table_for(learner, bank)
    embedded, prepared = table[:, : encoder.out_dim], table[:, encoder.out_dim :]
    torch.testing.assert_close(embedded, encoder.averaged(bank.images, learner.views))
    torch.testing.assert_close(prepared, learner.prepare(bank.images).flatten(1))


def test_costs_are_in_full_precision(glyphs):
    episodes = Episodes(glyphs[None, :, None], warped(glyphs)[None, :, None])
    learner = on_pixels(cosine=False, alignment="rotation")
    expected = learner.logits(episodes)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(learner.logits(episodes), expected)


def test_embeddings_of_another_learner_are_refused(encoder, make_episodes):
    with pytest.raises(InputError, match="of 8 numbers an image, expected 264"):
        DeformationMatching(encoder).logits(make_episodes(d=8))


def test_an_explanation_is_of_the_prepared_images(glyphs):
    learner = on_pixels()
    found = learner.explain(warped(glyphs), glyphs)
    torch.testing.assert_close(found.deformed + found.residual, learner.prepare(warped(glyphs)))
    before = (learner.prepare(warped(glyphs)) - learner.prepare(glyphs)).square().mean((1, 2, 3))
    assert (found.residual.square().mean((1, 2, 3)) < 0.4 * before).all()


MATCHING = {"class_path": "DeformationMatching", "init_args": {"window": 1, "weight": 3}}


@pytest.mark.usefixtures("cache")
def test_a_study_and_the_command_give_the_answers_of_images(study, write, tmp_path):
    """Beside a learner that keeps the embeddings alone, and meta-trained."""
    del study["arms"]["vae"], study["arms"]["guided"]
    shape = {"n_way": 3, "n_shot": 1, "n_query": 2}
    train = {"steps": 2, "setting": shape, "validation": shape, "validation_episodes": 2}
    unaligned = {"class_path": "DeformationMatching", "init_args": {"alignment": "none"}}
    study["learners"] |= {
        "matching": {"learner": MATCHING},
        "unaligned": {"learner": unaligned},
        "trained": {"learner": MATCHING, "train": train | {"validate_every": 1}},
    }
    study |= {"seeds": [0], "settings": [shape], "episodes": 30, "baseline": "random"}
    config = load(CompareConfig, study)
    splits = config.dataset(None).splits()
    outcome = Study(config, splits, tmp_path / "run", say=str).run()
    sampler = EpisodeSampler(splits.test, Setting(**shape), derive_seed(0, "test", "3w1s"))
    wrong = {}
    for entry in outcome.wrong:
        name, model = entry.key.learner, outcome.learners[entry.key].load()
        with torch.no_grad():
            logits = model.logits(sampler.batch(0, 30).gather(splits.test.images))
        expected = (logits.argmax(2) != torch.arange(3).repeat_interleave(2)).sum(1)
        assert entry.wrong.tolist() == expected.tolist()
        wrong[entry.key.arm, name] = entry.wrong.tolist()
    assert wrong["pixels", "trained"] == wrong["pixels", "matching"]
    different = {tuple(wrong["pixels", name]) for name in ("prototypical", "matching", "unaligned")}
    assert len(different) == 3
    evaluated = {"dataset": study["dataset"], "settings": [shape], "episodes": 30}
    names = ("prototypical", "matching", "unaligned")
    evaluated["learners"] = {name: study["learners"][name]["learner"] for name in names}
    folder = tmp_path / "evaluated"
    assert main(["evaluate", write(evaluated), "--output", str(folder)]) == 0
    for row in json.loads((folder / "results.json").read_text())["rows"]:
        percent = 100 * sum(wrong["pixels", row["learner"]]) / (30 * 6)
        assert row["error"] == pytest.approx(percent, abs=1e-3)


def test_a_frozen_encoder_embeds_no_images(encoder, bank):
    settings = {"freeze_encoder": True, "projection": 4, "setting": Setting(3, 1, 2)}
    with pytest.raises(InputError, match="freeze_encoder: needs a learner of embeddings alone"):
        train(DeformationMatching, encoder, bank, bank, **settings)


def test_the_cost_alone_cannot_be_trained(encoder, bank):
    with pytest.raises(InputError, match=r"cosine: .* set it to true"):
        train(
            partial(DeformationMatching, cosine=False),
            encoder,
            bank,
            bank,
            setting=Setting(3, 1, 2),
        )


@pytest.mark.parametrize("n_shot", [1, 2])
def test_the_figure_shows_wrong_answers_beside_right_ones(glyphs, n_shot):
    """The third and fourth drawing taken for one another; with two shots, the second is nearest."""
    learner = on_pixels()
    queries = warped(glyphs)[:4]
    far = torch.zeros_like(queries).unsqueeze(1)
    support = torch.cat([far] * (n_shot - 1) + [glyphs[:4].unsqueeze(1)], 1)
    episode = Episodes(support[None], queries[None, :, None])
    figure = learner.figures(episode, torch.tensor([[0], [1], [3], [2]]))["explanations"]
    (axes,) = figure.axes
    labels = [text.get_text() for text in axes.get_xticklabels()]
    assert labels == ["wrong", "wrong", "right", "right"]
    sheet = torch.from_numpy(np.asarray(axes.images[0].get_array()))
    drawn = sheet.unflatten(0, (4, SIDE)).unflatten(2, (4, SIDE)).permute(0, 2, 1, 3)
    order = torch.tensor([2, 3, 0, 1])
    taken = torch.tensor([3, 2, 0, 1])
    expected = [learner.prepare(queries[order]), learner.prepare(glyphs[taken])]
    torch.testing.assert_close(drawn[:2], torch.cat(expected, 1).transpose(0, 1).clamp(0, 1))
    left_over = (drawn[3] - 0.5).abs().sum((1, 2))
    assert left_over[:2].min() > 1.5 * left_over[2:].max()
