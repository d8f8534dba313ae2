"""Episodes: every one a function of (seed, number), every draw uniform."""

import itertools
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from fewshot.data.bank import ImageBank
from fewshot.episodes import Setting
from fewshot.sampler import EpisodeSampler, _uniform, distinct
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


@pytest.mark.parametrize("setting", [Setting(3, 2, 4), Setting(6, 1, 1), Setting(2, 3, 4)])
def test_equals_a_plain_implementation(uneven, setting):
    sampler = EpisodeSampler(uneven, setting, seed=9)
    batch = sampler.batch(0, 40)
    for number in range(40):
        support, query = episode_by_hand(uneven, setting, 9, number)
        assert batch.support[number].tolist() == support
        assert batch.query[number].tolist() == query


def test_random_numbers_are_splitmix64():
    # The first outputs of seed 1234567, published with the generator's reference code.
    known = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    drawn = _uniform(np.array([1234567], np.uint64), 3)[0]
    assert drawn.tolist() == [(output >> 11) / 2**53 for output in known]


def test_one_episode_forever():
    """Written down: another process, platform or version draws the same episode."""
    images = torch.zeros(60, 1, 1, 1, dtype=torch.uint8)
    six = ImageBank(images, torch.arange(60) % 6, tuple("abcdef"))
    one = EpisodeSampler(six, Setting(3, 1, 2), seed=7)[11]
    assert one.support.tolist() == [[[54], [31], [10]]]
    assert one.query.tolist() == [[[6, 24], [1, 55], [16, 4]]]


@pytest.mark.parametrize("bounds", [(0, 50), (13, 14), (17, 31), (1_000_000, 1_000_005)])
def test_batching_does_not_matter(uneven, bounds):
    sampler = EpisodeSampler(uneven, Setting(4, 2, 3), seed=1)
    batch = sampler.batch(*bounds)
    assert len(batch) == bounds[1] - bounds[0]
    for offset, number in enumerate(range(*bounds)):
        one = sampler[number]
        assert torch.equal(one.support[0], batch.support[offset])
        assert torch.equal(one.query[0], batch.query[offset])


def test_depends_on_the_seed_alone(uneven):
    def drawn(seed):
        return EpisodeSampler(uneven, Setting(3, 2, 2), seed).batch(5, 25).query

    before = torch.random.get_rng_state()
    first = drawn(3)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(99)
    random.seed(99)
    assert torch.equal(first, drawn(3))
    assert not torch.equal(first, drawn(4))


def test_rows_are_distinct_and_of_the_right_class(uneven, many):
    rows = torch.cat([many.support, many.query], 2)
    labels = uneven.labels[rows]
    assert (labels == labels[..., :1]).all(), "one class a position"
    classes = labels[..., 0].sort(1).values
    assert (classes.diff(dim=1) > 0).all(), "distinct classes"
    assert (rows.sort(2).values.diff(dim=2) > 0).all(), "support and query are disjoint"


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


def test_gather_takes_the_rows(uneven):
    rows = EpisodeSampler(uneven, Setting(3, 2, 4), seed=0).batch(0, 5)
    images = rows.gather(uneven.images)
    assert images.support.shape == (5, 3, 2, 1, 16, 16)
    assert images.query.shape == (5, 3, 4, 1, 16, 16)
    for e, c, i in itertools.product(range(5), range(3), range(2)):
        assert torch.equal(images.support[e, c, i], uneven.images[rows.support[e, c, i]])
        assert torch.equal(images.query[e, c, i + 2], uneven.images[rows.query[e, c, i + 2]])


def test_map_embeds_everything_in_one_call(uneven):
    calls = []

    def embed(images):
        calls.append(images.shape)
        return images.float().flatten(1)[:, 40:45] + 1

    images = EpisodeSampler(uneven, Setting(3, 2, 4), seed=0).batch(0, 5).gather(uneven.images)
    embedded = images.map(embed)
    assert calls == [(5 * 3 * (2 + 4), 1, 16, 16)]
    assert torch.equal(embedded.support, images.support.float().flatten(3)[..., 40:45] + 1)
    assert torch.equal(embedded.query, images.query.float().flatten(3)[..., 40:45] + 1)


# Classes within one value of an attribute.


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
    assert found[:, 0].bincount().tolist()[1] == 0
    assert abs(found[:, 0].bincount()[0] - 300) < 50
    assert (grouped.labels[rows.query] == rows.classes.unsqueeze(2)).all()
    assert (rows.classes.sort(1).values.diff() > 0).all()
    # Each class of an alphabet is as likely: 4 of 5, in half of the episodes.
    counts = rows.classes[found[:, 0] == 0].flatten().bincount(minlength=12)
    assert counts[counts > 0].min() > 0.8 * counts.max()


def test_without_it_episodes_are_what_they_were(grouped):
    """Every class together is one group: the same numbers are drawn."""
    together = replace(grouped, attributes={"all": torch.zeros(len(grouped), dtype=torch.int64)})
    plain = EpisodeSampler(together, Setting(4, 1, 2), seed=1).batch(0, 50)
    within = EpisodeSampler(together, Setting(4, 1, 2, "all"), seed=1).batch(0, 50)
    assert torch.equal(plain.support, within.support)
    assert torch.equal(plain.query, within.query)


@pytest.mark.parametrize(
    ("arguments", "name"), [((1, 1, 1), "n_way"), ((2, 0, 1), "n_shot"), ((2, 1, 0), "n_query")]
)
def test_impossible_settings(arguments, name):
    with pytest.raises(InputError, match=f"^{name}: expected at least"):
        Setting(*arguments)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (Setting(13, 1, 1), "n_way: 13 classes asked for, the set has 12"),
        (Setting(2, 3, 18), "class 'class 0' has 20 images; n_shot \\+ n_query needs 21"),
        (
            Setting(4, 1, 2, "script"),
            "within: the data have no 'script'; there are alphabet, drawer",
        ),
        (Setting(4, 1, 2, "drawer"), "within: the images of class .* differ in 'drawer'"),
        (Setting(6, 1, 2, "alphabet"), "n_way: 6 classes within one alphabet .* largest has 5"),
    ],
)
def test_impossible_episodes_are_refused(grouped, setting, message):
    with pytest.raises(InputError, match=f"^{message}"):
        EpisodeSampler(grouped, setting, seed=0)


def test_a_class_without_images_is_named(make_bank):
    with pytest.raises(InputError, match=r"class 'class 1' has 0 images"):
        EpisodeSampler(make_bank(3, [5, 0, 5]), Setting(2, 1, 1), seed=0)
