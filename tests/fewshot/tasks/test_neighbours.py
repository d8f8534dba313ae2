"""Tasks of neighbours: warped copies of a drawing find each other, and make one class."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from fewshot.config import describe
from fewshot.config.build import build
from fewshot.episodes import Setting
from fewshot.learners import DeformationMatching, NearestNeighbour, Prototypical
from fewshot.tasks import NeighbourTasks, TaskContext, TaskFactory
from guided.augment import Augmentation
from guided.backbones import Pixels
from guided.encoder import Encoder
from guided.seeds import generator

N_COPIES, N_DRAWINGS = 5, 8
COSINE = partial(Prototypical, metric="cosine")
MATCHING = partial(DeformationMatching, cosine=False)


def context_of(images, setting):
    encoder = Encoder(Pixels(tuple(images.shape[1:])), None).eval()
    return TaskContext(images, setting, 3, torch.device("cpu"), encoder)


@pytest.fixture(scope="module")
def drawings():
    """Copies of each drawing, moved and warped; those of one lie side by side, uint8."""
    chance = generator(0, "drawings")
    corners = torch.randint(0, 2, (N_DRAWINGS, 1, 4, 4), generator=chance).float()
    drawn = F.pad(F.interpolate(corners, scale_factor=4), (4,) * 4)
    copies = drawn.repeat_interleave(N_COPIES, 0)
    moved = Augmentation(translation=0.15, elastic=0.1, scale=0.1)(copies, chance)
    return (255 * moved.clamp(0, 1)).to(torch.uint8)


@pytest.fixture
def context(drawings):
    return context_of(drawings, Setting(4, 1, 3))


@pytest.fixture
def numbered():
    """Images of one brightness each, so that an episode tells its rows."""
    images = torch.arange(200, dtype=torch.uint8).view(200, 1, 1, 1).repeat(1, 1, 2, 2)
    return context_of(images, Setting(3, 2, 4))


def rows_of(episodes):
    """Rows of :func:`numbered`, ``[E, n_way, n_shot + n_query]``."""
    return torch.cat([episodes.support, episodes.query], 2)[..., 0, 0, 0].long()


class Line(NearestNeighbour):
    """Scores by the distance of two brightnesses."""

    def logits(self, episodes):
        difference = episodes.query.flatten(1, 2) - episodes.support[:, :, 0]
        return -difference.abs().sum(2).unsqueeze(1)


NEAR = {"learner": Line, "candidates": 199, "neighbours": 2, "mutual": False}


def purity(source):
    found = source.neighbours
    kinds = torch.arange(len(found)).unsqueeze(1) // N_COPIES
    return (found // N_COPIES == kinds)[found >= 0].float().mean()


def test_copies_are_found_by_what_deforms_into_what(context):
    settings = {"candidates": N_COPIES * N_DRAWINGS - 1, "neighbours": 4, "mutual": False}
    matched = NeighbourTasks(context, learner=MATCHING, **settings)
    assert purity(matched) > 0.95
    assert purity(NeighbourTasks(context, learner=COSINE, **settings)) < 0.8
    window = partial(MATCHING, window=0, alignment="none", context=1)
    assert purity(NeighbourTasks(context, learner=window, **settings)) < purity(matched)


def test_a_class_is_an_image_and_neighbours_of_it(numbered):
    source = NeighbourTasks(numbered, **NEAR | {"neighbours": 6})
    expected = [{*sorted(range(200), key=lambda x: abs(x - row))[1:7]} for row in range(3, 197)]
    assert [{*found} for found in source.neighbours[3:197].tolist()] == expected
    rows = rows_of(source.episodes(0, 60)).flatten(0, 1)
    assert all(len({*members}) == 6 for members in rows.tolist())
    places = rows[:, 1:, None] == source.neighbours[rows[:, 0], None]
    assert (places.sum(2) == 1).all()
    assert rows[:, 0].unique().numel() > 100
    shares = places.float().mean(0)  # [position, rank]: any order is as likely
    torch.testing.assert_close(shares, torch.full((5, 6), 1 / 6), atol=0.12, rtol=0)


def test_candidates_are_those_of_the_cosine(context):
    codes = F.normalize(context.images.flatten(1).float(), dim=1)
    cosines = (codes @ codes.T).fill_diagonal_(-1)
    settings = {"candidates": 6, "neighbours": 6, "mutual": False}
    found = NeighbourTasks(context, learner=MATCHING, **settings).neighbours
    assert torch.equal(found.sort(1).values, cosines.topk(6).indices.sort(1).values)
    best = NeighbourTasks(context, learner=COSINE, **settings).neighbours
    assert torch.equal(best, cosines.topk(6).indices)


def test_neighbours_are_mutual(context):
    every, mutual = (
        NeighbourTasks(context, neighbours=3, mutual=mutual).neighbours.tolist()
        for mutual in (False, True)
    )
    expected = [
        [other if row in every[other] else -1 for other in others]
        for row, others in enumerate(every)
    ]
    assert mutual == expected
    assert any(-1 in others for others in mutual)


def test_few_neighbours_are_repeated(numbered):
    rows = rows_of(NeighbourTasks(numbered, **NEAR | {"neighbours": 1}).episodes(0, 10))
    assert torch.equal(rows[..., :2].repeat(1, 1, 3), rows)
    assert (rows[..., 0] != rows[..., 1]).all()


def test_classes_share_no_image(numbered):
    for classes in rows_of(NeighbourTasks(numbered, **NEAR).episodes(0, 60)).tolist():
        images = [{*members} for members in classes]
        assert sum(map(len, images)) == len(set.union(*images))


def test_a_configuration_chooses_the_learner():
    matching = {"class_path": "fewshot.learners.DeformationMatching", "init_args": {"window": 2}}
    name = "fewshot.tasks.NeighbourTasks"
    plain = {"class_path": name, "init_args": {"learner": matching, "neighbours": 3}}
    made = build(TaskFactory, plain)
    assert describe(made) == plain
    assert made.keywords["learner"].keywords == {"window": 2}
    assert describe(build(TaskFactory, "NeighbourTasks")) == {"class_path": name}
