"""Pictures in which only the latents of one attribute move."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from guided.figures.grids import labelled_rows, spaced
from guided.guidance.excitation_inhibition import ExcitationInhibitionModule, parts
from guided.guided_vae import GuidedVAE
from guided.vae import Posterior

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STEPS = torch.linspace(-3, 3, 7)  # in standard deviations
N_IMAGES = 3  # an attribute


def attribute_figures(model: GuidedVAE, images: Tensor) -> "dict[str, Figure]":
    """Name -> figure; none without supervised guidance.

    ``attribute_traversals``: the image, its reconstruction, then the reconstruction while the
    attribute's latents move along the direction that its classifier reads
    (:meth:`ExcitationInhibition.direction`) and all else stays. Three images an attribute; in the
    corner, what the classifier says: with two categories the probability of the second, with
    more the number of the likeliest.

    Args:
        model: in evaluation mode.
        images: uint8 or float in [0, 1], ``[N, C, H, W]``, held out; what a step means is taken
            from all of them.
    """
    guides = [g for g in model.strategies if isinstance(g, ExcitationInhibitionModule)]
    named = [(guide, name) for guide in guides for name in guide.slices]
    if not named:
        return {}
    with torch.no_grad():
        posterior = model.vae.posterior(images)
        chosen = spaced(images, N_IMAGES)
        found = [_rows(model, guide, name, posterior, chosen) for guide, name in named]
    rows, texts = zip(*found, strict=True)
    titles = [name.replace(" within ", "\nwithin ") for _, name in named]
    labels = [title if i == 0 else "" for title in titles for i in range(len(rows[0]))]
    columns = ["image", "as it is", *(f"{step:+g}" for step in STEPS.tolist())]
    figure = labelled_rows(torch.cat(rows), labels, columns)
    _write(figure, [text for part in texts for text in part], images.shape[-2:])
    return {"attribute_traversals": figure}


def _rows(
    model: GuidedVAE,
    guide: ExcitationInhibitionModule,
    name: str,
    posterior: Posterior,
    chosen: Tensor,
) -> tuple[Tensor, list[list[str]]]:
    """One attribute's pictures, ``[n, 2 + steps, C, H, W]``, and the classifier's words on each
    of the codes, ``[n][1 + steps]``."""
    vae = model.vae
    codes = vae.posterior(chosen).mean
    moved = moved_along(model, guide, name, posterior, codes)
    shown = torch.cat([codes[:, None], moved], 1)
    decoded = vae.decode(shown.flatten(0, 1)).unflatten(0, shown.shape[:2]).clamp(0, 1)
    logits = guide.predict(name, shown.flatten(0, 1)).unflatten(0, shown.shape[:2])
    # Of an attribute within another the classifier would have to be told the other's value.
    words = _words(logits) if parts(name) == (name,) else [[]] * len(chosen)
    return torch.cat([vae.encoder.normalised(chosen)[:, None], decoded], 1), words


def moved_along(
    model: GuidedVAE,
    guide: ExcitationInhibitionModule,
    name: str,
    posterior: Posterior,
    codes: Tensor,
) -> Tensor:
    """Codes whose place on an attribute's direction is set to -3 … 3, all else as it is.

    0 and 1 are the mean and the standard deviation along it of the aggregate posterior.

    Args:
        model: whose layout says where the attribute's latents are.
        guide: has the attribute.
        name: the attribute's.
        posterior: of many images.
        codes: ``[n, latent_dim]``.

    Returns:
        ``[n, len(STEPS), latent_dim]``.
    """
    layout = model.vae.encoder.layout
    assert layout is not None
    axis = codes.new_zeros(codes.shape[1])
    axis[layout.indices(name)] = guide.direction(name)
    along = posterior.mean @ axis
    spread = (along.var(correction=0) + (posterior.logvar.exp() @ axis.square()).mean()).sqrt()
    places = along.mean() + spread * STEPS.to(codes.device)
    steps = places - (codes @ axis)[:, None]
    return codes[:, None] + steps[..., None] * axis


def _words(logits: Tensor) -> list[list[str]]:
    """Of logits ``[n, m, categories]``."""
    if logits.shape[2] == 2:
        return [[f"{p:.0%}" for p in row] for row in logits.softmax(2)[..., 1].tolist()]
    return [[str(category) for category in row] for row in logits.argmax(2).tolist()]


def _write(figure: "Figure", texts: list[list[str]], size: torch.Size) -> None:
    """Each code's text into the lower right corner of its picture."""
    (axes,) = figure.axes
    for row, line in enumerate(texts):
        for column, text in enumerate(line, start=1):
            axes.text(
                *(size[1] * (column + 0.97), size[0] * (row + 0.97)),
                text,
                ha="right",
                va="bottom",
                fontsize=5,
                color="tab:orange",
            )
