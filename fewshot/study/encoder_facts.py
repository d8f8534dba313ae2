"""Facts of a pretrained encoder that say whether it can be judged: collapse, and convergence."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from statistics import fmean, median
from typing import Any, Self

from fewshot.study.text import NONE, fixed, markdown

ACTIVE = 0.01
"""Mean KL of a latent, in nats, above which it says something of the image; a posterior with no
such latent has collapsed (as of Lucas et al. 2019, arXiv:1911.02469, by images' mean instead
of nearly every image)."""

FLAT = 0.01
"""Share of a training's whole fall below which the fall in its last quarter counts as none: what
is left after five time constants of an exponential."""


@dataclass(frozen=True)
class EncoderFacts:
    """The facts of one encoder's training.

    Attributes:
        arm, seed: of the encoder.
        kl: of each latent's posterior from the prior N(0, 1), nats, mean over held-out images, of
            the state that was kept; empty for an encoder without a posterior.
        ratios: each latent's variance over held-out images by that of its posterior, or of the
            chains that infer it; near 0 where the latent ignores its image. Empty for an encoder
            without either.
        reconstruction: error on validation images of the state that was kept, nats per image; None
            where it was not measured.
        kept_step, last_step: of the validations; None if there was none.
        falls: the held-out loss's fall in the last quarter of the steps as a share of its whole
            fall; None with fewer than two validations.
        basis: True if its guidance learns a basis like PCA's.
    """

    arm: str
    seed: int
    kl: tuple[float, ...] = ()
    ratios: tuple[float, ...] = ()
    reconstruction: float | None = None
    kept_step: int | None = None
    last_step: int | None = None
    falls: float | None = None
    basis: bool = False

    @classmethod
    def of(
        cls,
        arm: str,
        seed: int,
        history: Sequence[Mapping[str, float]],
        latents: Mapping[str, Sequence[float]],
        basis: bool,
    ) -> Self:
        """The facts of a history of validations.

        Args:
            arm: name of the encoder.
            seed: of its training.
            history: one entry a validation, with ``step``.
            latents: ``kl_per_latent`` and ``variance_ratios``, where they were measured.
            basis: True if its guidance learns a basis like PCA's.
        """
        kl, ratios = (tuple(latents.get(name, ())) for name in ("kl_per_latent", "variance_ratios"))
        facts = cls(arm, seed, kl, ratios, basis=basis)
        if not (best := kept(history)):
            return facts
        return replace(
            facts,
            reconstruction=best.get("reconstruction"),
            kept_step=int(best["step"]),
            last_step=int(history[-1]["step"]),
            falls=late_fall(history),
        )

    @property
    def active(self) -> int:
        """The number of latents that say something of the image."""
        return sum(kl > ACTIVE for kl in self.kl)

    @property
    def collapsed(self) -> bool:
        """True if no latent says anything of the image; False if that was not measured."""
        return bool(self.kl) and not self.active

    @property
    def growing(self) -> str:
        """Why its training had not converged; empty if it had, or if nothing tells."""
        if self.kept_step is not None and self.kept_step == self.last_step and self.falls:
            return "its last validation is its best"
        if self.falls is not None and self.falls > FLAT:
            share = f"{100 * self.falls:.0f} % of its whole fall"
            return f"its held-out loss still fell in the last quarter of the steps, by {share}"
        return ""

    def to_json(self) -> dict[str, Any]:
        """Plain values by name; ``ratios`` and ``reconstruction`` where they were measured."""
        optional = {"ratios": list(self.ratios), "reconstruction": self.reconstruction}
        values = asdict(self) | {"kl": list(self.kl)} | optional
        return {name: value for name, value in values.items() if value or name not in optional}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The facts that :meth:`to_json` described."""
        return cls(
            **{**values, "kl": tuple(values["kl"]), "ratios": tuple(values.get("ratios", ()))}
        )


def kept(history: Sequence[Mapping[str, float]]) -> Mapping[str, float]:
    """The validation that was kept: the first of the lowest score; empty without any."""
    scored = [entry for entry in history if "score" in entry and "step" in entry]
    return min(scored, key=lambda entry: entry["score"]) if scored else {}


def late_fall(history: Sequence[Mapping[str, float]]) -> float | None:
    """The fall of the held-out loss in the last quarter of the steps, as a share of its whole fall.

    The loss is the negative ELBO, or the reconstruction error, or else the score; the lowest value
    so far counts, so that noise is no fall.

    Args:
        history: one entry a validation, with ``step``.

    Returns:
        0 … 1; None with fewer than two validations, or without a loss.
    """
    names = ("negative_elbo", "reconstruction", "score")
    name = next((name for name in names if all(name in entry for entry in history)), None)
    if name is None or len(history) < 2:
        return None
    start = history[-1]["step"] * 0.75
    before = [entry[name] for entry in history if entry["step"] <= start]
    lowest = min(entry[name] for entry in history)
    if not before or lowest == before[0]:
        return 0.0
    return (min(before) - lowest) / (before[0] - lowest)


def cautions(encoders: Sequence[EncoderFacts]) -> list[str]:
    """A sentence for each arm that has collapsed, or whose basis has not converged."""
    found = []
    for arm, group in groupby(sorted(encoders, key=lambda e: e.arm), key=lambda e: e.arm):
        of_arm = list(group)
        if collapsed := [facts for facts in of_arm if facts.collapsed]:
            largest = max(max(facts.kl) for facts in collapsed)
            found.append(
                f"The posterior of {arm} has collapsed ({_seeds(collapsed)}): the KL of every "
                f"latent is below {ACTIVE:g} nats per image, the largest {largest:.2g}."
            )
        if growing := [facts for facts in of_arm if facts.basis and facts.growing]:
            found.append(
                f"Basis not converged: {arm} ({_seeds(growing)}); for seed {growing[0].seed}, "
                f"{growing[0].growing}."
            )
    return found


def latents_table(encoders: Sequence[EncoderFacts]) -> str:
    """Means over seeds of the signs of collapse, as Markdown; empty if none was measured."""
    arms: dict[str, list[EncoderFacts]] = {}
    for facts in encoders:
        if facts.kl or facts.ratios:
            arms.setdefault(facts.arm, []).append(facts)
    head = ["arm", "reconstruction", "latents", f"KL above {ACTIVE:g}", "largest", "sum"]
    head += ["variance above 1", "median"]
    lines = [
        [
            arm,
            _mean([facts.reconstruction for facts in found], 1),
            str(len(found[0].kl or found[0].ratios)),
            _mean([facts.active if facts.kl else None for facts in found], 1),
            _mean([max(facts.kl, default=None) for facts in found]),
            _mean([sum(facts.kl) if facts.kl else None for facts in found], 1),
            _mean(
                [sum(r > 1 for r in facts.ratios) if facts.ratios else None for facts in found], 1
            ),
            _mean([median(facts.ratios) if facts.ratios else None for facts in found]),
        ]
        for arm, found in arms.items()
    ]
    return markdown(head, lines) if lines else ""


def _mean(values: Sequence[float | None], digits: int = 2) -> str:
    known = [value for value in values if value is not None]
    return fixed(fmean(known), digits) if len(known) == len(values) else NONE


def _seeds(encoders: Sequence[EncoderFacts]) -> str:
    numbers = ", ".join(str(facts.seed) for facts in encoders)
    return f"seed{'s' * (len(encoders) > 1)} {numbers}"
