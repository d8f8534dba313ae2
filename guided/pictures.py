"""Pictures of what a VAE has learned."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from guided.guidance.deformable_pca import DeformablePCA
from guided.guided_vae import GuidedVAE
from guided.runlog import RunLog
from guided.vae import VAE

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@torch.no_grad()
def reconstructions(vae: VAE, images: Tensor) -> Tensor:
    """Inputs and, after them, their reconstructions from the posterior mean: ``[2 n, C, H, W]``.

    Args:
        vae: in evaluation mode.
        images: uint8 or float in [0, 1], ``[n, C, H, W]``.
    """
    batch = vae.encoder.normalised(images)
    return torch.cat([batch, vae.decode(vae.posterior(batch).mean)])


@torch.no_grad()
def traversal(z: Tensor, latents: list[int], values: Tensor) -> Tensor:
    """Copies of one code in which one latent at a time takes each value.

    Args:
        z: the code, ``[latent_dim]``.
        latents: which latents to move.
        values: ``[n]``, or ``[len(latents), n]`` for each latent its own.

    Returns:
        ``[len(latents), n, latent_dim]``.
    """
    codes = z.expand(len(latents), values.shape[-1], -1).clone()
    for row, latent in enumerate(latents):
        codes[row, :, latent] = values if values.ndim == 1 else values[row]
    return codes


@torch.no_grad()
def spread(vae: VAE, images: Tensor) -> Tensor:
    """Standard deviation of each latent over images: of the aggregate posterior, ``[latent_dim]``.

    1 for a latent that follows the prior; a latent that is much narrower means nothing at 1.
    """
    posterior = vae.posterior(images)
    return (posterior.mean.var(0, correction=0) + posterior.logvar.exp().mean(0)).sqrt()


def traversal_figure(
    model: GuidedVAE,
    image: Tensor,
    rows: int = 10,
    light: bool = False,
    unit: Tensor | None = None,
) -> "Figure":
    """Each row moves one latent of one image's code from -3 to 3; labelled by the latent's role.

    Args:
        model: in evaluation mode.
        image: uint8 or float, ``[C, H, W]``.
        rows: how many latents: the named slices first, then those whose posterior says most (KL).
        light: through deformable PCA's light decoder instead of the VAE's decoder.
        unit: what 1 means for each latent, ``[latent_dim]``; the prior's deviation if not given.
    """
    vae = model.vae
    with torch.no_grad():
        posterior = vae.posterior(image[None])
    latents = _order(model, posterior.kl()[0])[:rows]
    values = torch.linspace(-3, 3, 9, device=image.device)
    scale = torch.ones_like(posterior.mean[0]) if unit is None else unit
    steps = scale[latents, None] * values
    codes = traversal(posterior.mean[0], latents, steps).flatten(0, 1)
    with torch.no_grad():
        decoded = _light_decoder(model).render(codes).clamp(0, 1) if light else vae.decode(codes)
    labels = vae.encoder.layout.labels() if vae.encoder.layout else []
    return labelled_rows(
        decoded.unflatten(0, (len(latents), len(values))),
        [labels[i] for i in latents],
        [f"{value:g}" for value in values.tolist()],
    )


def _order(model: GuidedVAE, kl: Tensor) -> list[int]:
    layout = model.vae.encoder.layout
    assert layout is not None
    named = [i for name in layout.slices if name != "content" for i in layout.indices(name)[:3]]
    others = [i for i in kl.argsort(descending=True).tolist() if i not in named]
    return named + others


def _light_decoder(model: GuidedVAE) -> DeformablePCA:
    return next(g for g in model.strategies if isinstance(g, DeformablePCA))


def labelled_rows(images: Tensor, row_labels: list[str], column_labels: list[str]) -> "Figure":
    """A figure of images ``[rows, columns, C, H, W]`` in [0, 1] with a label for each row."""
    from matplotlib.figure import Figure

    rows, columns, channels, height, width = images.shape
    sheet = images.permute(0, 3, 1, 4, 2).reshape(rows * height, columns * width, channels)
    figure = Figure(figsize=(1.4 + 0.6 * columns, 0.4 + 0.6 * rows), layout="tight")
    axes = figure.subplots()
    axes.imshow(sheet.squeeze(-1).cpu().numpy(), cmap="gray", vmin=0, vmax=1)
    axes.set_yticks([height * (i + 0.5) for i in range(rows)], row_labels)
    axes.set_xticks([width * (i + 0.5) for i in range(columns)], column_labels)
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    return figure


def traversal_figures(model: GuidedVAE, images: Tensor) -> "dict[str, Figure]":
    """Name -> figure: through the VAE's decoder and, with deformable PCA, through its own.

    The middle image's code is moved, in units of each latent's :func:`spread` over all of them.
    """
    image, unit = images[len(images) // 2], spread(model.vae, images)
    figures = {"traversals": traversal_figure(model, image, unit=unit)}
    if any(isinstance(strategy, DeformablePCA) for strategy in model.strategies):
        figures["traversals_light_decoder"] = traversal_figure(model, image, light=True, unit=unit)
    return figures


def spaced(images: Tensor, n: int) -> Tensor:
    """At most n of the images, evenly spaced: a few of most classes."""
    rows = torch.linspace(0, len(images) - 1, min(n, len(images)), device=images.device)
    return images[rows.long()]


def log_pictures(log: RunLog, model: GuidedVAE, images: Tensor, step: int) -> None:
    """Inputs, reconstructions, traversals and the guidances' own pictures.

    Args:
        log: where to.
        model: in evaluation mode.
        images: uint8 ``[N, C, H, W]``, held out.
        step: of the log.
    """
    chosen = spaced(images, 16)
    log.images("inputs", chosen.float() / 255, step)
    log.images("reconstructions", reconstructions(model.vae, chosen), step, columns=len(chosen))
    for name, figure in traversal_figures(model, spaced(images, 256)).items():
        log.figure(name, figure, step)
    for strategy in model.strategies:
        for name, pictures in strategy.pictures().items():
            log.images(name, pictures, step)
