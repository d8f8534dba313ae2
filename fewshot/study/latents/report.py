"""The report of a study of latents: rows, a table and a figure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fewshot.logs import REPORT_PAGE
from fewshot.printing import Paint, filled, plain
from fewshot.statistics import t_interval
from fewshot.study.cells import Cells
from fewshot.study.colours import DASHES, Style, arm_styles
from fewshot.study.counts import Counts
from fewshot.study.figures import WIDE
from fewshot.study.html.plain import write_plain
from fewshot.study.latents.config import ProbeStudyConfig
from fewshot.study.pivot import Entry, published_entries, summary
from fewshot.study.published import Published
from fewshot.study.report import write_pages
from fewshot.study.result import Result, provenance
from fewshot.study.rows import LatentsRow, Pair, RowKey, rounded
from fewshot.study.scores import guidance_names, scored
from fewshot.study.tables import counted, latents_table
from fewshot.study.text import latents_and_steps, sourced

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Key(NamedTuple):
    """The subject of a row: an arm, its latents, and its steps of training if there are several."""

    arm: str
    latent_dim: int
    steps: int | None = None


def row_key(key: Key) -> RowKey:
    """The key of the row that is about a subject."""
    return tuple(str(part) for part in key if part is not None)


@dataclass(frozen=True)
class Probed:
    """Everything that a study of latents computed.

    Attributes:
        wrong: bool ``[seeds, test images]``, true where the linear classifier is wrong.
        distances: Fréchet distance of the samples of each seed; absent for untrained arms.
        features: ``error``: the feature classifier's on the test images, in percent;
            ``training_images``: the Fréchet distance of as many training as test images.
        cells: of the study.
    """

    wrong: dict[Key, NDArray[np.bool_]]
    distances: dict[Key, list[float]]
    features: dict[str, float]
    cells: Cells

    @property
    def counts(self) -> Counts:
        """1 for each wrong answer, by the rows' keys."""
        return Counts({row_key(key): wrong.astype(np.uint8) for key, wrong in self.wrong.items()})


@dataclass(frozen=True, kw_only=True)
class LatentsResult(Result[LatentsRow]):
    """Rows and table of a study of latents; see :class:`.Result` for the attributes."""

    row_type = LatentsRow
    counts_name = "wrong.npz"

    @staticmethod
    def score(rows: Sequence[LatentsRow], counts: Counts) -> list[LatentsRow]:
        return score_images(rows, counts)

    def summary(self, width: int = 80, paint: Paint = plain) -> str:
        errors = [
            Entry("error %", row.arm, latents_and_steps(row), row.error, row.error_ci95, row.pair)
            for row in self.rows
        ]
        distances = [
            Entry("FID", row.arm, latents_and_steps(row), row.fid, row.fid_ci95_seeds)
            for row in self.rows
            if row.fid is not None
        ]
        widths = {str(row.latent_dim): latents_and_steps(row) for row in self.rows}
        blocks = [errors, distances, published_entries(self.published, widths)]
        tables = summary(self.rows, "images", blocks, width, paint)
        return "\n".join([tables, *(f"\n{filled(note, width)}" for note in self.notes)])

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
    """One row an arm, number of latents and length of training.

    Each arm but the baseline is paired with it: same number of latents, steps, seeds and test
    images.
    """
    keys = product(config.arms, config.latent_dims, config.lengths)
    return score_images([_row(config, probed, Key(*key)) for key in keys], probed.counts)


def score_images(rows: Sequence[LatentsRow], counts: Counts) -> list[LatentsRow]:
    """The rows with scores from wrong answers ``[seeds, images]``; images take the place of
    episodes."""
    errors = {row.key: 100.0 * counts.wrong[row.key] for row in rows if row.key in counts.wrong}
    return scored(rows, errors, counts)


def _row(config: ProbeStudyConfig, probed: Probed, key: Key) -> LatentsRow:
    name = key.arm
    arm, distances = config.arms[name], probed.distances.get(key)
    return LatentsRow(
        arm=name,
        arm_group=name,
        encoder=arm.encoder,
        guidance=guidance_names(arm.guidance),
        latent_dim=key.latent_dim,
        steps=key.steps,
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
    facts = provenance(config, device, probed.cells)
    facts["versions"] |= {name: version(name) for name in ("scikit-learn", "torchmetrics")}
    facts["features"] = {name: rounded(value) for name, value in probed.features.items()}
    result = LatentsResult(
        study=config.study,
        rows=tuple(latents_rows(config, probed)),
        published=tuple(config.published),
        seconds=probed.cells.seconds.total,
        seconds_reused=probed.cells.seconds.reused,
        facts=facts,
        output=output,
    )
    probed.counts.save(output / result.counts_name)
    write_pages(output, REPORT_PAGE, {"table": result.table}, latents_figures(result))
    saved = result.save()
    write_latents_page(result, output)
    return saved


BARS = (
    "Bars: 95 %, of errors over seeds and test images, of FID over seeds (Student's t); those of "
    "FID are cut at 0."
)


def write_latents_page(result: LatentsResult, output: Path) -> None:
    """Write ``report.html``; the figure must be there."""
    against = "steps of training" if result.rows[0].steps else "the number of latents"
    (figure,) = latents_figures(result)
    write_plain(
        output / "report.html",
        f"{result.study}: latents",
        "What a linear classifier reads from the latents, and how good samples are.",
        {"Errors and sample quality": result.table},
        {f"Error and FID against {against}. {BARS}": f"{figure}.png"},
        result.to_json(),
        ("config.yaml", "results.json", result.counts_name, "table.md"),
    )


def latents_figures(result: LatentsResult) -> "dict[str, Figure]":
    """``latents``: against the number of latents; ``curve`` if there are lengths of training."""
    name = "curve" if result.rows[0].steps else "latents"
    return {name: latents_figure(result.study, result.rows, result.published)}


def latents_figure(
    study: str, rows: Sequence[LatentsRow], published: Sequence[Published] = ()
) -> "Figure":
    """Error and FID, a line an arm, bars of 95 %: against the number of latents, or of steps.

    Against steps there is a line for each arm and number of latents.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    lines: dict[str, list[LatentsRow]] = {}
    for row in rows:
        lines.setdefault(_line_name(row, rows), []).append(row)
    styles = arm_styles(row.arm for row in rows)
    dims = list(dict.fromkeys(row.latent_dim for row in rows))
    for i, (name, line) in enumerate(lines.items()):
        line.sort(key=_place)
        shift = 2 ** (0.05 * (i - (len(lines) - 1) / 2))  # so that bars do not cover each other
        style = styles[line[0].arm]
        if name != line[0].arm:  # an arm has several lines, one for each number of latents
            style = replace(style, line=DASHES[dims.index(line[0].latent_dim) % len(DASHES)])
        _line(left, line, "error", shift, style, name)
        if line[0].fid is not None:
            _line(right, line, "fid", shift, style, name)
    for i, p in enumerate(sourced(published)):
        _published_line(left, p, rows, f"{0.25 + 0.2 * i % 0.6:.2f}")
    left.set_ylabel("error of a linear classifier in %")
    errors = [row.error for row in rows]
    if max(errors) > WIDE * min(errors):
        # Logarithmic above 1 %: an untrained encoder's error is many times a trained one's.
        left.set_yscale("symlog", linthresh=1)
        ticks = [0, 1, 2, 5, 10, 20, 50, 100]
        left.set_yticks(ticks, [str(tick) for tick in ticks])
    right.set_ylabel("FID, features of a classifier trained here")
    places = list(dict.fromkeys(map(_place, rows)))
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_xticks(places, [f"{place:,}" for place in places])
        axes.set_xlabel("training steps" if rows[0].steps else "latents")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    left.legend(fontsize=7)
    figure.suptitle(f"{study}\n{BARS}", fontsize=8)
    return figure


def _place(row: LatentsRow) -> int:
    return row.steps or row.latent_dim


def _line_name(row: LatentsRow, rows: Sequence[LatentsRow]) -> str:
    several = row.steps and len({other.latent_dim for other in rows}) > 1
    return f"{row.arm}, {row.latent_dim} latents" if several else row.arm


def _published_line(
    axes: "Axes", published: Published, rows: Sequence[LatentsRow], grey: str
) -> None:
    """Errors that others report: against latents a line, against steps a height for each."""
    label = f"{published.name}, {published.source}"
    if rows[0].steps:
        for dim, error in published.errors.items():
            axes.axhline(error, linestyle=":", color=grey, label=f"{label}, {dim} latents")
        return
    places = sorted(map(int, published.errors))
    errors = [published.errors[str(place)] for place in places]
    axes.plot(places, errors, "x:", color=grey, label=label)


def _line(
    axes: "Axes", rows: Sequence[LatentsRow], measure: str, shift: float, style: Style, name: str
) -> None:
    places = [shift * _place(row) for row in rows]
    values = [getattr(row, measure) for row in rows]
    form: dict[str, Any] = {"color": style.colour, "marker": style.marker, "linestyle": style.line}
    axes.plot(places, values, markersize=4, linewidth=1, label=name, **form)
    for place, row in zip(places, rows, strict=True):
        interval = row.error_ci95 if measure == "error" else row.fid_ci95_seeds
        if interval:
            axes.plot([place, place], interval, color=style.colour, linewidth=2)
