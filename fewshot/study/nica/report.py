"""The report of a study of nonlinear ICA: scores, tables and a figure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from fewshot.logs import REPORT_PAGE
from fewshot.printing import Paint, plain
from fewshot.study.cells import Cells
from fewshot.study.html.plain import write_plain
from fewshot.study.nica.config import NicaStudyConfig
from fewshot.study.nica.figure import BARS, recovery_figure
from fewshot.study.nica.scores import Recoveries, Recovery
from fewshot.study.nica.tables import differences_table, order_table, recovery_table
from fewshot.study.nica.terminal import terminal_tables
from fewshot.study.recorded import plain_name
from fewshot.study.report import write_pages
from fewshot.study.result import provenance
from guided.errors import InputError, blaming
from guided.storage.files import read_json, write_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class NicaResult:
    """The scores of a study of nonlinear ICA, and its tables.

    Attributes:
        study: its name.
        scores: one a method, number of samples, width and seed.
        seconds: of computing, each cell counted once, earlier runs included.
        facts: further JSON-able facts by name: versions, hardware, the configuration …
    """

    study: str
    scores: tuple[Recovery, ...]
    seconds: float = 0.0
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values by name; ``facts`` stand beside the other names."""
        scores = [score.to_json() for score in self.scores]
        return {"study": self.study, "scores": scores, "seconds": self.seconds, **self.facts}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """The result that :meth:`to_json` described.

        Raises:
            KeyError, TypeError: something is missing or unknown.
        """
        values = dict(content)
        scores = tuple(Recovery(**score) for score in values.pop("scores"))
        return cls(values.pop("study"), scores, values.pop("seconds"), values)

    @classmethod
    def load(cls, source: Path) -> Self:
        """Read the result of a finished run.

        Args:
            source: the run folder, or the file.

        Raises:
            InputError: there is no finished run, or one of another kind.
        """
        file = source / "results.json" if source.is_dir() else source
        try:
            content = read_json(file)
            with blaming(str(file)):
                plain_name(content["study"], "study")
            return cls.from_json(content)
        except InputError:
            raise
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{file}: not the result of a finished run ({error!r})") from error

    @property
    def recoveries(self) -> Recoveries:
        """The scores, to be looked up."""
        return Recoveries(self.scores)

    @property
    def table(self) -> str:
        """The scores as Markdown tables, means over seeds with their intervals."""
        return "\n".join(f"{title}\n\n{table}" for title, table in self.tables.items())

    @property
    def tables(self) -> dict[str, str]:
        """The same by title."""
        found = self.recoveries
        parts = {
            "MCC with the sources (rank correlation, held out)": recovery_table(found, "mcc"),
            "Mutual information with the sources, nats": recovery_table(found, "information"),
        }
        if self._order_one:
            parts["MCC with the sources and with their squares"] = order_table(found)
        if len(found.widths) > 1 or len(found.samples) > 1:
            parts["Differences of MCC, paired by seed"] = differences_table(found)
            parts["Differences of mutual information, paired by seed, nats"] = differences_table(
                found, "information"
            )
        return parts

    @property
    def _order_one(self) -> bool:
        """True if segments change the sources' scale alone."""
        return not self.facts["config"]["sources"]["mean"]

    def summary(self, width: int = 80, paint: Paint = plain) -> str:
        """The tables as a terminal shows them.

        Args:
            width: of the terminal, in characters.
            paint: gives texts a style.
        """
        return terminal_tables(self.recoveries, squares=self._order_one, width=width, paint=paint)

    def __str__(self) -> str:
        return self.summary()

    @property
    def figure(self) -> "Figure":
        """MCC by samples, and mutual information by width."""
        return recovery_figure(self.study, self.recoveries)


def write_report(
    config: NicaStudyConfig,
    scores: Sequence[Recovery],
    cells: Cells,
    output: Path,
    device: str,
) -> NicaResult:
    """Write ``results.json`` and all that :func:`write_nica` makes of it."""
    facts = provenance(config, device, cells)
    facts["versions"] |= {"scikit-learn": version("scikit-learn")}
    result = NicaResult(config.study, tuple(scores), cells.seconds.total, facts)
    write_nica(result, output)
    return result


def write_nica(result: NicaResult, output: Path) -> None:
    """Write ``results.json``, ``table.md``, the figure, ``report.html`` and TensorBoard's page."""
    write_pages(output, REPORT_PAGE, {"table": result.table}, {"recovery": result.figure})
    write_json(output / "results.json", result.to_json())
    write_nica_page(result, output)


def write_nica_page(result: NicaResult, output: Path) -> None:
    """Write ``report.html``; the figure must be there."""
    write_plain(
        output / "report.html",
        result.study,
        "Sources recovered by nonlinear ICA from finite samples. ± is half of Student's 95 % "
        "interval over seeds.",
        result.tables,
        {f"Recovery. {BARS}": "recovery.png"},
        {**result.facts, "seconds": result.seconds},
        ("config.yaml", "results.json", "table.md"),
    )
