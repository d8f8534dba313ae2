"""The result of a finished study: rows and how they were made, in memory and as a file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

from fewshot.config import describe
from fewshot.environment import UNKNOWN, hardware, versions
from fewshot.predictions import data_frame
from fewshot.printing import Paint, filled, plain
from fewshot.study.choices import Choice, choices_table
from fewshot.study.counts import Counts
from fewshot.study.disentanglement.rows import ScoreRow, report_tables
from fewshot.study.encoder_facts import EncoderFacts
from fewshot.study.measurement import Measurement
from fewshot.study.pivot import learner_entries, published_entries, summary
from fewshot.study.published import Published
from fewshot.study.recorded import plain_name
from fewshot.study.rows import ResultRow, Row
from fewshot.study.scores import score_episodes
from fewshot.study.tables import study_table, verdicts
from fewshot.study.text import setting_names
from guided.errors import InputError, blaming
from guided.html.fragment import fragment
from guided.html.frame import Frame
from guided.storage.checksums import DamageError
from guided.storage.files import read_json, write_json

if TYPE_CHECKING:
    from pandas import DataFrame

    from fewshot.study.cells import Cells


R = TypeVar("R", bound=Row)


@dataclass(frozen=True, kw_only=True)
class Result(Generic[R]):
    """Rows of a finished study.

    Attributes:
        study: its name.
        rows: one a condition.
        diagnostics: measurements of the encoders' latents.
        encoders: facts of the trainings of those that were pretrained here.
        choices: settings of learners that were chosen on the validation classes.
        disentanglement: scores of the encoders' latents against ground-truth factors.
        published: errors that others report.
        seconds: of computing, each cell counted once, earlier runs included.
        seconds_reused: the part of them that earlier runs spent.
        facts: further JSON-able facts by name: versions, hardware, the configuration …
        output: the run folder; None for results without one.
    """

    row_type: ClassVar[type[Row]]
    file_name: ClassVar[str] = "results.json"
    counts_name: ClassVar[str] = "episodes.npz"
    page_name: ClassVar[str] = "report.html"

    study: str
    rows: tuple[R, ...]
    diagnostics: tuple[Measurement, ...] = ()
    encoders: tuple[EncoderFacts, ...] = ()
    choices: tuple[Choice, ...] = ()
    disentanglement: tuple[ScoreRow, ...] = ()
    published: tuple[Published, ...] = ()
    seconds: float = 0.0
    seconds_reused: float = 0.0
    facts: Mapping[str, Any] = field(default_factory=dict)
    output: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values by name; ``facts`` stand beside the other names."""
        return {
            "study": self.study,
            "rows": [row.to_json() for row in self.rows],
            "diagnostics": [entry.to_json() for entry in self.diagnostics],
            **({"encoders": [e.to_json() for e in self.encoders]} if self.encoders else {}),
            **({"choices": [c.to_json() for c in self.choices]} if self.choices else {}),
            **self._scores(),
            "published": [figures.to_json() for figures in self.published],
            "seconds": self.seconds,
            "seconds_reused": self.seconds_reused,
            **self.facts,
        }

    def _scores(self) -> dict[str, Any]:
        rows = [row.to_json() for row in self.disentanglement]
        return {"disentanglement": rows} if rows else {}

    @classmethod
    def from_json(cls, content: Mapping[str, Any], output: Path | None = None) -> Self:
        """The result that :meth:`to_json` described."""
        values = dict(content)
        return cls(
            study=values.pop("study"),
            rows=tuple(cls.row_type.from_json(row) for row in values.pop("rows")),  # type: ignore[misc]
            diagnostics=tuple(map(Measurement.from_json, values.pop("diagnostics", ()))),
            encoders=tuple(map(EncoderFacts.from_json, values.pop("encoders", ()))),
            choices=tuple(map(Choice.from_json, values.pop("choices", ()))),
            disentanglement=tuple(map(ScoreRow.from_json, values.pop("disentanglement", ()))),
            published=tuple(map(Published.from_json, values.pop("published", ()))),
            seconds=values.pop("seconds"),
            seconds_reused=values.pop("seconds_reused", 0.0),
            facts=values,
            output=output,
        )

    @classmethod
    def load(cls, source: Path | str) -> Self:
        """Read the result of a finished run.

        Args:
            source: the run folder, or the file.

        Raises:
            InputError: there is no finished run, or one of another kind.
        """
        file = Path(source)
        file = file / cls.file_name if file.is_dir() else file
        try:
            return cls.from_json(read_result(file), file.parent)
        except (KeyError, TypeError) as error:
            raise InputError(f"{file}: not the result of such a run ({error!r})") from error

    @classmethod
    def load_counts(cls, source: Path | str) -> Counts:
        """Read the counts of wrong answers beside a result.

        Args:
            source: the run folder, or the result's file: the file of the same name ending in
                ``.npz``, else that of a run folder.

        Raises:
            InputError: they are missing.
        """
        path = Path(source)
        if path.is_dir():
            path /= cls.file_name
        own, beside = path.with_suffix(".npz"), path.with_name(cls.counts_name)
        in_run = path.name == cls.file_name or beside.exists()
        return Counts.load(own if own.exists() or not in_run else beside)

    def rescored(self, counts: Counts) -> Self:
        """The same result with rows scored again from their counts of wrong answers."""
        return replace(self, rows=tuple(self.score(self.rows, counts)))

    @staticmethod
    def score(rows: Sequence[R], counts: Counts) -> list[R]:
        """The rows with scores from their counts of wrong answers.

        Raises:
            InputError: a row has none.
        """
        raise NotImplementedError

    def summary(self, width: int = 80, paint: Paint = plain) -> str:
        """The result as a terminal shows it.

        Args:
            width: of the terminal, in characters.
            paint: gives texts a style.
        """
        raise NotImplementedError

    def __str__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        return fragment(self.study, code=self.summary(100))

    @property
    def report(self) -> Frame:
        """The page on which everything is; a notebook shows it in place.

        Raises:
            InputError: the result has no run folder, or there is no page in it.
        """
        if self.output is None:
            raise InputError(f"report: the study {self.study} has no run folder")
        return Frame(self.output / self.page_name)

    def save(self) -> Self:
        """Write :meth:`to_json` into the run folder; returns itself."""
        assert self.output is not None
        write_json(self.output / self.file_name, self.to_json())
        return self

    def to_frame(self) -> "DataFrame":
        """The rows as a pandas DataFrame, a column for each attribute.

        Raises:
            InputError: pandas is not installed.
        """
        return data_frame([row.to_json() for row in self.rows])


@dataclass(frozen=True, kw_only=True)
class StudyResult(Result[ResultRow]):
    """Rows, verdicts and table of a comparison; see :class:`Result` for the attributes."""

    row_type = ResultRow
    score = staticmethod(score_episodes)

    @property
    def table(self) -> str:
        """Errors, paired differences, published errors, choices and scores, as Markdown."""
        tables = study_table(self.rows, self.published) + choices_table(self.choices)
        return tables + report_tables(self.disentanglement)

    @property
    def noticed(self) -> list[str]:
        """Reasons to doubt the errors that do not show in them: of the images, and the folder."""
        return list(self.facts.get("noticed", ()))

    @property
    def warnings(self) -> list[str]:
        """Signs that something is plainly wrong, one sentence each."""
        return list(self.facts.get("warnings", ()))

    @property
    def verdicts(self) -> list[str]:
        """One sentence for each partner of a guided arm, and of a learner that has some."""
        return verdicts(self.rows)

    def _repr_html_(self) -> str:
        from fewshot.study.html.notebook import result_html

        return result_html(self)

    def summary(self, width: int = 80, paint: Paint = plain) -> str:
        reported = published_entries(self.published, setting_names(self.rows))
        blocks = [learner_entries(self.rows), reported]
        tables = summary(self.rows, "episodes", blocks, width, paint)
        more = [name for name in ("choices", "disentanglement") if getattr(self, name)]
        return "\n".join(
            [
                tables,
                *(f"\n{filled(line, width)}" for line in self.verdicts),
                *([""] if self.warnings else []),
                *(filled(f"warning: {line}", width) for line in self.warnings),
                *([f"\nIn table.md, too: {' and '.join(more)}."] if more else []),
            ]
        )


def read_result(file: Path) -> dict[str, Any]:
    """The content of a result's file.

    Raises:
        InputError: it is missing, or not the result of a study.
    """
    try:
        content: dict[str, Any] = read_json(file)
        content["study"], content["rows"][0]["arm"]
    except DamageError:
        raise
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(f"{file}: not the result of a finished run ({error})") from error
    with blaming(str(file)):
        plain_name(content["study"], "study")
    return content


RESULTS = ("results.json", "lake.json")
"""Names of the files of results in a run folder."""


def results_in(run: Path) -> Path:
    """The file of results in a run folder; a file stands for itself."""
    if not run.is_dir():
        return run
    return next((run / file for file in RESULTS if (run / file).exists()), run / RESULTS[0])


def made_by_command(command: str, config: Any, device: str, seconds: float) -> dict[str, Any]:
    """All that a short page says of how a run was made, JSON-able.

    Args:
        command: its name.
        config: of the command.
        device: where it was computed.
        seconds: that it took.
    """
    return {
        "command": command,
        "settings": describe(config),
        "seconds": round(seconds, 2),
        **provenance(config, device),
    }


def provenance(config: Any, device: str, cells: "Cells | None" = None) -> dict[str, Any]:
    """Versions, hardware and configuration of a run, JSON-able.

    Args:
        config: of the command.
        device: where it was computed.
        cells: of a study; the revisions that computed them may be earlier than that of this run.
    """
    return {
        "versions": versions(),
        **({"revisions": cells.revisions} if cells else {}),
        "hardware": hardware(device),
        "config": describe(config, full=True),
    }


def revisions_of(facts: Mapping[str, Any]) -> list[str]:
    """Revisions of the code that computed a study's cells.

    Of results that were written before cells recorded it: of the code that wrote the results.

    Args:
        facts: of the results.
    """
    found: list[str] | None = facts.get("revisions")
    return found or [(facts.get("versions") or {}).get("git") or UNKNOWN]
