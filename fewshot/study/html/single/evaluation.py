"""Sections of evaluations: errors, hardest episodes and confused classes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fewshot.episodes import Setting
from fewshot.study.colours import Style, arm_styles
from fewshot.study.html.episodes import Examples, shown_examples
from fewshot.study.html.plots import Forest, Value, errors_forest
from fewshot.study.html.single.run import FinishedRun, class_name
from fewshot.study.html.single.sections import Sections
from fewshot.study.html.tables import Cell, Line, Table
from fewshot.study.text import fixed, span
from guided.html.fragment import Table as Facts


@dataclass(frozen=True)
class Error:
    """The error of one learner in one setting.

    Attributes:
        label: of the learner, and of its run where there are several.
        setting: of the episodes.
        row: of the results.
    """

    label: str
    setting: Setting
    row: Mapping[str, Any]

    @property
    def panel(self) -> str:
        """Key of its column."""
        return self.setting.label

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % over episodes; None for one."""
        ends = self.row["error_ci95_episodes"]
        return (ends[0], ends[1]) if ends else None


def evaluation(runs: Sequence[FinishedRun]) -> Sections:
    """The sections of what ``fewshot evaluate`` measured."""
    several = len(runs) > 1
    errors = [error for run in runs for error in _errors(run, several)]
    titles = {error.panel: _title(error.setting) for error in errors}
    styles = arm_styles(error.label for error in errors)
    columns = [_facts(run) for run in runs]
    lines = [(name, *(column[name] for column in columns)) for name in columns[0]]
    return Sections(
        lead="Few-shot errors of learners with one encoder, on the same episodes.",
        subject=(
            "What was tested",
            Facts("Encoder, images and learners", ("", *(run.name for run in runs)), tuple(lines)),
        ),
        styles=styles,
        tables=[_table(errors, titles)],
        forests=[_forest(errors, titles, styles)],
        examples=[(run.name, found) for run in runs if (found := _examples(run, several))],
    )


def _label(run: FinishedRun, learner: str, several: bool) -> str:
    return f"{run.name}: {learner}" if several else learner


def _errors(run: FinishedRun, several: bool) -> Iterator[Error]:
    for row in run.results["rows"]:
        shape = {name: row.get(name) for name in ("n_way", "n_shot", "n_query", "within")}
        yield Error(_label(run, row["learner"], several), Setting(**shape), row)


def _title(setting: Setting) -> str:
    within = f" within {setting.within}" if setting.within else ""
    return f"{setting.n_way}-way {setting.n_shot}-shot{within}"


def _table(errors: Sequence[Error], titles: Mapping[str, str]) -> Table:
    """A line for each learner, a column for each setting."""
    found: dict[str, dict[str, Cell]] = {}
    for error in errors:
        interval = span(error.interval) if error.interval else ""
        found.setdefault(error.label, {})[error.panel] = Cell(fixed(error.row["error"]), interval)
    lines = tuple(
        Line(label, label, tuple(cells.get(key) for key in titles))
        for label, cells in found.items()
    )
    return Table("Error in %", tuple(titles.values()), lines, of="learner")


def _forest(
    errors: Sequence[Error], titles: Mapping[str, str], styles: Mapping[str, Style]
) -> Forest:
    values = [
        Value(error.panel, error.label, error.label, error.row["error"], error.interval)
        for error in errors
    ]
    ways = {error.panel: error.setting.n_way for error in errors}
    return errors_forest("Learners", values, titles, ways, styles)


def _facts(run: FinishedRun) -> dict[str, str]:
    config, row = run.config, run.results["rows"][0]
    latents = config.get("latents")
    steps = config.get("test_inference")
    return {
        "encoder": f"{config.get('encoder') or 'none: raw pixels'}"
        + (f", latents {latents}" if latents else ""),
        "at test time": f"latents move through the decoder: {class_name(steps)}"
        if steps
        else "the encoder's output as it is",
        "images": f"{class_name(run.settings['dataset'])}, {row['split']} classes",
        "episodes": f"{row['episodes']:,} of each shape, seed {config['seed']}",
        "learners": "; ".join(
            f"{name}: {class_name(learner)}"
            for name, learner in run.settings.get("learners", config["learners"]).items()
        ),
    }


def _examples(run: FinishedRun, several: bool) -> Examples | None:
    facts, file = run.results["examples"], run.folder / "examples.npz"
    if not file.exists():
        return None
    names = [entry["arm"] for entry in facts["arms"]]
    arms = [(_label(run, name, several), place) for place, name in enumerate(names)]
    return shown_examples(file, facts, arms, f"seed {run.config['seed']}", "learner")
