from dataclasses import replace

import pytest
import torch

from fewshot.data import ImageBank
from guided.errors import InputError


@pytest.fixture
def bank():
    """Four classes of three distinct 2x3 images; image i is filled with 10 i, but for a corner."""
    images = torch.arange(12).mul(10).to(torch.uint8)[:, None, None, None].repeat(1, 1, 2, 3)
    images[:, 0, 0, 0] = 255
    return ImageBank(
        images,
        torch.arange(12) // 3,
        ("a", "b", "c", "d"),
        {"drawer": torch.arange(12) % 3},
        {"angle": torch.arange(12) / 12},
    )


def test_classes(bank):
    assert (bank.class_sizes.tolist(), bank.image_shape) == ([3, 3, 3, 3], (1, 2, 3))
    view = bank.classes([1, 2])
    assert view.images.data_ptr() == bank.images[3:].data_ptr(), "one run shares memory"
    assert view.attributes["drawer"].data_ptr() == bank.attributes["drawer"][3:].data_ptr()
    assert view.images[:, 0, 1, 1].tolist() == [30, 40, 50, 60, 70, 80]
    assert view.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert view.class_names == ("b", "c")
    chosen = bank.classes(torch.tensor([3, 0]))
    assert chosen.images[:, 0, 1, 1].tolist() == [0, 10, 20, 90, 100, 110]
    assert chosen.labels.tolist() == [1, 1, 1, 0, 0, 0], "relabelled in the subset's order"
    assert chosen.class_names == ("d", "a")
    assert chosen.attributes["drawer"].tolist() == [0, 1, 2, 0, 1, 2]
    assert chosen.factors["angle"].tolist() == pytest.approx([i / 12 for i in (0, 1, 2, 9, 10, 11)])
    chosen.images.zero_()
    assert bank.images[11, 0, 1, 1] == 110, "classes apart are copied"


def test_rows(bank):
    view = bank.rows(torch.tensor([4, 5, 6]))
    assert view.images.data_ptr() == bank.images[4:].data_ptr()
    assert view.class_names == bank.class_names
    assert view.labels.tolist() == [1, 1, 2]
    copy = bank.rows(torch.tensor([6, 4, 4]))
    assert copy.images[:, 0, 1, 1].tolist() == [60, 40, 40]
    # As long as a run from the first to the last would be, but not one.
    assert bank.rows(torch.tensor([4, 4, 6])).labels.tolist() == [1, 1, 2]
    assert bank.rows(torch.tensor([], dtype=torch.int64)).images.shape == (0, 1, 2, 3)


def test_join(bank):
    """The inverse of taking classes apart, by name; what not all have is left out."""
    apart = [bank.classes(subset) for subset in ([2, 0], [], [3, 1])]
    joined = ImageBank.join(apart)
    assert joined.class_names == ("a", "b", "c", "d")
    back = joined.rows(joined.images[:, 0, 1, 1].long().argsort())
    for name in ("images", "labels"):
        assert torch.equal(getattr(back, name), getattr(bank, name))
    assert torch.equal(back.attributes["drawer"], bank.attributes["drawer"])
    assert torch.equal(back.factors["angle"], bank.factors["angle"])
    assert ImageBank.join(apart[:2]) is apart[0]
    plain = ImageBank(bank.images, bank.labels, ("b", "a", "e", "f"), turned=True)
    both = ImageBank.join([bank, plain])
    assert (both.class_names, both.attributes, both.turned) == (tuple("abcdef"), {}, True)
    assert both.class_sizes.tolist() == [6, 6, 3, 3, 3, 3]
    assert both.labels[12:18].tolist() == [1, 1, 1, 0, 0, 0]


def test_rotations_are_classes_of_their_own():
    images = torch.arange(4, dtype=torch.uint8).reshape(1, 1, 2, 2).repeat(2, 1, 1, 1)
    images[1] += 10
    bank = ImageBank(images, torch.tensor([0, 1]), ("a", "b"), {"drawer": torch.tensor([4, 5])})
    turned = bank.with_rotations()
    assert turned.class_names[:4] == ("a", "b", "a/rotated90", "b/rotated90")
    assert turned.labels.tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert turned.attributes["drawer"].tolist() == [4, 5] * 4
    flat = turned.images.flatten(1).tolist()
    assert flat[0::2] == [[0, 1, 2, 3], [1, 3, 0, 2], [3, 2, 1, 0], [2, 0, 3, 1]]
    assert flat[1] == [10, 11, 12, 13]
    assert flat[7] == [12, 10, 13, 11]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": torch.zeros(2, 1, 2, 2)}, "images: expected uint8"),
        ({"images": torch.zeros(2, 2, 2, dtype=torch.uint8)}, "images: expected uint8"),
        ({"labels": torch.tensor([0])}, r"labels: expected one value for each of 2 .*got \[1\]"),
        ({"labels": torch.tensor([0, 2])}, "labels: expected 0 … 1"),
        ({"labels": torch.tensor([-1, 0])}, "labels: expected 0 … 1"),
        ({"factors": {"angle": torch.zeros(2, 1)}}, "angle: expected"),
        # A factor may have the name of an attribute.
        ({"attributes": {"a": torch.zeros(3)}, "factors": {"a": torch.zeros(2)}}, r"got \[3\]"),
    ],
)
def test_inconsistent_columns_are_refused(change, message):
    images = torch.zeros(2, 1, 2, 2, dtype=torch.uint8)
    with pytest.raises(InputError, match=message):
        ImageBank(
            **{"images": images, "labels": torch.tensor([0, 1]), "class_names": "ab", **change}
        )


OTHERS = {
    "images": lambda bank: {"images": 255 - bank.images},
    "labels": lambda bank: {"labels": bank.labels.flip(0)},
    "names": lambda bank: {"class_names": ("a", "b", "c", "e")},
    "an attribute": lambda bank: {"attributes": {"drawer": bank.attributes["drawer"].flip(0)}},
    "an attribute's name": lambda bank: {"attributes": {"alphabet": bank.attributes["drawer"]}},
    "an attribute's kind": lambda bank: {
        "attributes": {},
        "factors": {**bank.factors, "drawer": bank.attributes["drawer"]},
    },
    "a factor": lambda bank: {"factors": {"angle": bank.factors["angle"] + 1e-6}},
    "a factor behind its bins": lambda bank: {
        "attributes": {**bank.attributes, "angle": bank.labels},
        "factors": {"angle": bank.factors["angle"].flip(0)},
    },
    "the same bins": lambda bank: {"attributes": {**bank.attributes, "angle": bank.labels}},
    "a factor's type": lambda bank: {"factors": {"angle": bank.factors["angle"].view(torch.int32)}},
    "an image's shape": lambda bank: {"images": bank.images.reshape(12, 1, 3, 2)},
    "turned classes": lambda bank: {"turned": True},
}


def test_all_that_a_bank_holds_is_in_its_digest(bank):
    same = replace(bank, images=bank.images.clone(), attributes=dict(bank.attributes))
    assert same.digest == bank.digest
    digests = {name: replace(bank, **change(bank)).digest for name, change in OTHERS.items()}
    assert len({bank.digest, *digests.values()}) == len(OTHERS) + 1, digests
