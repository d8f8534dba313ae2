"""Named slices of the latent vector."""

import pytest

from guided import InputError, LatentLayout
from guided.latents import LatentAllocator

LAYOUT = LatentLayout({"rotation": (0, 1), "class": (1, 4), "content": (4, 6)})


def test_allocator_hands_out_in_order_and_calls_the_rest_content():
    allocator = LatentAllocator(8)
    assert allocator.take("rotation") == [0]
    assert allocator.take("class", 4, "attribute") == [1, 2, 3, 4]
    assert allocator.share("scale", "deformation") == 5
    assert allocator.share("scale") == 5
    slices = {"rotation": (0, 1), "class": (1, 5), "scale": (5, 6), "content": (6, 8)}
    layout = allocator.layout()
    assert layout == LatentLayout(slices, {"class": "attribute", "scale": "deformation"})
    assert list(layout.slices) == list(slices)
    assert layout.with_role("attribute") == {"class": (1, 5)}


def test_allocator_refuses_more_than_is_left_and_reserves_nothing_then():
    allocator = LatentAllocator(5)
    allocator.take("rotation", 2)
    with pytest.raises(InputError, match="'class' asks for 4 latents, 3 of latent_dim 5 are left"):
        allocator.take("class", 4)
    with pytest.raises(InputError, match="one latent 'rotation' is asked for, it has 2"):
        allocator.share("rotation")
    assert allocator.take("class", 3) == [2, 3, 4]


@pytest.mark.parametrize("name", ["rotation", "content", "all", "features"])
def test_allocator_refuses_a_taken_or_reserved_name(name):
    allocator = LatentAllocator(5)
    allocator.take("rotation")
    with pytest.raises(InputError, match=name):
        allocator.take(name)


def test_indices():
    assert LAYOUT.latent_dim == 6
    assert LAYOUT.indices("content", "rotation") == [4, 5, 0]
    assert LAYOUT.indices("all") == [0, 1, 2, 3, 4, 5]
    with pytest.raises(InputError, match=r"'shear'.*all, rotation, class, content"):
        LAYOUT.indices("shear")


def test_labels_number_only_wide_slices():
    assert ", ".join(LAYOUT.labels()) == "rotation, class 0, class 1, class 2, content 0, content 1"
