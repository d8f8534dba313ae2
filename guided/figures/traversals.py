"""Pictures of what a VAE has learned."""

from dataclasses import fields, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from guided.augment import Augmentation
from guided.figures.attributes import attribute_figures
from guided.figures.grids import labelled_rows, sheet_figure, spaced
from guided.guidance.deformable_pca import DeformablePCAModule
from guided.guided_vae import GuidedVAE
from guided.seeds import generator
from guided.training.log import RunLog
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
def prior_samples(vae: VAE, n: int, *, seed: int = 0, batch_size: int = 1000) -> Tensor:
    """Images decoded from draws of the prior N(0, 1), in [0, 1], ``[n, C, H, W]``.

    Args:
        vae: in evaluation mode.
        n: how many; the first of them do not depend on it.
        seed: of the draws.
        batch_size: images at a time.
    """
    layout, device = vae.encoder.layout, next(vae.parameters()).device
    assert layout is not None
    # Drawn on the CPU: the same codes on every device.
    codes = torch.randn(n, layout.latent_dim, generator=generator(seed, "prior samples"))
    return torch.cat([vae.decode(z).clamp(0, 1) for z in codes.to(device).split(batch_size)])


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
    scale = torch.ones_like(posterior.mean[0]) if unit is None else unit
    return _rows_of_latents(model, posterior.mean[0], latents, scale, light)


def basis_figure(model: GuidedVAE, rows: int = 10, unit: Tensor | None = None) -> "Figure":
    """Each row moves one content latent from -3 to 3 through the light decoder, all others at 0.

    Args:
        model: in evaluation mode, with deformable PCA.
        rows: how many latents: those of the largest principal components, in the order of
            :meth:`DeformablePCA.pictures`.
        unit: what 1 means for each latent, ``[latent_dim]``; the prior's deviation if not given.
    """
    guidance = _light_decoder(model)
    norms = guidance.basis.weight.detach().norm(dim=0)
    latents = guidance.content[norms.argsort(descending=True)][:rows].tolist()
    origin = norms.new_zeros(len(norms) + len(guidance.latent_of))
    return _rows_of_latents(
        model, origin, latents, origin + 1 if unit is None else unit, light=True
    )


@torch.no_grad()
def _rows_of_latents(
    model: GuidedVAE, code: Tensor, latents: list[int], unit: Tensor, light: bool
) -> "Figure":
    vae = model.vae
    values = torch.linspace(-3, 3, 9, device=code.device)
    codes = traversal(code, latents, unit[latents, None] * values).flatten(0, 1)
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


def _has_light_decoder(model: GuidedVAE) -> bool:
    return any(isinstance(strategy, DeformablePCAModule) for strategy in model.strategies)


def _light_decoder(model: GuidedVAE) -> DeformablePCAModule:
    return next(g for g in model.strategies if isinstance(g, DeformablePCAModule))


def traversal_figures(model: GuidedVAE, images: Tensor) -> "dict[str, Figure]":
    """Name -> figure: through the VAE's decoder and, with deformable PCA, through its own.

    The middle image's code is moved, in units of each latent's :func:`spread` over all of them.
    """
    image, unit = images[len(images) // 2], spread(model.vae, images)
    figures = {"traversals": traversal_figure(model, image, unit=unit)}
    if _has_light_decoder(model):
        figures["traversals_light_decoder"] = traversal_figure(model, image, light=True, unit=unit)
        figures["traversals_basis"] = basis_figure(model, unit=unit)
    return figures | attribute_figures(model, images)


def picture_figures(model: GuidedVAE, images: Tensor) -> "dict[str, Figure]":
    """All of a model's pictures, name -> figure: what a run folder gets as PNG.

    Args:
        model: in evaluation mode.
        images: uint8 ``[N, C, H, W]``, held out; some are shown.
    """
    shown = spaced(images, 10)
    pairs = reconstructions(model.vae, shown).clamp(0, 1).unflatten(0, (2, len(shown)))
    figures = {
        **traversal_figures(model, spaced(images, 256)),
        "reconstructions": labelled_rows(pairs, ["image", "reconstruction"], [""] * len(shown)),
        "samples": sheet_figure(prior_samples(model.vae, 100)),
    }
    for strategy in model.strategies:
        figures |= {name: sheet_figure(found) for name, found in strategy.pictures().items()}
    return figures


def augmentation_figure(augmentation: Augmentation, image: Tensor, columns: int = 9) -> "Figure":
    """What training images may look like: the image, then draws, of each deformation alone and,
    last, of all together.

    Args:
        augmentation: with at least one deformation.
        image: uint8 or float in [0, 1], ``[C, H, W]``.
        columns: draws of each.
    """
    drawn = {
        field.name: getattr(augmentation, field.name)
        for field in fields(augmentation)
        if field.name != "views" and getattr(augmentation, field.name) != field.default
    }
    shown = image.float() / 255 if image.dtype == torch.uint8 else image
    copies = shown.expand(columns, *shown.shape)
    rows = [Augmentation(**{name: limit}) for name, limit in drawn.items()]
    rows.append(replace(augmentation, views=1))
    deformed = [
        row(copies, generator(number, "contact sheet", device=image.device))
        for number, row in enumerate(rows)
    ]
    sheet = torch.stack([torch.cat([shown[None], views]) for views in deformed])
    labels = [f"{name} {limit:g}" for name, limit in drawn.items()]
    return labelled_rows(sheet.clamp(0, 1), [*labels, "all"], ["image", *[""] * columns])


def log_pictures(log: RunLog, model: GuidedVAE, images: Tensor, step: int) -> None:
    """Inputs, reconstructions, samples, traversals and the guidances' own pictures.

    Args:
        log: where to.
        model: in evaluation mode.
        images: uint8 ``[N, C, H, W]``, held out.
        step: of the log.
    """
    chosen = spaced(images, 16)
    log.images("inputs", chosen.float() / 255, step)
    log.images("reconstructions", reconstructions(model.vae, chosen), step, columns=len(chosen))
    log.images("samples", prior_samples(model.vae, 64), step)
    for name, figure in traversal_figures(model, spaced(images, 256)).items():
        log.figure(name, figure, step)
    for strategy in model.strategies:
        for name, pictures in strategy.pictures().items():
            log.images(name, pictures, step)
