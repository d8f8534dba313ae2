"""All figures of a trained model."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from guided.decoder import Decoder
from guided.figures.grids import sheet_figure, spaced
from guided.figures.reconstructions import reconstructed, reconstruction_figure
from guided.figures.sheets import Sheet
from guided.figures.traversals import STEPS, latents_shown, spread, traversal, traversal_figure
from guided.guided_vae import GuidedVAE
from guided.training.log import RunLog

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 16
"""Images beside their reconstructions."""


def traversal_figures(model: GuidedVAE, images: Tensor) -> "dict[str, Figure]":
    """Latent traversals through the VAE's decoder, and the figures of each guidance, by name.

    The middle image's code is moved, in units of each latent's :func:`spread` over all of them.

    Args:
        model: in evaluation mode.
        images: uint8 ``[N, C, H, W]``, held out; a few hundred are enough.
    """
    image, unit = images[len(images) // 2], spread(model.vae, images)
    figures = {"traversals": traversal_figure(model.vae, image, unit=unit)}
    for module in model.strategies:
        for name, figure in module.figures(model.vae, images).items():
            number = 1 + sum(taken.startswith(name) for taken in figures)
            figures[f"{name}_{number}" if name in figures else name] = figure
    return figures


def picture_figures(model: GuidedVAE, images: Tensor) -> "dict[str, Figure]":
    """Traversals, reconstructions and, of a VAE, samples of a model, by name.

    Args:
        model: in evaluation mode.
        images: uint8 ``[N, C, H, W]``, held out; some are shown.
    """
    figures = {
        **traversal_figures(model, spaced(images, 256)),
        "reconstructions": reconstruction_figure(model.vae, spaced(images, 10)),
    }
    if not model.autoencoder:
        figures["samples"] = sheet_figure(Decoder.from_vae(model.vae).sample(100))
    return figures


def log_inputs(log: RunLog, images: Tensor) -> None:
    """Write the images ``[B, C, H, W]`` that :func:`log_progress` reconstructs, once, at step 0."""
    log.images("progress/inputs", spaced(images, SHOWN).float() / 255, 0, columns=SHOWN)


@torch.no_grad()
def log_progress(log: RunLog, model: GuidedVAE, images: Tensor, step: int) -> None:
    """Write what a model in training makes of the same images, to be seen beside other models'.

    ``progress/reconstructions``: the images above theirs. ``progress/traversals``: the middle
    image's first latents, a row each, from -3 to 3 in units of the prior.

    Args:
        log: the log; without one, nothing is computed.
        model: in evaluation mode.
        images: uint8 ``[N, C, H, W]``, held out.
        step: at which they are entered.
    """
    if not log.active:
        return
    pairs = reconstructed(model.vae, spaced(images, SHOWN))
    log.images("progress/reconstructions", pairs, step, columns=len(pairs) // 2)
    middle = len(images) // 2
    code = model.vae.posterior(images[middle : middle + 1]).mean[0]
    codes = traversal(code, list(range(min(8, len(code)))), STEPS.to(code.device))
    moved = model.vae.decode(codes.flatten(0, 1))
    log.images("progress/traversals", moved, step, columns=len(STEPS))


def log_pictures(
    log: RunLog, model: GuidedVAE, images: Tensor, step: int, folder: Path | None = None
) -> None:
    """Write labelled reconstructions, a VAE's samples, and traversals to a log.

    Args:
        log: the log.
        model: in evaluation mode.
        images: uint8 ``[N, C, H, W]``, held out.
        step: at which they are entered.
        folder: receives the traversals as PNG files, and its folder ``sheets`` what
            :func:`save_sheets` writes.
    """
    if log.active:
        log.figure("reconstructions", reconstruction_figure(model.vae, spaced(images, 10)), step)
    if not model.autoencoder:
        log.images("samples", Decoder.from_vae(model.vae).sample(64), step)
    figures = traversal_figures(model, spaced(images, 256))
    for name, figure in figures.items():
        log.figure(name, figure, step, file=folder and folder / f"{name}.png")
    if folder:
        save_sheets(model, images, figures, folder / "sheets")


def save_sheets(
    model: GuidedVAE, images: Tensor, figures: "Mapping[str, Figure]", folder: Path
) -> None:
    """Write :class:`.Sheet` of a model's traversals, of the image that they move, and of
    reconstructions.

    Args:
        model: in evaluation mode.
        images: uint8 ``[N, C, H, W]``, held out.
        figures: those of :func:`traversal_figures`, of 256 of these images.
        folder: receives PNG files.
    """
    few = spaced(images, 256)
    image = few[len(few) // 2]
    # An autoencoder has no KL.
    bars = [] if model.autoencoder else latents_shown(model.vae, image)[1]
    sheets = {
        name: Sheet.of(figure, bars if name == "traversals" else ())
        for name, figure in figures.items()
    }
    sheets["traversed_image"] = Sheet.of(reconstruction_figure(model.vae, image[None]))
    sheets["reconstructions"] = Sheet.of(reconstruction_figure(model.vae, spaced(images, 12)))
    for name, sheet in sheets.items():
        sheet.save(folder / f"{name}.png")
