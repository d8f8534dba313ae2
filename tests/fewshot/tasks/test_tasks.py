"""Tasks without labels: what an episode holds, and that it is a function of its number alone."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from fewshot.episodes import Setting
from fewshot.learners import ANIL, Prototypical, Relation
from fewshot.meta_train import TrainConfig, meta_train
from fewshot.tasks import ClusterTasks, DecodedTasks, NeighbourTasks, PartitionTasks, ViewTasks
from fewshot.tasks.base import Partitions, TaskContext
from guided.augment import Augmentation
from guided.backbones import Conv4
from guided.decoder import Decoder
from guided.errors import InputError
from guided.latents import LatentLayout
from guided.likelihoods import Bernoulli
from guided.seeds import seeded_initialisation
from guided.vae import VAE

SETTING = Setting(3, 2, 4)
LAYOUT = LatentLayout({"rotation": (0, 1), "content": (1, 6)}, {"rotation": "deformation"})
SHIFTED = Augmentation(translation=0.05)
SOURCES = [
    partial(ViewTasks, augmentation=Augmentation(rotation=20, translation=0.1)),
    partial(ViewTasks, augmentation=SHIFTED, deform_support=True),
    partial(ClusterTasks, n_clusters=10, n_partitions=3),
    partial(NeighbourTasks, candidates=8, neighbours=4),
    partial(DecodedTasks),
    partial(DecodedTasks, original_support=True),
    partial(PartitionTasks, n_ranges=4),
]


@pytest.fixture(scope="module")
def bank(make_bank):
    return make_bank(12, noise=60.0)


@pytest.fixture(scope="module")
def context(bank):
    with seeded_initialisation(0, "test"):
        vae = VAE(Conv4((1, 16, 16), width=8), LAYOUT, Bernoulli()).eval()
    device = torch.device("cpu")
    return TaskContext(bank.images, SETTING, 5, device, vae.encoder, Decoder.from_vae(vae))


@pytest.fixture(scope="module")
def codes(context):
    with torch.no_grad():
        return context.encoder(context.images)


def rows_of(context, images):
    """Row numbers of images that are those of the bank, found by comparing pixels."""
    scale = 255 if images.is_floating_point() else 1
    flat = (scale * images).flatten(-3).flatten(0, -2).round()
    equal = (flat[:, None] == context.images.flatten(1)).all(2)
    assert equal.any(1).all()
    return equal.int().argmax(1)


@pytest.mark.parametrize("source", SOURCES)
def test_an_episode_is_a_function_of_seed_and_number(source, context):
    made = source(context)
    together = made.episodes(0, 5)
    assert together.support.shape == (5, 3, 2, 1, 16, 16)
    assert together.query.shape == (5, 3, 4, 1, 16, 16)
    again = source(context)
    for number in (3, 1):
        one = again.episodes(number, number + 1)
        torch.testing.assert_close(one.support[0], together.support[number])
        torch.testing.assert_close(one.query[0], together.query[number])
    assert not torch.equal(together.query[0], together.query[1])
    other_seed = source(replace(context, seed=6)).episodes(0, 5)
    assert not torch.isclose(other_seed.query, together.query).flatten(1).all(1).any()


@pytest.mark.parametrize("source", SOURCES)
def test_labels_are_not_read(source, bank, context):
    """What meta-training learns is the same whatever they are."""
    shuffled = bank.labels[torch.randperm(len(bank), generator=torch.Generator().manual_seed(1))]
    config = TrainConfig(SETTING, steps=1, validation=SETTING, validation_episodes=1, tasks=source)
    start, decoder = context.encoder, context.decoder
    one, other = (
        meta_train(config, Prototypical, start, train, bank, seed=0, decoder=decoder).encoder
        for train in (bank, replace(bank, labels=shuffled))
    )
    assert all(map(torch.equal, one.state_dict().values(), other.state_dict().values()))


def test_views_are_of_the_image_that_is_the_class(context):
    episodes = ViewTasks(context, augmentation=SHIFTED).episodes(0, 3)
    rows = rows_of(context, episodes.support).view(3, 3, 2)
    assert torch.equal(rows[..., 0], rows[..., 1])
    assert (rows[..., 0].sort(1).values.diff() > 0).all()
    originals = context.images.flatten(1) / 255
    distances = torch.cdist(episodes.query.flatten(3).flatten(0, 2), originals)
    assert torch.equal(distances.argmin(1).view(3, 3, 4), rows[..., :1].expand(3, 3, 4))
    assert distances.amin(1).min() > 0
    deformed = ViewTasks(context, augmentation=SHIFTED, deform_support=True).episodes(0, 1)
    assert not torch.equal(deformed.support[0, 0, 0], deformed.support[0, 0, 1])


def test_clusters_hold_what_is_near(context, codes):
    """Partitions after the first scale the latents at random, so that other images are near."""
    source = ClusterTasks(context, n_clusters=6, n_partitions=2, unit_length=False)
    inside = []
    for first in (0, 1):
        query = torch.cat([source.episodes(i, i + 1).query for i in range(first, 80, 2)])
        members = codes[rows_of(context, query)].view(40, 3, 4, 6)
        inside.append((members - members.mean(2, keepdim=True)).square().mean((0, 1, 2)))
    assert (inside[0] / codes.var(0)).mean() < 0.6
    change = inside[1] / inside[0]
    assert change.max() > 1.6 * change.min()


def test_partitions_leave_out_what_is_too_small(bank, context):
    labels = torch.full((len(bank),), -1)
    labels[:8], labels[8:13], labels[13:20], labels[20:26] = 0, 1, 2, 3  # 8, 5, 7 and 6 images
    partitions = Partitions(context, [torch.zeros_like(labels), labels], "X")
    episodes = partitions.episodes(0, 30)
    used = torch.cat([episodes.support, episodes.query], 2)
    assert {*rows_of(context, used).tolist()} == {*range(8), *range(13, 26)}
    with pytest.raises(InputError, match="X: no partition has 3 parts of 6 images or more"):
        Partitions(context, [labels.clamp(max=1)], "X")


def test_ranges_of_a_latent_are_its_quantiles(context, codes):
    episodes = PartitionTasks(context, latents="rotation", n_ranges=4).episodes(0, 40)
    seen = codes[rows_of(context, episodes.query), 0].view(40, 3, 4)
    ranges = torch.bucketize(seen, codes[:, 0].quantile(torch.tensor([0.25, 0.5, 0.75])))
    assert (ranges == ranges[:, :, :1]).all()
    assert (ranges[:, :, 0].sort(1).values.diff() > 0).all()


def test_decoded_tasks_keep_content_and_change_the_deformation(context, codes):
    """The decoder is asked for the class's content under other images' rotation."""
    asked = []

    class Spy(torch.nn.Module):
        def forward(self, z):
            asked.append(z)
            return context.decoder(z)

    spied = replace(context, decoder=Spy())
    episodes = DecodedTasks(spied, noise=0.0, original_support=True).episodes(0, 1)
    found = asked.pop().view(3, 6, 6)
    rows = rows_of(context, episodes.support).view(3, 2)[:, :1].expand(3, 6)
    torch.testing.assert_close(found[:, :, 1:], codes[rows][:, :, 1:])
    assert found[:, :, 0].unique().numel() > 6
    assert torch.isin(found[:, :, 0].flatten(), codes[:, 0]).all()

    DecodedTasks(spied, noise=0.5).episodes(0, 1)
    assert torch.isin(asked.pop()[:, 0], codes[:, 0]).all()
    DecodedTasks(spied, noise=0.5, deform=False).episodes(0, 40)
    noisy = torch.stack(asked).view(40, 3, 6, 6)
    noise = noisy - noisy.mean(2, keepdim=True)
    ratio = noise.flatten(0, 2).std(0) * (6 / 5) ** 0.5 / codes.std(0)
    torch.testing.assert_close(ratio, torch.full((6,), 0.5), atol=0.05, rtol=0)


@pytest.mark.parametrize(
    ("make", "changes", "message"),
    [
        (partial(ViewTasks, augmentation=Augmentation()), {}, r"ViewTasks\.augmentation: needs"),
        (partial(ViewTasks, augmentation=Augmentation(rotation=1, views=2)), {}, "and views 1"),
        (SOURCES[0], {"setting": Setting(241, 1, 1)}, "n_way: 241 images asked for, there are 240"),
        (partial(ClusterTasks, n_clusters=0), {}, r"ClusterTasks\.n_clusters: expected at least 1"),
        (partial(ClusterTasks, n_clusters=500), {}, "500 asked for, there are 240 images"),
        (
            partial(NeighbourTasks, neighbours=0),
            {},
            r"Tasks\.neighbours: expected at least 1",
        ),
        (partial(NeighbourTasks, candidates=240), {}, "240 asked for, there are 240 images"),
        (partial(NeighbourTasks, neighbours=21), {}, "neighbours: expected at most 20, the cand"),
        (partial(NeighbourTasks, learner=ANIL), {}, r"learner: ANIL cannot score candidates"),
        (partial(NeighbourTasks, learner=Relation), {}, "Relation cannot score candidates"),
        (SOURCES[3], {"setting": Setting(241, 1, 1)}, "n_way: 241 images with neighbours asked"),
        (partial(DecodedTasks, noise=-1.0), {}, r"DecodedTasks\.noise: expected at least 0"),
        (DecodedTasks, {"decoder": None}, "DecodedTasks: needs a pretrained VAE's encoder and"),
        (partial(PartitionTasks, n_ranges=2), {}, "no partition has 3 parts"),
    ],
)
def test_impossible_settings_are_refused(make, changes, message, context):
    with pytest.raises(InputError, match=message):
        make(replace(context, **changes))
