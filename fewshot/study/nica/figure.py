"""The figure of recovered sources."""

from typing import TYPE_CHECKING

import numpy as np

from fewshot.statistics import t_interval
from fewshot.study.colours import Style, arm_styles
from fewshot.study.nica.scores import LEARNED, LINEAR, MIXTURES, UNTRAINED, Floats, Recoveries

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BARS = "Bars: 95 % over seeds (Student's t); those of MCC are cut at 0 and 1, which it cannot pass."
REFERENCES = {LINEAR: Style("0.3", "x", ":"), MIXTURES: Style("0.6", "x", ":")}


def recovery_figure(study: str, found: Recoveries) -> "Figure":
    """MCC by samples, a line for each width; mutual information by width, one for each number of
    samples; bars of 95 % over seeds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    names = [f"width {width}" for width in found.widths]
    more = [f"{n:,} samples a segment" for n in found.samples]
    styles = arm_styles([*names, *more])
    lines: dict[str, tuple[str, int | None]] = {}
    lines |= {name: (LEARNED, width) for name, width in zip(names, found.widths, strict=True)}
    lines |= {name: (name, None) for name in REFERENCES}
    for i, (name, condition) in enumerate(lines.items()):
        values = [found.seeds_of(*condition, n) for n in found.samples]
        apart = 1.04 ** (i - len(names) / 2)  # so that bars do not cover each other
        _line(left, found.samples, values, apart, name, (REFERENCES | styles)[name], (0, 1))
    for i, (name, n) in enumerate(zip(more, found.samples, strict=True)):
        values = [found.seeds_of(LEARNED, width, n, "information") for width in found.widths]
        _line(right, found.widths, values, 1.04 ** (i - len(more) / 2), name, styles[name])
    most = found.samples[-1]
    untrained = [found.seeds_of(UNTRAINED, w, most, "information").mean() for w in found.widths]
    right.plot(found.widths, untrained, "x:", color="0.6", label=UNTRAINED)
    left.set_xlabel("training samples a segment")
    left.set_ylabel("MCC with the sources, held out")
    right.set_xlabel("width of the network")
    right.set_ylabel("mutual information with the sources, nats")
    for axes, ticks in ((left, found.samples), (right, found.widths)):
        axes.set_xscale("log")
        axes.minorticks_off()
        axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=7, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.18))
    figure.suptitle(f"{study}\n{BARS}", fontsize=8)
    return figure


def _line(
    axes: "Axes",
    x: list[int],
    values: list[Floats],
    apart: float,
    label: str,
    style: Style,
    limits: tuple[float, float] | None = None,
) -> None:
    """Means over seeds, and their intervals, cut at the limits of what is measured."""
    for place, value in zip(x, values, strict=True):
        interval = t_interval(value)
        if interval:
            shown = np.clip(interval, *limits) if limits else interval
            axes.plot([place * apart] * 2, shown, color=style.colour, linewidth=2)
    axes.plot(
        x,
        [value.mean() for value in values],
        color=style.colour,
        marker=style.marker,
        linestyle=style.line,
        markersize=5,
        label=label,
    )
