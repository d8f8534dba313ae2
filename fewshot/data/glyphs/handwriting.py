"""Drawing the characters of an alphabet, as each of its drawers writes them."""

import torch
from torch import Tensor

from fewshot.data.glyphs.strokes import (
    N_STROKES,
    N_TRIES,
    Alphabet,
    interpolation,
    lengths,
    render,
)
from guided.seeds import generator

MARGIN = 0.04  # of the image's side, free of ink at each border

# Factor -> mean, standard deviation between drawers, standard deviation between the drawings of
# one drawer. Lengths are in image sides. Scale and thickness are log-normal.
FACTORS = {
    "rotation": (0.0, 4.0, 4.0),
    "slant": (0.05, 0.12, 0.06),
    "scale": (1.0, 0.14, 0.08),
    "thickness": (0.058, 0.12, 0.04),
    "translation_x": (0.0, 0.03, 0.03),
    "translation_y": (0.0, 0.03, 0.03),
}
LOG_NORMAL = ("scale", "thickness")

# Causal writing: factor -> its cause, and how much of the cause's deviation from its mean is added
# to the factor's mean. Who writes larger presses harder, thickness being about proportional to
# scale; who turns characters clockwise leans them too, 0.024 for a degree. About half of the
# variance of thickness and slant comes from their causes then.
CAUSES = {"thickness": ("scale", 0.8), "slant": ("rotation", 0.024)}
LENGTHS = ("thickness", "translation_x", "translation_y")

# Standard deviations between drawings of one stroke: of the logarithm of its width and height; of
# its position, in image sides; of the bends of its course, as a fraction of its extent.
PROPORTION, PLACE, BEND = 0.12, 0.05, 0.035
N_BENDS = 4  # in a stroke
N_MOTOR = N_STROKES * (4 + 2 * N_BENDS)  # random numbers in a drawing


def _normal(g: torch.Generator, *shape: int) -> Tensor:
    """Standard normal numbers, of which a longer draw begins like a shorter one.

    With ``torch.randn``, for which that is not so, the number of drawers would change every
    drawing.
    """
    uniform = torch.rand(shape, generator=g, dtype=torch.float64)
    quantile: Tensor = torch.special.ndtri(uniform.clamp(1e-9, 1 - 1e-9))
    return quantile.float()


def draw_alphabet(
    seed: int,
    alphabet: int,
    n_characters: int,
    n_drawers: int,
    size: int,
    causal: bool = False,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Draw every character of an alphabet, c of them, by each of its d drawers.

    A drawing depends on the seed and on the indices of its alphabet, character and drawer, not on
    how many of them there are.

    Args:
        seed: of the dataset.
        alphabet: index of the alphabet.
        n_characters: c.
        n_drawers: d.
        size: side of an image in pixels.
        causal: some factors cause others, as :data:`CAUSES` says.

    Returns:
        images: uint8 ``[c * d, 1, size, size]``, sorted by character, then by drawer.
        factors: name -> float ``[c * d]``; see :class:`Glyphs`.
    """
    style = Alphabet.sample(generator(seed, "glyphs", "alphabet", alphabet))
    per_character = [
        generator(seed, "glyphs", "character", alphabet, c) for c in range(n_characters)
    ]
    strokes, present = style.sample_characters(
        torch.stack([torch.rand(N_TRIES, N_STROKES, 2, generator=g) for g in per_character])
    )
    noise = torch.stack([_normal(g, n_drawers, len(FACTORS) + N_MOTOR) for g in per_character])
    habits = _normal(generator(seed, "glyphs", "drawers", alphabet), n_drawers, len(FACTORS))
    within, motor = noise[..., : len(FACTORS)], noise[..., len(FACTORS) :]
    drawn = handwrite(
        strokes.repeat_interleave(n_drawers, 0),
        present.repeat_interleave(n_drawers, 0),
        motor.flatten(0, 1),
    )
    placed, factors = pose(drawn, sample_factors(habits, within, causal))
    factors |= {name: size * factors[name] for name in LENGTHS}
    return render(size * placed, factors["thickness"], size), factors


def sample_factors(habits: Tensor, within: Tensor, causal: bool = False) -> dict[str, Tensor]:
    """The factors of each drawing before it is fitted into the image.

    Args:
        habits: standard normal ``[d, len(FACTORS)]``, for the drawers.
        within: standard normal ``[c, d, len(FACTORS)]``, for the drawings.
        causal: add effects of the :data:`CAUSES`.

    Returns:
        name -> ``[c * d]``; lengths are in image sides.
    """
    own = {
        name: (between_sd * habits[:, i] + within_sd * within[..., i]).flatten()
        for i, (name, (_, between_sd, within_sd)) in enumerate(FACTORS.items())
    }
    factors = {}
    for name, (mean, _, _) in FACTORS.items():
        deviation = own[name]
        if causal and name in CAUSES:
            cause, effect = CAUSES[name]
            deviation = deviation + effect * own[cause]
        factors[name] = deviation.exp() * mean if name in LOG_NORMAL else deviation + mean
    return factors


def with_effect(effect: str, values: Tensor, cause: Tensor, new: Tensor) -> Tensor:
    """Values of a caused factor after its cause changes, all else being equal.

    Args:
        effect: the factor; see :data:`CAUSES`.
        values: of it, ``[n]``.
        cause: values of its cause, ``[n]``.
        new: those to which it changes, ``[n]``.
    """
    name, strength = CAUSES[effect]
    step = strength * ((new / cause).log() if name in LOG_NORMAL else new - cause)
    return values * step.exp() if effect in LOG_NORMAL else values + step


def handwrite(strokes: Tensor, present: Tensor, motor: Tensor) -> Tensor:
    """Vary the strokes as a hand does, and move the centre of mass of the ink to the origin.

    Args:
        strokes: ``[n, s, p, 2]``, n characters; see :meth:`Alphabet.sample_characters`.
        present: bool ``[n, s]``.
        motor: standard normal ``[n, N_MOTOR]``.

    Returns:
        ``[n, s, p, 2]``; a stroke that is not present repeats the first.
    """
    motor = motor.view(-1, N_STROKES, 4 + 2 * N_BENDS)
    extent = (strokes.amax(2) - strokes.amin(2)).norm(dim=-1)[..., None, None]
    middle = strokes.mean(2, keepdim=True)
    drawn: Tensor = middle + (strokes - middle) * (PROPORTION * motor[:, :, None, :2]).exp()
    drawn = drawn + PLACE * motor[:, :, None, 2:4]
    bends = motor[..., 4:].reshape(-1, N_STROKES, N_BENDS, 2)
    drawn = drawn + BEND * extent * interpolation(N_BENDS, curved=1.0) @ bends
    # A stroke's points are evenly spaced, so their mean is its centre of mass.
    ink = (present * lengths(drawn))[..., None, None]
    centre = (ink * drawn.mean(2, keepdim=True)).sum(1, keepdim=True) / ink.sum(1, keepdim=True)
    drawn = torch.where(present[..., None, None], drawn, drawn[:, :1])
    return drawn - centre


def pose(strokes: Tensor, factors: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Slant, scale, rotate and translate drawings, in this order, such that they fit the image.

    A drawing that would cross the image's border is made smaller and moved inwards.

    Args:
        strokes: ``[n, s, p, 2]``.
        factors: name -> ``[n]``; lengths in image sides.

    Returns:
        strokes: ``[n, s, p, 2]``, in image sides from the middle of the image.
        factors: as given, except for the scale and translation, which are those applied.
    """
    x, y = strokes.unbind(3)
    x = x - factors["slant"][:, None, None] * y
    angle = factors["rotation"].deg2rad()[:, None, None]
    turned = torch.stack([angle.cos() * x - angle.sin() * y, angle.sin() * x + angle.cos() * y], 3)
    room = 0.5 - MARGIN - factors["thickness"][:, None] / 2
    low, high = turned.amin((1, 2)), turned.amax((1, 2))
    scale = torch.minimum(factors["scale"], (2 * room / (high - low)).amin(1))
    place = torch.stack([factors["translation_x"], factors["translation_y"]], 1)
    place = place.clamp(-room - scale[:, None] * low, room - scale[:, None] * high)
    used = {"scale": scale, "translation_x": place[:, 0], "translation_y": place[:, 1]}
    return scale[:, None, None, None] * turned + place[:, None, None], {**factors, **used}
