"""Tasks without labels: what an episode holds, and that it is a function of its number alone."""

from functools import partial

import numpy as np
import pytest
import torch

from fewshot.episodes import Setting
from fewshot.learners.prototypical import Prototypical
from fewshot.meta_train import TrainConfig, meta_train
from fewshot.tasks.base import Partitions, TaskContext
from fewshot.tasks.clusters import ClusterTasks
from fewshot.tasks.decoded import DecodedTasks
from fewshot.tasks.partitions import PartitionTasks
from fewshot.tasks.views import ViewTasks
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
AUGMENTATION = Augmentation(rotation=20, translation=0.1)


@pytest.fixture(scope="module")
def vae():
    with seeded_initialisation(0, "test"):
        return VAE(Conv4((1, 16, 16), width=8), LAYOUT, Bernoulli()).eval()


@pytest.fixture(scope="module")
def bank(make_bank):
    return make_bank(12, noise=60.0)


@pytest.fixture
def context(bank, vae):
    return TaskContext(
        bank.images, SETTING, 5, torch.device("cpu"), vae.encoder, Decoder.from_vae(vae)
    )


SOURCES = {
    "views": partial(ViewTasks, augmentation=AUGMENTATION),
    "clusters": partial(ClusterTasks, n_clusters=10, n_partitions=3),
    "decoded": partial(DecodedTasks),
    "partitions": partial(PartitionTasks, n_ranges=4),
}


@pytest.mark.parametrize("name", SOURCES)
def test_an_episode_is_a_function_of_its_number(name, context):
    source = SOURCES[name](context)
    together = source.episodes(0, 5)
    assert together.support.shape == (5, 3, 2, 1, 16, 16)
    assert together.query.shape == (5, 3, 4, 1, 16, 16)
    again = SOURCES[name](context)
    apart = [again.episodes(i, i + 1) for i in (3, 1)]
    for one, number in zip(apart, (3, 1), strict=True):
        assert torch.equal(one.support[0], together.support[number])
        torch.testing.assert_close(one.query[0], together.query[number])
    assert not torch.equal(together.query[0], together.query[1])


@pytest.mark.parametrize("name", SOURCES)
def test_labels_are_not_read(name, bank, context):
    """A context has none; what meta-training learns is the same whatever they are."""
    shuffled = bank.labels[torch.randperm(len(bank), generator=torch.Generator().manual_seed(1))]
    other = type(bank)(bank.images, shuffled, bank.class_names)
    config = TrainConfig(
        setting=SETTING,
        steps=2,
        validation=Setting(3, 1, 4),
        validation_episodes=2,
        validate_every=2,
        tasks=SOURCES[name],
    )
    trained = [
        meta_train(
            config,
            partial(Prototypical),
            context.encoder,
            train,
            bank,
            seed=0,
            decoder=context.decoder,
        ).encoder.state_dict()
        for train in (bank, other)
    ]
    for key, value in trained[0].items():
        assert torch.equal(value, trained[1][key]), key


def test_views_are_of_the_image_that_is_the_class(context):
    shifted = Augmentation(translation=0.05)
    episodes = ViewTasks(context, augmentation=shifted).episodes(0, 3)
    originals = context.images.float() / 255
    for episode in range(3):
        for way in range(3):
            support = episodes.support[episode, way]
            assert torch.equal(support[0], support[1])
            (row,) = (originals == support[0]).all((1, 2, 3)).nonzero()
            distances = (episodes.query[episode, way, 0] - originals).square().sum((1, 2, 3))
            assert int(distances.argmin()) == int(row)
            assert float(distances.min()) > 0
    deformed = ViewTasks(context, augmentation=shifted, deform_support=True).episodes(0, 1)
    assert not torch.equal(deformed.support[0, 0, 0], deformed.support[0, 0, 1])


def test_clusters_hold_what_is_near(context):
    source = ClusterTasks(context, n_clusters=6, n_partitions=1, unit_length=False)
    episodes = source.episodes(0, 20)
    with torch.no_grad():
        codes = context.encoder(context.images)
        members = context.encoder(episodes.query.flatten(0, 2)) / codes.std(0)
    members, codes = members.unflatten(0, (20, 3, 4)), codes / codes.std(0)
    inside = (members - members.mean(2, keepdim=True)).square().sum(-1).mean()
    everywhere = (codes - codes.mean(0)).square().sum(-1).mean()
    assert inside < 0.6 * everywhere


def test_a_later_partition_differs(context):
    source = ClusterTasks(context, n_clusters=6, n_partitions=2)
    first, second = source.episodes(0, 1), source.episodes(1, 2)
    assert len(source.partitions.samplers) == 2
    one, other = (np.sort(sampler._sizes) for sampler in source.partitions.samplers)
    assert not np.array_equal(one, other)
    assert not torch.equal(first.query, second.query)


def test_partitions_leave_out_what_is_too_small(bank, context):
    labels = torch.full((len(bank),), -1)
    labels[:8], labels[8:13], labels[13:20], labels[20:26] = 0, 1, 2, 3  # 8, 5, 7 and 6 images
    partitions = Partitions(context, [labels, torch.zeros(len(bank), dtype=torch.long)], "X")
    assert len(partitions.samplers) == 1
    episodes = partitions.episodes(0, 30)
    used = torch.cat([episodes.support, episodes.query], 2).flatten(0, 2)
    originals = context.images
    rows = {int((originals == image).all((1, 2, 3)).nonzero()[0]) for image in used}
    assert rows <= {*range(8), *range(13, 26)}
    with pytest.raises(InputError, match="X: no partition has 3 parts of 6 images or more"):
        Partitions(context, [labels.clamp(max=1)], "X")


def test_ranges_of_a_latent_are_its_quantiles(context):
    source = PartitionTasks(context, latents="rotation", n_ranges=4)
    episodes = source.episodes(0, 40)
    with torch.no_grad():
        read = context.encoder.select("rotation")
        every = read(context.images)[:, 0]
        seen = read(episodes.query.flatten(0, 2))[:, 0].view(40, 3, 4)
    bounds = every.quantile(torch.tensor([0.25, 0.5, 0.75]))
    ranges = torch.bucketize(seen, bounds)
    assert (ranges == ranges[:, :, :1]).all()
    for ways in ranges[:, :, 0].tolist():
        assert len(set(ways)) == 3


def test_decoded_tasks_keep_content_and_change_the_deformation(vae, context):
    """The decoder is asked for the class's content under other images' rotation."""
    asked = []

    class Spy(torch.nn.Module):
        def forward(self, z):
            asked.append(z)
            return vae.decode(z)

    spied = TaskContext(**{**vars(context), "decoder": Spy()})
    DecodedTasks(spied, noise=0.0).episodes(0, 1)
    codes = asked[0].view(3, 6, 6)
    assert torch.equal(codes[:, :, 1:], codes[:, :1, 1:].expand(3, 6, 5))
    assert codes[:, :, 0].unique().numel() > 6
    with torch.no_grad():
        known = vae.encoder(context.images)
    assert torch.isin(codes[:, :, 0].flatten(), known[:, 0]).all()

    asked.clear()
    DecodedTasks(spied, noise=0.5, deform=False).episodes(0, 40)
    noisy = torch.stack(asked).view(40, 3, 6, 6)
    noise = noisy - noisy.mean(2, keepdim=True)
    ratio = noise.flatten(0, 2).std(0) * (6 / 5) ** 0.5 / known.std(0)
    torch.testing.assert_close(ratio, torch.full((6,), 0.5), atol=0.05, rtol=0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (partial(ViewTasks, augmentation=Augmentation()), r"ViewTasks\.augmentation: needs"),
        (
            partial(ViewTasks, augmentation=Augmentation(rotation=1, views=2)),
            "and views 1",
        ),
        (partial(ClusterTasks, n_clusters=0), r"ClusterTasks\.n_clusters: expected > 0"),
        (partial(ClusterTasks, n_clusters=500), "500 asked for, there are 240 images"),
        (partial(DecodedTasks, noise=-1.0), r"DecodedTasks\.noise: expected at least 0"),
        (partial(PartitionTasks, n_ranges=2), "no partition has 3 parts"),
    ],
)
def test_impossible_settings_are_refused(make, message, context):
    with pytest.raises(InputError, match=message):
        make(context)


def test_what_a_source_needs_is_said(context, bank):
    plain = TaskContext(**{**vars(context), "decoder": None})
    with pytest.raises(InputError, match="DecodedTasks: needs a pretrained VAE's encoder and"):
        DecodedTasks(plain)
    config = TrainConfig(setting=SETTING, freeze_encoder=True, projection=4, tasks=SOURCES["views"])
    with pytest.raises(InputError, match="tasks: are of images; freeze_encoder"):
        meta_train(config, partial(Prototypical), context.encoder, bank, bank, seed=0)
