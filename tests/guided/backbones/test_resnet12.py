"""ResNet-12 and what it drops."""

import pytest
import torch
import torch.nn.functional as F
from torchvision.ops import drop_block2d

from guided import Encoder, InputError, LatentLayout, ResNet12
from guided.backbones.resnet12 import DropBlock
from guided.seeds import seeded_initialisation

THIN = (4, 6, 8, 10)


def test_parameter_count():
    """12.4 million, as every table of the literature says."""
    backbone = ResNet12((3, 84, 84))
    assert sum(p.numel() for p in backbone.parameters()) == 12_424_320
    assert backbone.feature_dim == 640
    assert ResNet12((3, 84, 84), average=False).feature_dim == 16_000


def test_a_block_is_that_of_the_docstring():
    with seeded_initialisation(0, "test"):
        backbone = ResNet12((2, 16, 16), widths=(3, 3, 3, 3), drop=0).double().eval()
    images = x = torch.rand(2, 2, 16, 16, dtype=torch.float64)
    block, scale = backbone.body[0], (1 + 1e-5) ** -0.5  # fresh batch norm: mean 0, variance 1
    for i in (0, 3, 6):
        shortcut = scale * F.conv2d(images, block.shortcut[0].weight) if i == 6 else 0
        x = F.leaky_relu(scale * F.conv2d(x, block.body[i].weight, padding=1) + shortcut, 0.1)
    torch.testing.assert_close(block(images), F.max_pool2d(x, 2))


@pytest.mark.parametrize("side", [1, 3])
def test_drop_block_drops_whole_squares_at_its_rate(side):
    torch.manual_seed(0)
    layer = DropBlock(0.2, side).train()
    features = torch.ones(40, 20, 11, 11)
    dropped = layer(features)
    zeros = (dropped == 0).to(torch.float32)
    # Every zero lies in a square of zeros.
    corners = F.avg_pool2d(zeros, side, stride=1) == 1
    covered = F.max_pool2d(F.pad(corners.to(torch.float32), [side - 1] * 4), side, stride=1)
    assert torch.equal(covered, zeros)
    torch.manual_seed(0)
    peer = (drop_block2d(features, 0.2, side) == 0).to(torch.float32)
    assert float(zeros.mean()) == pytest.approx(float(peer.mean()), abs=0.01)
    assert float(dropped.mean()) == pytest.approx(1, abs=1e-4), "the rest makes up for it"


def test_drop_block_is_smaller_where_the_map_is():
    torch.manual_seed(0)
    layer = DropBlock(0.3, 5).train()
    dropped = layer(torch.ones(200, 10, 2, 2)) == 0
    whole = dropped.flatten(2).all(2)
    assert torch.equal(whole, dropped.flatten(2).any(2))
    assert float(whole.double().mean()) == pytest.approx(0.3, abs=0.03)


def test_masks_are_a_function_of_the_drawn_seed_and_the_call():
    """Not of the layer's place alone: trainings of other seeds see other masks."""
    features = torch.ones(2, 3, 8, 8)

    def drawn(seed):
        torch.manual_seed(seed)
        return DropBlock(0.5, 1).train()

    layer, same, other = map(drawn, (0, 0, 1))
    first, second = layer(features), layer(features)
    assert not torch.equal(first, second)
    assert torch.equal(first, same(features))
    assert not torch.equal(first, other(features))
    resumed = drawn(2)
    resumed.load_state_dict(same.state_dict())
    assert torch.equal(resumed(features), second)
    assert layer.eval()(features) is features


def test_survives_its_file(tmp_path):
    encoder = Encoder(ResNet12((3, 20, 20), widths=THIN), LatentLayout({"content": (0, 4)}))
    images = torch.rand(4, 3, 20, 20)
    encoder.train()(images)
    encoder.eval().save(tmp_path / "encoder.safetensors")
    loaded = Encoder.load(tmp_path / "encoder.safetensors")
    assert torch.equal(loaded(images), encoder(images))
    assert torch.equal(loaded.train()(images), encoder.train()(images))  # the same masks


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"widths": (1, 2, 3)}, r"\.widths: expected 4 values, got 3"),
        ({"drop": 1.0}, r"\.drop: expected in \[0, 1\), got 1"),
        ({"block_size": 0}, r"\.block_size: expected at least 1, got 0"),
        ({"input_shape": (3, 15, 84)}, r".*\(15, 84\).*too small"),
    ],
)
def test_impossible_settings(settings, message):
    with pytest.raises(InputError, match=rf"^ResNet12{message}"):
        ResNet12(**{"input_shape": (3, 84, 84)} | settings)
