"""Episodes: every one a function of (seed, number), every draw uniform."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from fewshot.episodes import Setting
from fewshot.sampler import EpisodeSampler, distinct
from guided.errors import InputError
from guided.seeds import derive_seed

MASK = 2**64 - 1
ODD = 0x9E3779B97F4A7C15
SIZES = [9, 12, 7, 15, 8, 20]


def mix(state):
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
    return state ^ (state >> 31)


def draws(state, population, k):
    """k of a list without replacement: the rank-th of those left, again and again."""
    left = list(population)
    drawn = []
    for i in range(1, k + 1):
        u = (mix((state + i * ODD) & MASK) >> 11) / 2**53
        drawn.append(left.pop(int(u * len(left))))
    return drawn


def episode_by_hand(bank, setting, seed, number):
    """The sampler in plain integers, lists and loops."""
    rows_of = [[r for r, c in enumerate(bank.labels.tolist()) if c == k] for k in range(len(SIZES))]
    state = mix((derive_seed(seed, "episodes") + number * ODD) & MASK)
    support, query = [], []
    for position, c in enumerate(draws(state, range(bank.n_classes), setting.n_way), start=1):
        stream = mix((state + ((position << 32) * ODD)) & MASK)
        rows = draws(stream, rows_of[c], setting.n_shot + setting.n_query)
        support.append(rows[: setting.n_shot])
        query.append(rows[setting.n_shot :])
    return support, query


@pytest.fixture(scope="module")
def uneven(make_bank):
    return make_bank(len(SIZES), SIZES, shuffled=True)


@pytest.fixture(scope="module")
def many(uneven):
    """20 000 episodes of an uneven bank in arbitrary row order."""
    return EpisodeSampler(uneven, Setting(3, 2, 2), seed=5).batch(0, 20_000)


@pytest.mark.parametrize("start", [0, 1_000_000])
@pytest.mark.parametrize("setting", [Setting(3, 2, 4), Setting(6, 1, 1), Setting(2, 3, 4)])
def test_equals_a_plain_implementation(uneven, setting, start):
    """However many are drawn at once, and without a global generator."""
    # The first outputs of seed 1234567, published with splitmix64's reference code.
    known = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert [mix((1234567 + i * ODD) & MASK) for i in (1, 2, 3)] == known
    sampler, before = EpisodeSampler(uneven, setting, seed=9), torch.random.get_rng_state()
    batch = sampler.batch(start, start + 40)
    assert torch.equal(before, torch.random.get_rng_state())
    assert len(batch) == 40
    for i in range(40):
        support, query = episode_by_hand(uneven, setting, 9, start + i)
        for drawn in (batch[i], sampler[start + i]):
            assert (drawn.support.tolist(), drawn.query.tolist()) == ([support], [query])


def expect_uniform(counts):
    assert chisquare(counts).pvalue > 0.001, counts


def test_classes_are_uniform_and_so_are_their_ordered_pairs(uneven, many):
    classes = uneven.labels[many.support[..., 0]].numpy()
    for position in range(3):
        expect_uniform(np.bincount(classes[:, position], minlength=6))
    pairs = classes[:, 0] * 6 + classes[:, 1]
    counts = np.bincount(pairs, minlength=36).reshape(6, 6)
    assert counts.diagonal().sum() == 0
    expect_uniform(counts[~np.eye(6, dtype=bool)])
    # One episode says nothing about the next.
    following = classes[:-1, 0] * 6 + classes[1:, 0]
    expect_uniform(np.bincount(following, minlength=36))


def test_images_are_uniform_within_their_class(uneven, many):
    rows = torch.cat([many.support, many.query], 2)
    for c, size in enumerate(SIZES):
        members = (uneven.labels == c).nonzero().squeeze(1)
        taken = rows[uneven.labels[rows[..., 0]] == c]
        within = torch.searchsorted(members, taken)
        for column in within.T:
            expect_uniform(np.bincount(column, minlength=size))
        # Support image and first query image: every ordered pair of different ones.
        pairs = np.bincount(within[:, 0] * size + within[:, 2], minlength=size * size)
        expect_uniform(pairs.reshape(size, size)[~np.eye(size, dtype=bool)])


@pytest.mark.parametrize(("size", "k"), [(1, 1), (2, 2), (5, 3), (6, 2), (5, 5), (4, 1)])
def test_distinct_maps_ranks_one_to_one_onto_ordered_tuples(size, k):
    """Each k-tuple of ranks is equally likely; each gives another tuple: all are, exactly."""
    ranks = np.array(list(itertools.product(*(range(size - i) for i in range(k)))))
    left = size - np.arange(k)
    lowest, highest = ranks / left, np.nextafter((ranks + 1) / left, 0)
    for uniform in (lowest + 1e-12, (ranks + 0.5) / left, highest - 1e-12):
        drawn = distinct(uniform, np.full(len(ranks), size))
        assert sorted(map(tuple, drawn.tolist())) == sorted(itertools.permutations(range(size), k))


def test_distinct_at_the_ends_of_the_unit_interval():
    sizes = np.arange(3, 300)
    top = distinct(np.full((len(sizes), 3), np.nextafter(1, 0)), sizes)
    assert top.tolist() == [[n - 1, n - 2, n - 3] for n in sizes]
    bottom = distinct(np.zeros((len(sizes), 3)), sizes)
    assert bottom.tolist() == [[0, 1, 2]] * len(sizes)


def test_gather_takes_the_rows_and_map_embeds_them_in_one_call(uneven):
    rows = EpisodeSampler(uneven, Setting(3, 2, 4), seed=0).batch(0, 5)
    images = rows.gather(uneven.images)
    assert images.support.shape == (5, 3, 2, 1, 16, 16)
    assert images.query.shape == (5, 3, 4, 1, 16, 16)
    calls = []

    def embed(images):
        calls.append(images.shape)
        return images.float().flatten(1)[:, 40:45] + 1

    embedded = images.map(embed)
    assert calls == [(5 * 3 * (2 + 4), 1, 16, 16)]
    for part in ("support", "query"):
        row, image, embedding = (getattr(x, part) for x in (rows, images, embedded))
        for e, c, i in np.ndindex(row.shape):
            expected = uneven.images[row[e, c, i]]
            assert torch.equal(image[e, c, i], expected)
            assert torch.equal(embedding[e, c, i], expected.flatten()[40:45] + 1.0)


@pytest.fixture
def grouped(make_bank):
    """Twelve classes of three alphabets, of 5, 3 and 4; drawers differ within a class."""
    bank = make_bank(12, shuffled=True)
    alphabet = torch.tensor([0, 1, 2, 0, 0, 1, 2, 2, 0, 1, 2, 0])[bank.labels]
    drawer = torch.arange(len(bank)) % 20
    return replace(bank, attributes={"alphabet": alphabet, "drawer": drawer})


def test_episodes_within_an_attribute(grouped):
    rows = EpisodeSampler(grouped, Setting(4, 1, 2, "alphabet"), seed=1).batch(0, 600)
    found = grouped.attributes["alphabet"][rows.query].flatten(1)
    assert (found == found[:, :1]).all()
    # The second alphabet is too small; the others are as likely as each other.
    counts = found[:, 0].bincount()
    assert counts[1] == 0
    assert abs(counts[0] - 300) < 50
    assert (grouped.labels[rows.query] == rows.classes.unsqueeze(2)).all()
    assert (rows.classes.sort(1).values.diff() > 0).all()
    # Each class of an alphabet is as likely: 4 of 5, in half of the episodes.
    counts = rows.classes[found[:, 0] == 0].flatten().bincount(minlength=12)
    assert counts[counts > 0].min() > 0.8 * counts.max()
    # Every class together is one group, from which the same numbers are drawn.
    together = replace(grouped, attributes={"all": torch.zeros(len(grouped), dtype=torch.int64)})
    plain = EpisodeSampler(together, Setting(4, 1, 2), seed=1).batch(0, 50)
    within = EpisodeSampler(together, Setting(4, 1, 2, "all"), seed=1).batch(0, 50)
    assert torch.equal(plain.support, within.support)
    assert torch.equal(plain.query, within.query)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ((1, 1, 1), "Setting.n_way: expected at least 2"),
        ((2, 0, 1), "Setting.n_shot: expected at least 1"),
        ((2, 1, 0), "Setting.n_query: expected at least 1"),
        ((13, 1, 1), "n_way: 13 classes asked for, the set has 12"),
        (
            (2, 3, 18),
            r"12 of 12 classes have too few images: 'class 0' \(20\), .* and 9 more; n_shot",
        ),
        ((4, 1, 2, "script"), "within: the data have no 'script'; there are alphabet, drawer"),
        ((4, 1, 2, "drawer"), "within: the images of class .* differ in 'drawer'"),
        ((6, 1, 2, "alphabet"), "n_way: 6 classes within one alphabet .* largest has 5"),
    ],
)
def test_impossible_episodes_are_refused(grouped, setting, message):
    with pytest.raises(InputError, match=f"^{message}"):
        EpisodeSampler(grouped, Setting(*setting), seed=0)


@pytest.mark.parametrize("within", [None, "alphabet"])
def test_classes_are_those_of_the_episodes_without_their_images(grouped, within):
    sampler = EpisodeSampler(grouped, Setting(3, 1, 2, within), seed=4)
    classes = sampler.classes(7, 90)
    assert np.array_equal(classes, grouped.labels[sampler.batch(7, 90).support[..., 0]])
    assert np.array_equal(classes[20:], sampler.classes(27, 90))


def test_a_class_without_images_is_named(make_bank):
    with pytest.raises(InputError, match="class 'class 1' has 0 images"):
        EpisodeSampler(make_bank(3, [5, 0, 5]), Setting(2, 1, 1), seed=0)
