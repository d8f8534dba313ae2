"""Encoder bodies and the decoders that mirror them."""

from typing import Literal

import pytest
import torch
from torch import nn

from guided import Conv4, Dense, GuidedVAENet, InputError, Pixels

Downsample = Literal["stride", "pool"]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "size", [(16, 16), (17, 17), (28, 28), (29, 31), (32, 32), (45, 16), (64, 64), (84, 84)]
)
@pytest.mark.parametrize("downsample", ["stride", "pool"])
def test_conv4_decoder_maps_back_to_the_shape_of_the_images(downsample, size, channels):
    backbone = Conv4((channels, *size), width=4, downsample=downsample)
    features = backbone(torch.rand(2, channels, *size))
    assert features.shape == (2, backbone.feature_dim)
    assert backbone.decoder(5)(torch.randn(2, 5)).shape == (2, channels, *size)


@pytest.mark.parametrize(
    ("size", "downsample", "feature_dim"),
    [
        # The numbers of the few-shot literature: 28 → 1 pooled, 2 strided; 84 → 5 pooled.
        (28, "pool", 64),
        (28, "stride", 64 * 2 * 2),
        (84, "pool", 1600),
        (84, "stride", 64 * 6 * 6),
    ],
)
def test_conv4_feature_dim(size, downsample, feature_dim):
    assert Conv4((3, size, size), downsample=downsample).feature_dim == feature_dim


def test_conv4_is_the_network_of_the_docstring():
    """Conv 3×3, batch norm, ReLU, pool, four times: layer by layer from its own weights."""
    torch.manual_seed(0)
    backbone = Conv4((1, 33, 33), width=4, downsample="pool").double()
    images = expected = torch.rand(3, 1, 33, 33, dtype=torch.float64)
    for weight in [m.weight for m in backbone.modules() if isinstance(m, nn.Conv2d)]:
        x = nn.functional.conv2d(expected, weight, padding=1)
        mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), unbiased=False, keepdim=True)
        expected = nn.functional.max_pool2d(((x - mean) / (var + 1e-5).sqrt()).relu(), 2)
    torch.testing.assert_close(backbone.train()(images), expected.flatten(1))


@pytest.mark.parametrize("size", [(15, 84), (84, 15), (1, 1)])
def test_conv4_refuses_images_too_small_to_pool(size):
    with pytest.raises(InputError, match=rf"Conv4.*\({size[0]}, {size[1]}\).*too small"):
        Conv4((1, *size), downsample="pool")


@pytest.mark.parametrize("channels", [1, 3])
def test_guided_vae_net_shapes(channels):
    backbone = GuidedVAENet((channels, 28, 28), width=4)
    assert backbone(torch.rand(2, channels, 28, 28)).shape == (2, backbone.feature_dim) == (2, 256)
    assert backbone.decoder(5)(torch.randn(2, 5)).shape == (2, channels, 28, 28)


def test_guided_vae_net_parameter_count():
    """28 → 12 → 8 → 4 with kernels 6, 5, 5 and widths 64, 128, 256, as in the authors' code."""
    kernels = 6 * 6 * 1 * 64 + 5 * 5 * 64 * 128 + 5 * 5 * 128 * 256
    backbone = GuidedVAENet((1, 28, 28))
    assert backbone.feature_dim == 256 * 4 * 4
    assert sum(p.numel() for p in backbone.parameters()) == kernels + 64 + 128 + 256
    linear = 10 * 4096 + 4096
    decoder = sum(p.numel() for p in backbone.decoder(10).parameters())
    assert decoder == linear + kernels + 128 + 64 + 1


@pytest.mark.parametrize("size", [(27, 28), (32, 32)])
def test_guided_vae_net_refuses_other_sizes(size):
    with pytest.raises(InputError, match=f"28×28 images, got {size[0]}×{size[1]}"):
        GuidedVAENet((1, *size))


def test_pixels_are_the_features_and_have_no_decoder():
    backbone = Pixels((3, 4, 5))
    images = torch.rand(2, 3, 4, 5)
    assert backbone.feature_dim == 60
    assert torch.equal(backbone(images), images.reshape(2, 60))
    with pytest.raises(InputError, match="Pixels"):
        backbone.decoder(2)


def test_dense_is_learn2learns_network():
    from learn2learn.vision.models import OmniglotFC

    dense, theirs = Dense((1, 28, 28)).double(), OmniglotFC(28**2, 5).double()
    with torch.no_grad():
        # Theirs registers the norm before the linear layer.
        for mine, block in zip(
            [m for m in dense.modules() if isinstance(m, nn.Linear)],
            [m.linear for m in theirs.features[1]],
            strict=True,
        ):
            block.weight.copy_(mine.weight)
            block.bias.copy_(mine.bias)
    images = torch.rand(7, 1, 28, 28, dtype=torch.float64)
    torch.testing.assert_close(dense.train()(images), theirs.train().features(images))
    for mine in dense.body[1::3]:
        fresh = OmniglotFC(28**2, 5).features[1][0].linear.weight.detach()
        assert float(mine.weight.detach().std()) == pytest.approx(float(fresh.std()), rel=0.05)
        assert mine.weight.detach().abs().max() <= 0.02


def test_dense_decodes_to_images():
    backbone = Dense((3, 8, 9), widths=(6, 5))
    assert backbone(torch.rand(4, 3, 8, 9)).shape == (4, 5)
    assert backbone.decoder(2)(torch.randn(4, 2)).shape == (4, 3, 8, 9)
    with pytest.raises(InputError, match=r"Dense\.widths: expected positive numbers, got \[\]"):
        Dense((1, 8, 8), widths=())
