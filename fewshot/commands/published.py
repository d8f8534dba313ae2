"""Files of results, the commands that made them, and their configurations."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import fewshot
from fewshot.commands import compare, lake, nica, probe
from fewshot.commands.report import kind_of
from fewshot.config import load
from fewshot.config.files import KeyFault
from fewshot.runs import PLACES
from fewshot.study.agreement import Values, values_of
from fewshot.study.costs import Cost
from fewshot.study.counts import Counts
from fewshot.study.lake.report import LakeResult
from fewshot.study.latents.report import LatentsResult
from fewshot.study.nica.report import NicaResult
from fewshot.study.recorded import recorded
from fewshot.study.result import RESULTS, Result, StudyResult, results_in
from fewshot.study.row_tests import StudyOfRows
from fewshot.study.rows import RowKey
from guided.errors import InputError, blaming
from guided.storage.checksums import DamageError
from guided.storage.files import read_json


@dataclass(frozen=True)
class Kind:
    """A command that runs studies.

    Attributes:
        config: its configuration.
        run: runs a study; returns the file of results.
        study_of: prepares one.
        result: what it makes.
    """

    config: type[Any]
    run: Callable[[Any], Path]
    study_of: Callable[[Any], StudyOfRows]
    result: type[Result[Any]] | type[NicaResult]


KINDS = {
    "compare": Kind(compare.CompareConfig, compare.run, compare.study_of, StudyResult),
    "probe": Kind(probe.ProbeConfig, probe.run, probe.study_of, LatentsResult),
    "lake": Kind(lake.LakeConfig, lake.run, lake.study_of, LakeResult),
    "nica": Kind(nica.NicaConfig, nica.run, nica.study_of, NicaResult),
}
"""The commands whose studies are reproduced."""

PROGRAMS = {
    "coverage": "python benchmarks/coverage.py",
    "classifiers": "python benchmarks/sparse_mnist.py",
    "in_time": "python -m tests.faults",
    "inputs_per_second": "python tests/fuzz",
    "judgements": "fewshot select",
    "history": "fewshot pretrain",
}
"""What only the results of another program hold -> the program."""


class OtherVersion(InputError):
    """The configuration of a file is not read by this version.

    Args:
        file: of results.
        fault: the key, and what is wrong with it.
        revision: of the version that wrote it; None if it is not known.
    """

    def __init__(self, file: Path, fault: str, revision: str | None) -> None:
        made = f"; revision {revision} made it" if revision else ""
        super().__init__(f"{file}: configuration of another version ({fault}){made}")
        self.fault, self.revision = fault, revision


@dataclass(frozen=True)
class Source:
    """The results of a finished study, of which it is run again.

    Attributes:
        name: of the file, or of the run folder.
        file: it was read from.
        content: of the file.
    """

    name: str
    file: Path
    content: Mapping[str, Any]

    @classmethod
    def load(cls, file: Path) -> "Source":
        """Read a file of results.

        Raises:
            InputError: it is missing, damaged or no JSON object.
        """
        try:
            content = read_json(file)
        except DamageError:
            raise
        except (OSError, ValueError) as error:
            raise InputError(f"{file}: not the result of a finished run ({error})") from error
        if not isinstance(content, dict):
            raise InputError(f"{file}: not the result of a finished run")
        in_run = file.name in RESULTS
        return cls(file.resolve().parent.name if in_run else file.stem, file, content)

    @cached_property
    def command(self) -> str:
        """The command that made it: one of :data:`KINDS`, or a whole command line.

        Raises:
            InputError: none is known that makes such a file.
        """
        content = self.content
        with recorded(self.file):
            if content.get("rows") and "study" in content:
                kind = kind_of(content)
                return next(name for name, known in KINDS.items() if known.result is kind)
            if "scores" in content and "study" in content:
                return "nica"
            if "command" in content:
                return f"fewshot {content['command']}"
        program = next((made for key, made in PROGRAMS.items() if key in content), None)
        if program is None:
            raise InputError(f"{self.file}: not the result of a finished run")
        return program

    @property
    def kind(self) -> Kind:
        """The command that runs the study again.

        Raises:
            InputError: it is no study; names the program that made it.
        """
        if self.command in KINDS:
            return KINDS[self.command]
        folders = self._config.get("runs")
        if self.command == "fewshot select" and isinstance(folders, list):
            raise InputError(
                f"{self.file}: ranks the encoders of run folders; run `fewshot select "
                f"{' '.join(map(str, folders))}` where these are"
            )
        raise InputError(f"{self.file}: no study; made by `{self.command}`")

    @property
    def _config(self) -> dict[str, Any]:
        config = self.content.get("config")
        return config if isinstance(config, dict) else {}

    @cached_property
    def config(self) -> Any:
        """The configuration that was run, without the places where.

        Raises:
            InputError: there is none, or one that this version does not read; names the key.
        """
        kind = self.kind
        if not self._config:
            raise InputError(f"{self.file}: holds no configuration to run again")
        try:
            return load(kind.config, {k: v for k, v in self._config.items() if k not in PLACES})
        except KeyFault as fault:
            what = str(fault).partition(";")[0]
            raise OtherVersion(self.file, what, self.revision) from fault

    def _fact(self, group: str, name: str) -> Any:
        held = self.content.get(group)
        return held.get(name) if isinstance(held, Mapping) else None

    @property
    def revision(self) -> str | None:
        """Of the code that made it; None if not recorded."""
        git = self._fact("versions", "git")
        return git if isinstance(git, str) else None

    @property
    def device(self) -> str:
        """The device that it was computed on."""
        return str(self._fact("hardware", "device") or "cpu")

    @property
    def seconds(self) -> float | None:
        """Of all cells, one after the other; None if not recorded."""
        seconds = self.content.get("seconds")
        return seconds if isinstance(seconds, int | float) else None

    @property
    def minutes(self) -> float | None:
        """The same of one core, or of a GPU."""
        # In earlier versions a cell was computed on all of torch's threads.
        threads = 1 if "threads" in self._config else self._fact("hardware", "threads")
        cores = threads if isinstance(threads, int) and self.device == "cpu" else 1
        return None if self.seconds is None else self.seconds * cores / 60

    @cached_property
    def costs(self) -> tuple[Cost, ...]:
        """Of its encoders, as far as they were recorded."""
        with recorded(self.file):
            return tuple(map(Cost.from_json, self.content.get("costs", ())))

    @property
    def size(self) -> str:
        """Arms, or conditions, and seeds."""
        config = self._config
        arms, seeds = (len(config.get(name) or ()) for name in ("arms", "seeds"))
        if self.command == "nica":
            arms = len(config.get("samples") or ()) * len(config.get("widths") or ())
        elif self.command == "probe":
            arms *= len(config.get("latent_dims") or ())
        return f"{arms} × {seeds}"

    @cached_property
    def counts(self) -> Counts | None:
        """Its wrong answers; None where they were not kept."""
        kind = self.kind.result
        if not issubclass(kind, Result):
            return None
        files = [self.file.with_suffix(".npz")]
        if self.file.name == kind.file_name:
            files.append(self.file.with_name(kind.counts_name))
        return kind.load_counts(self.file) if any(file.exists() for file in files) else None

    @cached_property
    def rows(self) -> dict[RowKey, Values]:
        """The rows on file.

        Raises:
            InputError: they are not as a finished run leaves them.
        """
        kind = self.kind.result
        with recorded(self.file), blaming(str(self.file)):
            return values_of(kind.from_json(self.content), self.counts)


def published_folder() -> Path | None:
    """The folder of the published studies: of the checkout, or below the current folder."""
    own = Path(fewshot.__file__).parent.parent
    places = (root / "runs" / "published" for root in (own, Path()))
    return next((place for place in places if place.is_dir()), None)


def find(name: str, folder: Path | None, key: str = "name") -> Source:
    """The published study of a name, or the results of a path.

    Args:
        name: as typed: a name without ``.json``, a file of results, or a run folder.
        folder: of the published studies; None if there is none.
        key: that it was given by, for messages.

    Raises:
        InputError: there is no such study.
    """
    path = Path(name).expanduser()
    in_run = results_in(path)
    if in_run.is_file():
        return Source.load(in_run)
    if path.suffix == ".json" or len(path.parts) > 1:
        raise InputError(f"{key}: {in_run} not found")
    if folder is None:
        raise InputError(
            f"{key}: {name}: published studies come with a checkout, in runs/published, not with "
            "an installed package; give the path of a file of results"
        )
    if not (file := folder / f"{name}.json").exists():
        from difflib import get_close_matches

        known = [other.stem for other in folder.glob("*.json")]
        close = get_close_matches(name, known, n=1)
        meant = f"; did you mean {close[0]}?" if close else "; `fewshot reproduce` lists them"
        raise InputError(f"{key}: no published study is called {name!r}{meant}")
    return Source.load(file)
