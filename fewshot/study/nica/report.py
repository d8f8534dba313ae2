"""The report of a study of nonlinear ICA: scores, tables and a figure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from fewshot.logs import REPORT_PAGE
from fewshot.study.cells import Seconds
from fewshot.study.nica.config import NicaStudyConfig
from fewshot.study.nica.figure import recovery_figure
from fewshot.study.nica.scores import Recoveries, Recovery
from fewshot.study.nica.tables import differences_table, order_table, recovery_table
from fewshot.study.report import write_pages
from fewshot.study.result import provenance
from guided.files import write_json

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
        """The result that :meth:`to_json` described."""
        values = dict(content)
        scores = tuple(Recovery(**score) for score in values.pop("scores"))
        return cls(values.pop("study"), scores, values.pop("seconds"), values)

    @property
    def recoveries(self) -> Recoveries:
        """The scores, to be looked up."""
        return Recoveries(self.scores)

    @property
    def table(self) -> str:
        """The scores as Markdown tables, means over seeds with their intervals."""
        found = self.recoveries
        parts = {
            "MCC with the sources (rank correlation, held out)": recovery_table(found, "mcc"),
            "Mutual information with the sources, nats": recovery_table(found, "information"),
        }
        if not self.facts["config"]["sources"]["mean"]:
            parts["MCC with the sources and with their squares"] = order_table(found)
        if len(found.widths) > 1 or len(found.samples) > 1:
            parts["Differences of MCC, paired by seed"] = differences_table(found)
            parts["Differences of mutual information, paired by seed, nats"] = differences_table(
                found, "information"
            )
        return "\n".join(f"{title}\n\n{table}" for title, table in parts.items())

    @property
    def figure(self) -> "Figure":
        """MCC by samples, and mutual information by width."""
        return recovery_figure(self.study, self.recoveries)


def write_report(
    config: NicaStudyConfig,
    scores: Sequence[Recovery],
    seconds: Seconds,
    output: Path,
    device: str,
) -> NicaResult:
    """Write ``results.json``, ``table.md``, the figure and TensorBoard's page."""
    facts = provenance(config, device)
    facts["versions"] |= {"scikit-learn": version("scikit-learn")}
    result = NicaResult(config.study, tuple(scores), seconds.total, facts)
    write_pages(output, REPORT_PAGE, {"table": result.table}, {"recovery": result.figure})
    write_json(output / "results.json", result.to_json())
    return result
