"""Encoder bodies and the decoders that mirror them."""

from functools import partial

import pytest
import torch
from torch import nn

from guided import Conv4, Dense, GuidedVAENet, InputError, Pixels, ResNet12

SIZES = [(16, 16), (17, 17), (28, 28), (29, 31), (32, 32), (45, 16), (64, 64), (84, 84)]
NETWORKS = {
    "strided": (partial(Conv4, width=4), SIZES),
    "pooled": (partial(Conv4, width=4, downsample="pool"), SIZES),
    "dense": (partial(Dense, widths=(6, 5)), [(8, 9)]),
    "guided": (partial(GuidedVAENet, width=4), [(28, 28)]),
    "resnet": (partial(ResNet12, widths=(4, 6, 8, 10)), SIZES),
    "all positions": (partial(ResNet12, widths=(4, 6, 8, 10), average=False), SIZES),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", NETWORKS)
def test_decoders_map_back_to_the_shape_of_the_images(kind, channels):
    network, sizes = NETWORKS[kind]
    for size in sizes:
        backbone = network((channels, *size))
        features = backbone(torch.rand(2, channels, *size))
        assert features.shape == (2, backbone.feature_dim)
        assert backbone.decoder(5)(torch.randn(2, 5)).shape == (2, channels, *size)


def test_conv4_feature_dim():
    """The numbers of the few-shot literature: 28 → 1 pooled, 2 strided; 84 → 5 pooled."""
    for size, downsample, side in ((28, "pool", 1), (28, "stride", 2), (84, "pool", 5)):
        assert Conv4((3, size, size), downsample=downsample).feature_dim == 64 * side**2


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


@pytest.mark.parametrize(("downsample", "side"), [("pool", 7), ("stride", 4)])
def test_conv4_maps_lead_to_the_features(downsample, side):
    backbone = Conv4((1, 28, 28), width=4, downsample=downsample).eval()
    images = torch.rand(2, 1, 28, 28)
    maps = backbone.maps(images)
    assert maps.shape == (2, 4, side, side)
    pooled = nn.functional.max_pool2d(maps, 2) if downsample == "pool" else maps
    last = backbone.body[len(backbone.body) // 4 * 3 :]
    torch.testing.assert_close(last(pooled).flatten(1), backbone(images))


def test_guided_vae_net_parameter_count():
    """28 → 12 → 8 → 4 with kernels 6, 5, 5 and widths 64, 128, 256, as in the authors' code."""
    kernels = 6 * 6 * 1 * 64 + 5 * 5 * 64 * 128 + 5 * 5 * 128 * 256
    backbone = GuidedVAENet((1, 28, 28))
    assert backbone.feature_dim == 256 * 4 * 4
    assert sum(p.numel() for p in backbone.parameters()) == kernels + 64 + 128 + 256
    decoder = sum(p.numel() for p in backbone.decoder(10).parameters())
    assert decoder == (10 + 1) * 4096 + kernels + 128 + 64 + 1


def test_pixels_are_the_features_and_have_no_decoder():
    backbone, images = Pixels((3, 4, 5)), torch.rand(2, 3, 4, 5)
    assert backbone.feature_dim == 60
    assert torch.equal(backbone(images), images.reshape(2, 60))
    with pytest.raises(InputError, match="Pixels"):
        backbone.decoder(2)


@pytest.mark.usefixtures("learn2learn")
def test_dense_is_learn2learns_network():
    from learn2learn.vision.models import OmniglotFC

    dense, theirs = Dense((1, 28, 28)).double(), OmniglotFC(28**2, 5).double()
    for mine, block in zip(dense.body[1::3], theirs.features[1], strict=True):
        fresh, weight = block.linear.weight.detach(), mine.weight.detach()
        assert float(weight.std()) == pytest.approx(float(fresh.std()), rel=0.05)
        assert weight.abs().max() <= 0.02
        # Theirs registers the norm before the linear layer.
        block.linear.load_state_dict(mine.state_dict())
    images = torch.rand(7, 1, 28, 28, dtype=torch.float64)
    torch.testing.assert_close(dense.train()(images), theirs.train().features(images))


@pytest.mark.parametrize(
    ("network", "shape", "message"),
    [
        (partial(Conv4, downsample="pool"), (1, 15, 84), r"Conv4.*\(15, 84\).*too small"),
        (partial(Conv4, downsample="pool"), (1, 84, 15), r"Conv4.*\(84, 15\).*too small"),
        (GuidedVAENet, (1, 27, 28), "28×28 images, got 27×28"),
        (GuidedVAENet, (1, 32, 32), "28×28 images, got 32×32"),
        (partial(Dense, widths=()), (1, 8, 8), r"Dense\.widths: at least one is needed"),
    ],
)
def test_what_does_not_fit_is_refused(network, shape, message):
    with pytest.raises(InputError, match=message):
        network(shape)
