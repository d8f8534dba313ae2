"""Named slices of the latent vector."""

import pytest

from guided import InputError, LatentLayout
from guided.latents import LatentAllocator


@pytest.fixture
def layout():
    return LatentLayout({"rotation": (0, 1), "class": (1, 4), "content": (4, 6)})


def test_allocator_hands_out_in_order_and_calls_the_rest_content():
    allocator = LatentAllocator(8)
    assert allocator.take("rotation") == [0]
    assert allocator.take("class", 4) == [1, 2, 3, 4]
    assert allocator.take("scale") == [5]
    slices = {"rotation": (0, 1), "class": (1, 5), "scale": (5, 6), "content": (6, 8)}
    assert allocator.layout() == LatentLayout(slices)
    assert list(allocator.layout().slices) == list(slices)


def test_allocator_refuses_more_than_is_left_and_says_how_much_that_is():
    allocator = LatentAllocator(5)
    allocator.take("rotation", 2)
    with pytest.raises(InputError, match="'class' asks for 4 latents, 3 of latent_dim 5 are left"):
        allocator.take("class", 4)
    assert allocator.take("class", 3) == [2, 3, 4]  # the refusal reserved nothing


@pytest.mark.parametrize("name", ["rotation", "content", "all", "features"])
def test_allocator_refuses_a_taken_or_reserved_name(name):
    allocator = LatentAllocator(5)
    allocator.take("rotation")
    with pytest.raises(InputError, match=name):
        allocator.take(name)


def test_indices(layout):
    assert layout.latent_dim == 6
    assert layout.indices("class") == [1, 2, 3]
    assert layout.indices("content", "rotation") == [4, 5, 0]
    assert layout.indices("all") == [0, 1, 2, 3, 4, 5]


def test_unknown_name_is_refused_with_the_known_ones(layout):
    with pytest.raises(InputError, match=r"'shear'.*all, rotation, class, content"):
        layout.indices("shear")


def test_complement_and_slice_partition_the_latents(layout):
    assert layout.complement("class") == [0, 4, 5]
    assert layout.complement("content", "rotation") == [1, 2, 3]
    assert layout.complement("all") == []
    for name in layout.slices:
        assert sorted(layout.indices(name) + layout.complement(name)) == layout.indices("all")


def test_labels_number_only_wide_slices(layout):
    assert layout.labels() == [
        "rotation",
        "class 0",
        "class 1",
        "class 2",
        "content 0",
        "content 1",
    ]
