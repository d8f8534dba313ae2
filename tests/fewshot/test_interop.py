"""What goes to and fro between learn2learn and us keeps its images, labels and gradients."""

import random
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call
from torch.utils.data import DataLoader

from fewshot.episodes import Setting
from fewshot.interop import Tasks, classifier, meta_dataset, task_dataset
from fewshot.sampler import EpisodeSampler
from guided.errors import InputError

SETTING = Setting(4, 2, 3)


@pytest.fixture
def uneven(make_bank):
    """Classes of different sizes in arbitrary row order, the last but one without images."""
    bank = make_bank(6, [5, 9, 7, 6, 0, 8], shuffled=True)
    assert bank.labels.diff().min() < 0
    return bank


@pytest.fixture
def _same_random():
    before = random.getstate()
    random.seed(0)
    yield
    random.setstate(before)


def class_of(bank, images):
    """The labels of images, found by comparing pixels."""
    rows = bank.images.flatten(1).float()
    nearest = torch.cdist(255 * images.flatten(1), rows)
    assert nearest.amin(1).max() < 0.1
    return bank.labels[nearest.argmin(1)]


def test_bookkeeping_equals_learn2learns_own_pass(uneven):
    from learn2learn.data import MetaDataset

    data = meta_dataset(uneven)
    slow = MetaDataset(data.dataset)
    assert data.labels_to_indices == slow.labels_to_indices
    assert data.indices_to_labels == slow.indices_to_labels
    assert set(data.labels) == set(slow.labels) == {0, 1, 2, 3, 5}
    assert len(data) == len(uneven)


def test_items_are_images_and_plain_labels(bank):
    image, label = meta_dataset(bank)[7]
    assert image.dtype == torch.float32
    assert torch.equal((255 * image).round().to(torch.uint8), bank.images[7])
    assert type(label) is int
    assert label == bank.labels[7]


def test_learn2learns_tasks_are_episodes(bank, _same_random):
    tasks = task_dataset(bank, SETTING, n_tasks=20)
    drawn, first = set(), set()
    for images, labels in tasks:
        assert images.shape == (20, 1, 16, 16)
        assert 0 <= images.min() <= images.max() <= 1
        assert len(images.unique(dim=0)) == 20
        classes = class_of(bank, images).view(4, 5)
        assert (classes == classes[:, :1]).all()
        assert len(classes.unique()) == 4
        blocks = labels.view(4, 5)
        assert (blocks == blocks[:, :1]).all()
        assert labels.unique().tolist() == [0, 1, 2, 3]
        drawn.update(classes.flatten().tolist())
        first.add(int(labels[0]))
    assert drawn == set(range(bank.n_classes))
    assert first == {0, 1, 2, 3}
    assert len(tasks) == 20
    assert torch.equal(tasks[3][0], tasks[3][0])


def test_learn2learns_partition_tells_support_from_query(bank, _same_random):
    from learn2learn.data import partition_task

    images, labels = task_dataset(bank, SETTING).sample()
    (support, support_labels), (query, query_labels) = partition_task(images, labels, shots=2)
    assert (len(support), len(query)) == (8, 12)
    support_classes, query_classes = class_of(bank, support), class_of(bank, query)
    for label in range(4):
        ours = {*support_classes[support_labels == label].tolist()}
        assert ours == {*query_classes[query_labels == label].tolist()}
        assert len(ours) == 1


def test_tasks_are_the_samplers_episodes(uneven):
    bank = uneven.classes([0, 1, 2, 3, 5])
    tasks, sampler = Tasks(bank, SETTING, seed=4, n_tasks=6), EpisodeSampler(bank, SETTING, 4)
    assert len(tasks) == len(list(tasks)) == 6
    for i, (support, support_labels, query, query_labels) in enumerate(tasks):
        episode = sampler[i]
        assert torch.equal(support, bank.images[episode.support.flatten()] / 255)
        assert torch.equal(query, bank.images[episode.query.flatten()] / 255)
        assert support_labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
        assert query_labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
        classes = bank.labels[episode.support[0, :, 0]]
        assert torch.equal(class_of(bank, query), classes[query_labels])


def test_a_task_depends_on_its_seed_and_number_alone(bank):
    late = Tasks(bank, SETTING, 4, 100)[57]
    random.random()
    torch.rand(1)
    again = Tasks(bank, SETTING, 4, 58)
    assert all(map(torch.equal, late, again[57]))
    assert all(map(torch.equal, late, again[-1]))
    assert not torch.equal(late[0], again[56][0])
    assert not torch.equal(late[0], Tasks(bank, SETTING, 5, 58)[57][0])


def test_a_loader_takes_tasks(bank):
    tasks = Tasks(bank, SETTING, 0, 3)
    for task, loaded in zip(tasks, DataLoader(tasks, batch_size=None), strict=True):
        assert all(map(torch.equal, task, loaded))


@pytest.mark.parametrize(
    "make",
    [lambda bank, setting: Tasks(bank, setting, 0, 10), task_dataset],
    ids=["Tasks", "task_dataset"],
)
@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (Setting(13, 1, 1), "n_way: 13 classes asked for, the set has 12"),
        (Setting(2, 6, 15), "class 'class 0' has 20 images; n_shot + n_query needs 21"),
    ],
)
def test_impossible_tasks_are_refused_at_once(bank, make, setting, message):
    with pytest.raises(InputError) as error:
        make(bank, setting)
    assert str(error.value) == message


def test_no_tasks_are_refused(bank):
    for n_tasks in (0, -2):
        with pytest.raises(InputError, match=r"^n_tasks: expected at least 1, or -1 .*, got"):
            task_dataset(bank, SETTING, n_tasks)
        with pytest.raises(InputError, match=r"^n_tasks: expected at least 1, got"):
            Tasks(bank, SETTING, 0, n_tasks)


def adapted(network, task, **options):
    """The query loss of a clone after two steps, by learn2learn."""
    from learn2learn.algorithms import MAML

    clone = MAML(network, lr=0.1, **options).clone()
    support, support_labels, query, query_labels = task
    for _ in range(2):
        clone.adapt(F.cross_entropy(clone(support), support_labels))
    return F.cross_entropy(clone(query), query_labels)


def adapted_by_hand(network, task):
    """The same as a function of the weights."""
    weights = dict(network.named_parameters())
    support, support_labels, query, query_labels = task
    for _ in range(2):
        moving = {name: w for name, w in weights.items() if w.requires_grad}
        loss = F.cross_entropy(functional_call(network, weights, support), support_labels)
        slopes = torch.autograd.grad(loss, moving.values(), create_graph=True)
        steps = dict(zip(moving, slopes, strict=True))
        weights = {n: w - 0.1 * steps[n] if n in steps else w for n, w in weights.items()}
    return F.cross_entropy(functional_call(network, weights, query), query_labels)


VARIANTS = {
    "all": lambda encoder: encoder,
    "a slice": lambda encoder: encoder.select("class"),
    "features": lambda encoder: encoder.select("features"),
    "projection": lambda encoder: encoder.with_projection(6),
    "projection of features": lambda encoder: encoder.select("features").with_projection(6),
    "projection removed": lambda encoder: encoder.with_projection(6).with_projection(0),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_maml_differentiates_through_the_encoder(encoder, bank, variant):
    encoder = VARIANTS[variant](encoder)
    network = classifier(encoder, 4)
    task = Tasks(bank, SETTING, 0, 1)[0]
    loss, expected = adapted(network, task), adapted_by_hand(network, task)
    torch.testing.assert_close(loss, expected)
    parameters = list(network.parameters())
    slopes = torch.autograd.grad(expected, parameters)
    loss.backward()
    for parameter, slope in zip(parameters, slopes, strict=True):
        assert parameter.grad.isfinite().all()
        assert parameter.grad.any()
        torch.testing.assert_close(parameter.grad, slope, rtol=1e-3, atol=1e-5)
    # The encoder's own weights: an outer optimizer trains it.
    assert all(p.grad is not None for p in encoder.backbone.parameters())
    if encoder.latents == "all":
        assert not encoder.latent_head.weight.grad[8:].any(), "no one reads the log variances"


def test_maml_leaves_a_frozen_part_alone(encoder, bank):
    encoder.backbone.requires_grad_(False)
    network, task = classifier(encoder, 4), Tasks(bank, SETTING, 0, 1)[0]
    loss = adapted(network, task, allow_nograd=True)
    torch.testing.assert_close(loss, adapted_by_hand(network, task))
    loss.backward()
    assert all(p.grad is None for p in encoder.backbone.parameters())
    assert encoder.latent_head.weight.grad.any()
    assert network[1].weight.grad.any()


def test_the_classifier_is_the_encoder_with_a_seeded_layer(encoder, bank):
    images = bank.images[:6]
    state = torch.get_rng_state()
    network = classifier(encoder, 3, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(network[0](images), encoder(images))
    assert torch.equal(network(images), classifier(encoder, 3, seed=1)(images))
    assert not torch.equal(network(images), classifier(encoder, 3, seed=2)(images))
    with torch.no_grad():
        next(encoder.parameters()).zero_()
    assert torch.equal(network[0](images), encoder(images)), "weights are shared"


@pytest.mark.parametrize(
    "algorithm",
    [
        lambda l2l: l2l.algorithms.MetaSGD,
        lambda l2l: partial(l2l.algorithms.GBML, transform=l2l.optim.ModuleTransform(l2l.nn.Scale)),
    ],
    ids=["MetaSGD", "GBML"],
)
def test_other_algorithms_of_learn2learn_train_the_encoder(encoder, bank, algorithm):
    """GBML views gradients as vectors: they must be contiguous."""
    import learn2learn as l2l

    task = Tasks(bank, SETTING, 0, 1)[0]
    learner = algorithm(l2l)(classifier(encoder, 4), lr=0.1).clone()
    learner.adapt(F.cross_entropy(learner(task[0]), task[1]))
    F.cross_entropy(learner(task[2]), task[3]).backward()
    assert all(p.grad is not None for p in encoder.backbone.parameters())
