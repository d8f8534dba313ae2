"""The figure of recovered sources."""

from typing import TYPE_CHECKING

from fewshot.statistics import t_interval
from fewshot.study.nica.scores import LEARNED, LINEAR, MIXTURES, UNTRAINED, Recoveries

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def recovery_figure(study: str, found: Recoveries) -> "Figure":
    """MCC by samples, a line for each width; mutual information by width, one for each number of
    samples; bars of 95 % over seeds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    grey = {LINEAR: "0.3", MIXTURES: "0.6"}
    conditions = [(LEARNED, width) for width in found.widths]
    for i, (name, width) in enumerate([*conditions, *((name, None) for name in grey)]):
        for n in found.samples:
            place = n * 1.04 ** (i - len(conditions) / 2)  # so that bars do not cover each other
            interval = t_interval(found.seeds_of(name, width, n))
            if interval:
                left.plot([place, place], interval, color=grey.get(name, f"C{i}"), linewidth=2)
        means = [found.seeds_of(name, width, n).mean() for n in found.samples]
        label = name if width is None else f"width {width}"
        style = "x:" if width is None else "o-"
        left.plot(found.samples, means, style, color=grey.get(name, f"C{i}"), label=label)
    for i, n in enumerate(found.samples):
        values = [found.seeds_of(LEARNED, width, n, "information") for width in found.widths]
        means = [value.mean() for value in values]
        right.plot(found.widths, means, "o-", color=f"C{i}", label=f"{n:,} samples a segment")
        for width, value in zip(found.widths, values, strict=True):
            place, interval = width * 1.04 ** (i - len(found.samples) / 2), t_interval(value)
            if interval:
                right.plot([place, place], interval, color=f"C{i}", linewidth=2)
    untrained = [
        found.seeds_of(UNTRAINED, width, found.samples[-1], "information").mean()
        for width in found.widths
    ]
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
    figure.suptitle(study, fontsize=10)
    return figure
