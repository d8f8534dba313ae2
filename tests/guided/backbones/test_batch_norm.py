"""Batch norm by groups, against torch's own on each group alone."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, grad, vmap

from guided.backbones.batch_norm import BatchNorm1d, BatchNorm2d, group_statistics

RNG = torch.Generator().manual_seed(0)
IMAGES = 3 * torch.randn(12, 3, 4, 5, dtype=torch.float64, generator=RNG) + 1


def layer(cls=BatchNorm2d, **settings):
    """With running statistics and an affine map that are not the initial ones."""
    rng = torch.Generator().manual_seed(1)
    made = cls(3, **settings).double()
    for tensor in made.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(0.5 + torch.rand(3, generator=rng))
    return made


def by_group(norm, images, groups, reference):
    """torch's own on the images that statistics come from; written out for the group's others."""
    parts = []
    for group in images.chunk(groups):
        seen, others = group[:reference], group[len(group[:reference]) :]
        affine = norm.weight, norm.bias
        parts.append(F.batch_norm(seen, None, None, *affine, training=True, eps=norm.eps))
        variance, mean = torch.var_mean(seen, (0, 2, 3), correction=0, keepdim=True)
        normalised = (others - mean) / (variance + norm.eps).sqrt()
        if norm.affine:
            normalised = normalised * norm.weight.view(-1, 1, 1) + norm.bias.view(-1, 1, 1)
        parts.append(normalised)
    return torch.cat(parts)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("groups", "reference"), [(1, None), (1, 5), (3, None), (3, 2), (4, 1)])
def test_equals_torchs_group_by_group(groups, reference, training, affine):
    norm = layer(affine=affine).train(training)
    images, same = (IMAGES.clone().requires_grad_() for _ in range(2))
    with group_statistics(groups, reference):
        found = norm(images)
    expected = by_group(norm, same, groups, reference)
    torch.testing.assert_close(found, expected)
    parameters = list(norm.parameters())
    gradients = torch.autograd.grad(found.sin().sum(), [images, *parameters])
    wanted = torch.autograd.grad(expected.sin().sum(), [same, *parameters])
    torch.testing.assert_close(gradients, wanted)


@pytest.mark.parametrize("reference", [None, 2])
@pytest.mark.parametrize("training", [True, False])
def test_running_statistics_are_neither_read_nor_written(training, reference):
    norm, torchs = layer().train(training), layer(nn.BatchNorm2d).train(training)
    other = layer().train(training)
    other.running_mean.fill_(100)
    other.running_var.fill_(100)
    with group_statistics(3, reference):
        assert torch.equal(norm(IMAGES), other(IMAGES))
    assert torch.equal(norm(IMAGES), torchs(IMAGES))  # outside it is torch's
    torch.testing.assert_close(norm.state_dict(), torchs.state_dict(), rtol=0, atol=0)


def test_blocks_nest():
    norm = layer()
    with group_statistics(3):
        with group_statistics(1):
            torch.testing.assert_close(norm(IMAGES), by_group(norm, IMAGES, 1, None))
        torch.testing.assert_close(norm(IMAGES), by_group(norm, IMAGES, 3, None))


def test_gradients_of_many_episodes_at_once():
    """Inside ``vmap(grad)``, one episode's images are one group."""
    norm = layer().train()
    parameters = dict(norm.named_parameters())

    def loss(parameters, images):
        return functional_call(norm, parameters, (images,)).square().sin().sum()

    episodes = IMAGES.unflatten(0, (3, 4))
    with group_statistics(1):
        together = vmap(grad(loss), (None, 0))(parameters, episodes)
    for i, images in enumerate(episodes):
        expected = by_group(norm, images, 1, None).square().sin().sum()
        alone = torch.autograd.grad(expected, list(parameters.values()))
        torch.testing.assert_close([together["weight"][i], together["bias"][i]], list(alone))


@pytest.mark.parametrize(("groups", "reference"), [(1, None), (1, 5), (3, None), (4, 2)])
def test_features_are_images_of_one_pixel(groups, reference):
    flat, spatial = layer(BatchNorm1d), layer(BatchNorm2d)
    features = IMAGES[..., 0, 0]
    with group_statistics(groups, reference):
        expected = spatial(features[..., None, None])[..., 0, 0]
        torch.testing.assert_close(flat(features), expected)
    torch.testing.assert_close(flat.eval()(features), nn.BatchNorm1d.forward(flat, features))
