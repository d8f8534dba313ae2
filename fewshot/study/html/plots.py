"""Figures of the page as plain values, which ``plots.html`` draws as SVG: its text is text."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from fewshot.statistics import Errors
from fewshot.study.colours import Style
from fewshot.study.html.scales import Scale, scale_of
from fewshot.study.outcome import LearningCurve
from fewshot.study.rows import Interval, ResultRow, RowKey
from fewshot.study.text import arm_label, fixed, partner_label, setting_names, span

WIDTH, EDGE, STEP, TOP = 400, 12, 32, 24


@dataclass(frozen=True)
class Point:
    """A value with its interval, and each seed's value; places along the axis.

    Attributes:
        label: what it is of.
        title: the same with its numbers, shown where a pointer rests.
        y: place of its line.
        x: place of the value.
        bar: places of the interval's ends; None: no interval.
        seeds: places.
        style: of its arm.
        strong: True if it is significant after the correction.
    """

    label: str
    title: str
    y: float
    x: float
    bar: tuple[float, float] | None
    seeds: tuple[float, ...]
    style: Style
    strong: bool = False


@dataclass(frozen=True)
class Panel:
    """Points of one setting.

    Attributes:
        title: the setting.
        height: of the drawing.
        points: from top to bottom.
        line: place of a line over the whole height: chance, or no difference.
        line_label: its name; an arrow in it says that it lies outside.
        ticks: of the shared axis.
    """

    title: str
    height: float
    points: tuple[Point, ...]
    line: float
    line_label: str
    ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Value:
    """One entry of a panel.

    Attributes:
        panel: key of its setting.
        style: name of its style.
        label: what it is of.
        value, interval: in the unit of the axis.
        seeds: each seed's value; empty where there is one.
        strong: True if it is significant after the correction.
    """

    panel: str
    style: str
    label: str
    value: float
    interval: Interval | None
    seeds: tuple[float, ...] = ()
    strong: bool = False


@dataclass(frozen=True)
class Forest:
    """Panels that share their axis.

    Attributes:
        caption: of the figure.
        axis: label of the axis.
        panels: one a setting.
        text: the figure in words.
    """

    caption: str
    axis: str
    panels: tuple[Panel, ...]
    text: str


def errors_plot(
    learner: str,
    rows: Sequence[ResultRow],
    errors: Mapping[RowKey, Errors],
    styles: Mapping[str, Style],
) -> Forest:
    """Errors of one learner, with a dot for each seed and the line of chance."""
    values = [
        Value(
            *(row.label, row.arm, arm_label(row), row.error, row.error_ci95),
            _seeds(errors.get(row.key)),
        )
        for row in rows
    ]
    ways = {row.label: row.n_way for row in rows}
    return errors_forest(learner, values, setting_names(rows), ways, styles)


def errors_forest(
    name: str,
    values: Sequence[Value],
    panels: Mapping[str, str],
    ways: Mapping[str, int],
    styles: Mapping[str, Style],
) -> Forest:
    """Errors in percent, with the line of chance.

    Args:
        name: of what they are of.
        values: the errors.
        panels: key -> title.
        ways: key of a panel -> classes of an episode.
        styles: of all values.
    """
    highest = max(x for value in values for x in _extent(value))
    chance = {key: 100 * (1 - 1 / n_way) for key, n_way in ways.items()}
    shown = [line for line in chance.values() if line < 2 * highest]
    scale = _scale(values, shown, log=True)

    def line(key: str) -> tuple[float, str]:
        inside = scale.low <= chance[key] <= scale.high
        label = "chance" if inside else f"chance {chance[key]:g} →"
        return (scale(chance[key]) if inside else -1), label

    return Forest(
        f"{name}: error in %{', logarithmic' if scale.log else ''}",
        "← better · error in %",
        _panels(values, panels, scale, styles, line, ""),
        f"Errors of {name}: from {fixed(min(v.value for v in values), 1)} to "
        f"{fixed(max(v.value for v in values), 1)} %. The numbers are in the table above.",
    )


def differences_plot(
    learner: str,
    rows: Sequence[ResultRow],
    errors: Mapping[RowKey, Errors],
    styles: Mapping[str, Style],
) -> Forest | None:
    """Paired differences of one learner; left of the line the arm is better. None: no pairs."""
    values = []
    for row in rows:
        for pair in row.pairs:
            if pair.difference is None:
                continue
            mine, other = errors.get(row.key), errors.get(row.key_of(pair))
            seeds = None if mine is None or other is None else mine - other
            label = f"{arm_label(row)} − {partner_label(row, pair)}"
            drawn = _seeds(seeds), pair.stands
            values.append(Value(row.label, row.arm, label, pair.difference, pair.ci95, *drawn))
    if not values:
        return None
    scale = _scale(values, [0.0], log=False)
    return Forest(
        f"{learner}: paired differences in points",
        "← better · difference in points",
        _panels(values, setting_names(rows), scale, styles, lambda _: (scale(0), ""), "+"),
        f"Paired differences of {learner}: from {fixed(min(v.value for v in values), 1, '+')} to "
        f"{fixed(max(v.value for v in values), 1, '+')} points. The numbers are in the table "
        "above.",
    )


def _seeds(errors: Errors | None) -> tuple[float, ...]:
    """The mean of each seed, where there are several."""
    if errors is None or len(errors) < 2:
        return ()
    return tuple(errors.mean(1).tolist())


def _extent(value: Value) -> Iterable[float]:
    return (value.value, *(value.interval or ()), *value.seeds)


def _scale(values: Sequence[Value], more: Sequence[float], *, log: bool) -> Scale:
    if log:  # the lower end of an interval may be below 0
        sizes = [value.value for value in values]
        if scale_of(sizes, 0, 1, log=True).log:
            low = min(sizes) / 2
            extent = [max(x, low) for value in values for x in _extent(value)]
            return scale_of([*extent, *more], EDGE, WIDTH - EDGE, log=True)
    extent = [x for value in values for x in _extent(value)]
    return scale_of([*extent, *more], EDGE, WIDTH - EDGE)


def _panels(
    values: Sequence[Value],
    titles: Mapping[str, str],
    scale: Scale,
    styles: Mapping[str, Style],
    line: Callable[[str], tuple[float, str]],
    sign: str,
) -> tuple[Panel, ...]:
    panels = []
    for key, title in titles.items():
        points: list[Point] = []
        for value in (value for value in values if value.panel == key):
            interval = f", 95 % {span(value.interval, sign=sign)}" if value.interval else ""
            points.append(
                Point(
                    value.label,
                    f"{value.label}: {fixed(value.value, sign=sign)}{interval}",
                    TOP + STEP * len(points) + 23,
                    scale(value.value),
                    (scale(value.interval[0]), scale(value.interval[1]))
                    if value.interval
                    else None,
                    tuple(map(scale, value.seeds)),
                    styles[value.style],
                    value.strong,
                )
            )
        height = TOP + STEP * len(points) + 10
        panels.append(Panel(title, height, tuple(points), *line(key), tuple(scale.ticks)))
    return tuple(panels)


@dataclass(frozen=True)
class Line:
    """A training.

    Attributes:
        title: arm and seed.
        points: places, as SVG writes them.
        kept: place of the step that was kept.
        style: of its arm.
    """

    title: str
    points: str
    kept: tuple[float, float]
    style: Style


@dataclass(frozen=True)
class Curves:
    """Validations against steps.

    Attributes:
        caption: what is measured.
        lines: one a training.
        x, y: the axes' ticks.
        text: the figure in words.
    """

    caption: str
    lines: tuple[Line, ...]
    x: tuple[tuple[float, str], ...]
    y: tuple[tuple[float, str], ...]
    text: str


CURVES_HEIGHT = 240


def curves_plot(
    caption: str, key: str, curves: Sequence[LearningCurve], styles: Mapping[str, Style]
) -> Curves | None:
    """Trainings of all arms and seeds; None if nothing of the kind was measured.

    Args:
        caption: what is measured.
        key: of the histories.
        curves: the trainings.
        styles: of all arms.
    """
    curves = [curve for curve in curves if all(key in entry for entry in curve.history)]
    if not curves:
        return None
    values = [entry[key] for curve in curves for entry in curve.history]
    steps = [entry["step"] for curve in curves for entry in curve.history]
    x = scale_of([0, *steps], 44, WIDTH - EDGE, margin=0.02)
    y = scale_of(values, CURVES_HEIGHT - 36, 10, log=True)
    lines = []
    for curve in curves:
        places = [(x(entry["step"]), y(entry[key])) for entry in curve.history]
        drawn = " ".join(f"{a:g},{b:g}" for a, b in places)
        name = curve.arm if curve.latents == "all" else f"{curve.arm} ({curve.latents})"
        title = f"{name}, seed {curve.seed}: kept step {curve.history[curve.kept]['step']}"
        lines.append(Line(title, drawn, places[curve.kept], styles[curve.arm]))
    caption += ", logarithmic" if y.log else ""
    text = (
        f"{caption} of {len(curves)} trainings, from {fixed(min(values), 1)} to "
        f"{fixed(max(values), 1)}, over {max(steps)} steps."
    )
    return Curves(caption, tuple(lines), tuple(x.ticks), tuple(y.ticks), text)
