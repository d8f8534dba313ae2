"""A finished training, in words and as a notebook shows it."""

from collections.abc import Mapping

from guided.encoder import Encoder
from guided.html.fragment import Table, fragment
from guided.training.state import Progress

SHOWN = 8
"""Validations in the table, beside the one whose state was kept."""


def kept(progress: Progress) -> Mapping[str, float]:
    """The validation whose state was kept; empty without any."""
    return next((e for e in progress.history if e["step"] == progress.best_step), {})


def outcome(progress: Progress, autoencoder: bool = False) -> str:
    """The number of steps, and the state that was kept.

    Args:
        progress: of the training.
        autoencoder: true: states are judged by the reconstruction alone.
    """
    done, best = f"{progress.step} steps", kept(progress)
    if "score" not in best:
        return done
    name, words = "negative_elbo", "negative ELBO"
    if autoencoder:
        name, words = "reconstruction", "reconstruction error"
    judged = f"score is {best['score']:.2f}"
    if best.get(name) == best["score"]:
        judged = f"held-out {words} is {best[name]:.2f} nats per image"
    return f"{done}; kept step {best['step']:.0f}, whose {judged}"


def training_html(encoder: Encoder, progress: Progress, text: str) -> str:
    """The latents of an encoder by name, and the validations of its training."""
    shape = " × ".join(map(str, encoder.input_shape))
    tables = []
    if encoder.layout:
        lines = tuple((k, _range(*place)) for k, place in encoder.layout.slices.items())
        tables.append(Table("Latents", ("name", "numbers"), lines))
    if len(progress.history) > 1:
        tables.append(_validations(progress))
    return fragment(f"Encoder of {shape} images to {encoder.out_dim} latents:", text, tables=tables)


def _range(start: int, stop: int) -> str:
    return f"{start} … {stop - 1}" if stop - start > 1 else str(start)


def _validations(progress: Progress) -> Table:
    """Some validations, evenly spaced; a score that is another value of them is left out."""
    history, best = progress.history, kept(progress)
    apart = -(-len(history) // SHOWN)
    shown = [entry for i, entry in enumerate(history, 1) if entry is best or i % apart == 0]
    names = [name for name in best if name not in ("step", "score")]
    if best.get("score") not in [best[name] for name in names]:
        names.append("score")
    lines = tuple(
        (
            f"{entry['step']:.0f}",
            *(f"{entry[name]:.2f}" for name in names),
            "kept" * (entry is best),
        )
        for entry in shown
    )
    unit = "score as it was given, all else in nats" if "score" in names else "in nats"
    caption = f"Validations on held-out images, {unit} per image"
    return Table(caption, ("step", *names, "state"), lines)
