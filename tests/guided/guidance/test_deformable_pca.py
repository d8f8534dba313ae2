"""Deformable PCA against numpy, scipy and pictures whose deformation is known."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

from guided import DeformablePCA, GuidanceContext, InputError, Posterior
from guided.figures import spread
from guided.latents import LatentAllocator

SIZE = 16
ALL = ("rotation", "scale", "shear", "translation_x", "translation_y")
CONTENT = 3


def build(*deformations, channels=1, size=(SIZE, SIZE), views=1, **settings):
    torch.manual_seed(0)
    latents = LatentAllocator(len(deformations) + CONTENT)
    context = GuidanceContext((channels, *size), latents, {}, views)
    return DeformablePCA(deformations=deformations, **settings).build(context).double()


def code(guidance, rows=1, **amounts):
    """Random content; deformation latents such that gain · z is the amount asked for."""
    latent_dim = len(guidance.latent_of) + CONTENT
    rng = torch.Generator().manual_seed(1)
    z = torch.randn(rows, latent_dim, generator=rng, dtype=torch.float64)
    for name, latent in guidance.latent_of.items():
        guidance.gains[name].data.fill_(0.5)
        z[:, latent] = amounts.get(name, 0.0) / 0.5
    return z


def losses(guidance, images, z):
    return guidance.losses(images, Posterior(z, torch.zeros_like(z)), z, {})


def scipy_deformed(canvas, linear, shift):
    """``canvas[C, n, n]`` read at ``linear @ (x, y) + shift``; half widths, origin in the middle.

    Bilinear, 0 outside, where the border pixels fade into the 0.
    """
    n = canvas.shape[-1]
    matrix = linear[::-1, ::-1]  # scipy counts (row, column), we write (x, y)
    centre = np.full(2, (n - 1) / 2)
    offset = centre - matrix @ centre + shift[::-1] * n / 2
    how = {"order": 1, "mode": "grid-constant"}
    return np.stack([ndimage.affine_transform(c, matrix, offset, **how) for c in canvas])


def painted(guidance, z):
    """The content on the basis, in numpy."""
    basis, mean = (p.detach().numpy() for p in guidance.basis.parameters())
    return (z[:, -CONTENT:].numpy() @ basis.T + mean).reshape(-1, *guidance.input_shape)


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_bfloat16_rounds_neither_places_nor_losses(likelihood):
    """Of codes that a forward pass in bfloat16 gave."""
    guidance = build("rotation", "scale", likelihood=likelihood).float()
    images, z = torch.rand(4, 1, SIZE, SIZE), code(guidance, rows=4, rotation=0.3).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        rounded = losses(guidance, images, z)
    for name, value in losses(guidance, images, z.float()).items():
        assert rounded[name].dtype == torch.float32
        torch.testing.assert_close(rounded[name], value, rtol=1e-6, atol=1e-6, msg=name)


@pytest.mark.parametrize("size", [(16, 16), (15, 15), (12, 20)])
def test_no_deformation_renders_the_canvas(size):
    guidance = build(*ALL, channels=3, size=size)
    z = code(guidance, rows=4)
    torch.testing.assert_close(guidance.render(z), guidance.canvas(z))
    np.testing.assert_allclose(guidance.canvas(z).detach(), painted(guidance, z), rtol=1e-12)


def test_deformations_compose_as_scipy_does_it():
    """Rotation after shear after scale, with a gain for each axis."""
    guidance = build(*ALL, channels=2)
    z = code(guidance, rows=3)
    z[:, :5] = torch.randn(3, 5, generator=torch.Generator().manual_seed(2))
    guidance.gains["scale"].data = torch.tensor([0.2, 0.7], dtype=torch.float64)
    expected = []
    for canvas, (angle, scale, shear, *shift) in zip(
        painted(guidance, z), z[:, :5].numpy(), strict=True
    ):
        cos, sin = np.cos(0.5 * angle), np.sin(0.5 * angle)
        linear = np.array([[cos, -sin], [sin, cos]]) @ np.array([[1, 0.5 * shear], [0, 1]])
        linear = linear @ np.diag(np.exp([0.2 * scale, 0.7 * scale]))
        expected.append(scipy_deformed(canvas, linear, 0.5 * np.array(shift)))
    np.testing.assert_allclose(guidance.render(z).detach().numpy(), expected, atol=1e-9)


@pytest.mark.parametrize("of", ["the paper", "the authors' code"])
def test_losses_are_those_of(of):
    paper = of == "the paper"
    how = {} if paper else {"likelihood": "bernoulli", "orthogonality": "absolute"}
    guidance = build("rotation", channels=3, weight=0.5, orthogonality_weight=0.01, **how)
    z = code(guidance, rows=4, rotation=0.3)
    images = np.random.default_rng(0).random((4, 3, SIZE, SIZE))
    rotate = np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    canvas = painted(guidance, z) if paper else 1 / (1 + np.exp(-painted(guidance, z)))
    p = np.stack([scipy_deformed(c, rotate, np.zeros(2)) for c in canvas])
    if paper:
        pixelwise, penalty = np.square(images - p), np.square
    else:
        logs = np.log(np.maximum([p, 1 - p], np.exp(-100)))  # torch's bound
        pixelwise, penalty = -(images * logs[0] + (1 - images) * logs[1]), np.abs
    terms = losses(guidance, torch.from_numpy(images), z)
    assert terms["deformable_pca"].item() == pytest.approx(pixelwise.sum() / 4, rel=1e-9)
    columns = list(guidance.basis.weight.detach().numpy().T)
    pairs = [(b, c) for b in columns for c in columns if b is not c]
    orthogonality = sum(penalty(b @ c) for b, c in pairs)
    assert terms["orthogonality"].item() == pytest.approx(orthogonality, rel=1e-9)
    assert guidance.weights == {"deformable_pca": 0.5, "orthogonality": 0.01}
    assert set(terms) == set(guidance.weights)


def test_exchanged_content_is_deformed_as_the_other_view():
    guidance = build("rotation", exchange=True, views=2)
    z = code(guidance, rows=6, rotation=0.3)
    z[3:, 0] *= -1
    other = z[[3, 4, 5, 0, 1, 2]]
    other[:, 0] = z[:, 0]
    images = guidance.render(other).detach()
    assert losses(guidance, images, z)["deformable_pca"].item() == 0
    assert losses(guidance, guidance.render(z).detach(), z)["deformable_pca"].item() > 1


def test_blur_adds_the_square_of_the_smoothed_error():
    guidance = build("rotation", blur=1.2, channels=2)
    z = code(guidance, rows=3)
    images = np.random.default_rng(0).random((3, 2, SIZE, SIZE))
    images[..., :5, :] = images[..., 11:, :] = images[..., :5] = images[..., 11:] = 0
    for p in guidance.basis.parameters():
        nn.init.zeros_(p)
    smooth = ndimage.gaussian_filter(images, 1.2, axes=(2, 3), truncate=2.5, mode="mirror")
    expected = np.square(smooth).sum((1, 2, 3)).mean()
    terms = losses(guidance, torch.from_numpy(images), z)
    assert terms["deformable_pca_smoothed"].item() == pytest.approx(expected, rel=1e-6)
    assert terms["deformable_pca"].item() == pytest.approx(np.square(images).sum() / 3)
    assert guidance.weights["deformable_pca_smoothed"] == 100


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_gradients_of_latents_gains_and_basis_numerically(likelihood):
    guidance = build(*ALL, size=(8, 8), likelihood=likelihood)
    z = code(guidance, rows=2, rotation=0.2, scale=0.1, shear=0.15, translation_x=0.11)
    images = torch.zeros(2, 1, 8, 8, dtype=torch.float64)
    images[..., 2:6, 2:6] = torch.rand(2, 1, 4, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(guidance.affine, z.requires_grad_())
    inputs = (z, guidance.basis.bias, *guidance.gains.values())
    assert torch.autograd.gradcheck(lambda z, *_: sum(losses(guidance, images, z).values()), inputs)


def test_binary_images_and_saturated_pixels_stay_finite():
    size, rows = 31, 100  # a size at which interpolated ones overshoot 1 by a rounding error
    guidance = build(*ALL, size=(size, size), likelihood="bernoulli").float()
    images = (torch.rand(rows, 1, size, size) > 0.5).float()
    noise = torch.randn(size * size)
    z = code(guidance, rows, scale=0.2, translation_x=0.1).float()
    z[:, 0] = torch.linspace(-3, 3, rows)
    # 1e3: the sigmoid is 0 or 1 to the last bit.
    for bias in (noise, 1e3 * noise, torch.full_like(noise, 1e3)):
        guidance.basis.bias.data = bias
        term = losses(guidance, images, z.requires_grad_())["deformable_pca"]
        parameters = [z, guidance.basis.weight, *guidance.gains.values()]
        gradients = torch.autograd.grad(term, parameters)
        assert all(value.isfinite().all() for value in (term, *gradients))


def test_an_untrained_encoder_asks_for_no_deformation_and_learns_from_the_first_step(build_model):
    model = build_model(DeformablePCA(deformations=ALL, gains={"shear": 2.0}))
    (guidance,) = model.strategies
    rng = torch.Generator().manual_seed(0)
    images = torch.rand(5, 1, SIZE, SIZE, generator=rng)
    posterior = model.vae.posterior(images)
    identity = torch.eye(2, 3).expand(5, 2, 3)
    torch.testing.assert_close(guidance.affine(posterior.mean), identity)
    gains = torch.stack([guidance.gains[name].max() for name in ALL])
    torch.testing.assert_close(gains, torch.tensor([0.5, 0.2, 2.0, 0.15, 0.15]))
    assert (posterior.logvar[:, :5].exp() < 0.1).all()  # draws deform by little,
    assert (posterior.logvar[:, :5].exp().sqrt() * gains < 0.0701).all()  # however large the gain
    assert (posterior.mean[:, 5:].std(0) > 0).all()  # and the content is as ever
    objective = model.train().objective(images, {}, generator=rng)
    objective.terms["deformable_pca"].backward()
    assert (model.vae.encoder.latent_head.weight.grad[:8].abs().sum(1) > 0).all()
    assert all(gain.grad.all() for gain in guidance.gains.values())
    assert (guidance.basis.weight.grad.abs().sum(0) > 0).all()


@pytest.mark.parametrize(
    ("deformations", "settings", "message"),
    [
        ((), {}, r"DeformablePCA\.deformations: at least one"),
        (("rotation", "rotation"), {}, "'rotation' is asked for twice"),
        (("rotation",), {"exchange": True}, r"exchange: needs augmentation\.views 2, got 1"),
        (("rotation",), {"blur": -1}, "blur: expected at least 0, got -1"),
        (("rotation",), {"gains": {"shear": 1}}, "gains: 'shear' is not among the deformations"),
    ],
)
def test_impossible_settings_are_refused(deformations, settings, message):
    with pytest.raises(InputError, match=message):
        build(*deformations, **settings)


def test_content_needs_a_latent():
    with pytest.raises(InputError, match="no latent is left for the content"):
        DeformablePCA().build(GuidanceContext((1, 8, 8), LatentAllocator(2), {}))


def test_components_come_by_norm_each_stretched():
    guidance = build("rotation", channels=2)
    weight = guidance.basis.weight.data
    weight.copy_(nn.functional.normalize(weight, dim=0) * torch.tensor([1.0, 3.0, 2.0]))
    largest = weight.T[[1, 2, 0]]
    expected = 0.5 + 0.5 * largest / largest.abs().amax(1, keepdim=True)
    torch.testing.assert_close(guidance.components(), expected.view(3, 2, SIZE, SIZE))


def test_pictures_are_of_the_light_decoder(build_model, make_images, sheet, row_labels):
    model, images = build_model(DeformablePCA()), make_images(9)
    (guidance,) = model.strategies
    guidance.basis.weight.data *= torch.tensor([1.0, 3.0, 2.0, 6.0, 5.0, 4.0])
    figures, unit = guidance.figures(model.vae, images), spread(model.vae, images)
    code = model.vae.encoder(images[4:5]).detach()
    code[0, 0] = 3 * unit[0]
    expected = guidance.render(code)[0, 0].clamp(0, 1).detach()
    found = sheet(figures["traversals_light_decoder"])[:16, -16:]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    # From the basis' mean: no deformation, no other component.
    labels = row_labels(figures["traversals_basis"])
    assert labels[:4] == ["content 3", "content 4", "content 5", "content 1"]
    weight, mean = (p.detach() for p in guidance.basis.parameters())
    parts = sheet(figures["traversals_basis"]).reshape(-1, 16, 9, 16).swapaxes(1, 2)
    for row, component in enumerate([3, 4, 5, 1]):
        steps = torch.tensor([-3.0, 0, 3])[:, None] * unit[2 + component]
        expected = (mean + steps * weight[:, component]).view(3, 16, 16).clamp(0, 1)
        np.testing.assert_allclose(parts[row, ::4], expected, atol=1e-5)
