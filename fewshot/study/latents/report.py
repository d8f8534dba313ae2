"""The report of a study of latents: rows, a table and a figure."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fewshot.statistics import t_interval
from fewshot.study.cells import Seconds
from fewshot.study.colours import Style, arm_styles
from fewshot.study.counts import Counts
from fewshot.study.html.plain import write_plain
from fewshot.study.latents.config import ProbeStudyConfig
from fewshot.study.published import Published
from fewshot.study.report import write_pages
from fewshot.study.result import Result, provenance
from fewshot.study.rows import LatentsRow, Pair, rounded
from fewshot.study.scores import guidance_names, scored
from fewshot.study.tables import counted, latents_table
from fewshot.study.text import sourced

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Key = tuple[str, int]
"""(arm, latent_dim): the subject of a row."""


@dataclass(frozen=True)
class Probed:
    """Everything that a study of latents computed.

    Attributes:
        wrong: bool ``[seeds, test images]``, true where the linear classifier is wrong.
        distances: Fréchet distance of the samples of each seed; absent for untrained arms.
        features: ``error``: the feature classifier's on the test images, in percent;
            ``training_images``: the Fréchet distance of as many training as test images.
        seconds: of computing, each cell counted once.
    """

    wrong: dict[Key, NDArray[np.bool_]]
    distances: dict[Key, list[float]]
    features: dict[str, float]
    seconds: Seconds

    @property
    def counts(self) -> Counts:
        """1 for each wrong answer, by the rows' keys."""
        return Counts({(arm, str(dim)): w.astype(np.uint8) for (arm, dim), w in self.wrong.items()})


@dataclass(frozen=True, kw_only=True)
class LatentsResult(Result[LatentsRow]):
    """Rows and table of a study of latents; see :class:`.Result` for the attributes."""

    row_type = LatentsRow
    counts_name = "wrong.npz"

    @staticmethod
    def score(rows: Sequence[LatentsRow], counts: Counts) -> list[LatentsRow]:
        return score_images(rows, counts)

    @property
    def table(self) -> str:
        """The rows as a Markdown table, grouped by the number of latents, with its notes."""
        notes = "\n\n".join([*self.notes, counted(self.rows)])
        return f"{latents_table(self.rows, self.published)}\n{notes}\n"

    @property
    def notes(self) -> list[str]:
        """One paragraph for each measure: its definition and the data it is of."""
        features, samples = self.facts["features"], self.facts["config"].get("samples", 10_000)
        return [
            "Error: of a linear classifier (logistic regression) on the standardised posterior "
            f"means, on {self.rows[0].images:,} test images.",
            f"FID: of {samples:,} samples from the prior against the test images, on features of "
            f"a classifier trained here (test error {features['error']:.2f} %): comparable within "
            f"this table only; training images have {features['training_images']:.2f}.",
        ]


def latents_rows(config: ProbeStudyConfig, probed: Probed) -> list[LatentsRow]:
    """One row an arm and number of latents.

    Each arm but the baseline is paired with it: same number of latents, seeds and test images.
    """
    keys = [(name, latent_dim) for name in config.arms for latent_dim in config.latent_dims]
    return score_images([_row(config, probed, key) for key in keys], probed.counts)


def score_images(rows: Sequence[LatentsRow], counts: Counts) -> list[LatentsRow]:
    """The rows with scores from wrong answers ``[seeds, images]``; images take the place of
    episodes."""
    errors = {row.key: 100.0 * counts.wrong[row.key] for row in rows if row.key in counts.wrong}
    return scored(rows, errors, counts)


def _row(config: ProbeStudyConfig, probed: Probed, key: Key) -> LatentsRow:
    name, latent_dim = key
    arm, distances = config.arms[name], probed.distances.get(key)
    return LatentsRow(
        arm=name,
        arm_group=name,
        encoder=arm.encoder,
        guidance=guidance_names(arm.guidance),
        latent_dim=latent_dim,
        seeds=tuple(config.seeds),
        images=probed.wrong[key].shape[1],
        pairs=tuple(Pair(by="arm", partner=other) for other in config.partners_of(name)),
        fid=rounded(np.mean(distances)) if distances else None,
        fid_ci95_seeds=rounded(t_interval(np.array(distances))) if distances else None,
    )


def write_report(
    config: ProbeStudyConfig, probed: Probed, output: Path, device: str
) -> LatentsResult:
    """Write ``results.json``, ``wrong.npz``, ``table.md``, ``report.html`` and the figure.

    TensorBoard's page has the table and the figure too.
    """
    facts = provenance(config, device)
    facts["versions"] |= {name: version(name) for name in ("scikit-learn", "torchmetrics")}
    facts["features"] = {name: rounded(value) for name, value in probed.features.items()}
    result = LatentsResult(
        study=config.study,
        rows=tuple(latents_rows(config, probed)),
        published=tuple(config.published),
        seconds=probed.seconds.total,
        seconds_reused=probed.seconds.reused,
        facts=facts,
        output=output,
    )
    probed.counts.save(output / result.counts_name)
    figure = latents_figure(config.study, result.rows, result.published)
    write_pages(output, "report", {"table": result.table}, {"latents": figure})
    saved = result.save()
    write_latents_page(result, output)
    return saved


def write_latents_page(result: LatentsResult, output: Path) -> None:
    """Write ``report.html``; the figure must be there."""
    write_plain(
        output / "report.html",
        f"{result.study}: latents",
        "What a linear classifier reads from the latents, and how good samples are.",
        {"Errors and sample quality": result.table},
        {"Error and FID against the number of latents": "latents.png"},
        result.to_json(),
        ("config.yaml", "results.json", result.counts_name, "table.md"),
    )


def latents_figure(
    study: str, rows: Sequence[LatentsRow], published: Sequence[Published] = ()
) -> "Figure":
    """Error and FID against the number of latents, a line an arm, bars of 95 %."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    dims = list(dict.fromkeys(row.latent_dim for row in rows))
    styles = arm_styles(row.arm for row in rows)
    for i, (arm, style) in enumerate(styles.items()):
        line = sorted((row for row in rows if row.arm == arm), key=lambda row: row.latent_dim)
        shift = 2 ** (0.05 * (i - (len(styles) - 1) / 2))  # so that bars do not cover each other
        _line(left, line, "error", shift, style)
        if line[0].fid is not None:
            _line(right, line, "fid", shift, style)
    for i, p in enumerate(sourced(published)):
        places = sorted(map(int, p.errors))
        errors, grey = [p.errors[str(place)] for place in places], f"{0.25 + 0.2 * i % 0.6:.2f}"
        left.plot(places, errors, "x:", color=grey, label=f"{p.name}, {p.source}")
    left.set_ylabel("error of a linear classifier in %")
    # Logarithmic above 1 %: an untrained encoder's error is many times a trained one's.
    left.set_yscale("symlog", linthresh=1)
    ticks = [0, 1, 2, 5, 10, 20, 50, 100]
    left.set_yticks(ticks, [str(tick) for tick in ticks])
    right.set_ylabel("FID, features of a classifier trained here")
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_xticks(dims, [str(dim) for dim in dims])
        axes.set_xlabel("latents")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    left.legend(fontsize=7)
    figure.suptitle(study, fontsize=10)
    return figure


def _line(
    axes: "Axes", rows: Sequence[LatentsRow], measure: str, shift: float, style: Style
) -> None:
    places = [shift * row.latent_dim for row in rows]
    values = [getattr(row, measure) for row in rows]
    form: dict[str, Any] = {"color": style.colour, "marker": style.marker, "linestyle": style.line}
    form |= {"markersize": 4, "linewidth": 1}
    axes.plot(places, values, label=rows[0].arm, **form)
    for place, row in zip(places, rows, strict=True):
        interval = row.error_ci95 if measure == "error" else row.fid_ci95_seeds
        if interval:
            axes.plot([place, place], interval, color=style.colour, linewidth=2)
