"""``fewshot reproduce``: a published study run again, or some of its cells, and compared."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from fewshot.commands.common import ImageCommand, StudyCommand
from fewshot.commands.published import OtherVersion, Source, find, published_folder
from fewshot.config import parse
from fewshot.environment import UNKNOWN, choose_device
from fewshot.printing import columns, filled, width
from fewshot.runs import only_one
from fewshot.study.agreement import Agreement, Values, agreement, other_kind, values_of
from fewshot.study.result import Result, provenance, revisions_of
from fewshot.study.spot_check import Chosen, drawn
from fewshot.study.text import NONE, fixed, span
from guided.errors import InputError
from guided.ranges import Count, Whole
from guided.storage.files import write_json
from guided.storage.temporary import sweep

WHOLE, CHECK = "reproduction.json", "check.json"


@dataclass(frozen=True, kw_only=True)
class ReproduceCommand(ImageCommand, StudyCommand):
    """Run a published study, or any finished one, again from its configuration, and compare.

    Without a name, lists the published studies. On the same kind of machine every count of wrong
    answers must be the published one, else every error must be in the interval that training anew
    leaves it; the exit status is 1 if one is not.

    Args:
        name: of a published study, or the path of a file of results or of a run folder.
        check: such a name, of a study of which some cells alone are computed again.
        cells: how many: rows, each with one of its seeds, drawn at random.
        seed: of that draw.
        published: folder of the published studies; runs/published of the checkout if not given.
        output: folder to run in; runs/reproduced/NAME if not given.
    """

    name: str | None = None
    check: str | None = None
    cells: Count = 3
    seed: Whole = 0
    published: Path | None = None

    def __post_init__(self) -> None:
        if self.name and self.check:
            raise InputError("check: give one name, as in fewshot reproduce --check NAME")
        if not self.check and (self.cells, self.seed) != (3, 0):
            raise InputError("cells, seed: for --check NAME alone")


def main(arguments: Sequence[str]) -> dict[str, Any]:
    """Run the command; returns what was found, with ``problems``."""
    config = parse(ReproduceCommand, _spelled(arguments), "fewshot reproduce")
    folder = config.published or published_folder()
    if folder is not None and not folder.is_dir():
        raise InputError(f"published: {folder} not found")
    if not (name := config.name or config.check):
        return _listed(folder)
    source = find(name, folder, "name" if config.name else "check")
    output = config.output or Path("runs") / "reproduced" / source.name
    if output.resolve() == source.file.parent.resolve():
        raise InputError(f"output: {output} holds the results to compare with; name another")
    study = _placed(config, source, output)
    return _checked(config, source, study) if config.check else _reproduced(source, study)


def _spelled(arguments: Sequence[str]) -> list[str]:
    """The same with the name by its key, whether it stands before or behind ``--check``."""
    words = list(arguments)
    if words and not words[0].startswith("-"):
        words = ["--name", *words]
    if words[:1] == ["--name"] and "--check" in words:
        at = words.index("--check")
        if at + 1 == len(words) or words[at + 1].startswith("--"):
            return ["--check", words[1], *words[2:at], *words[at + 1 :]]
    return words


def _placed(config: ReproduceCommand, source: Source, output: Path) -> Any:
    """The study's configuration, to be run where this command says."""
    study = source.config
    wanted = config.device
    if wanted == "auto" and source.device == "cpu":
        wanted = "cpu"  # where there is a GPU, too: its bits are others
    places: dict[str, Any] = {
        "output": output,
        "device": choose_device(wanted),
        "executor": config.executor,
        "workers": config.workers,
        "gpus_per_cell": config.gpus_per_cell,
        "ray": config.ray,
    }
    if isinstance(study, ImageCommand):
        places["data_root"] = config.data_root
    return replace(study, **places)


# The list.

HEAD = ("name", "command", "arms × seeds", "minutes", "counts")


def _listed(folder: Path | None) -> dict[str, Any]:
    """Print the published studies, and why some are not run by this version."""
    if folder is None:
        raise InputError(
            "name: give the path of a file of results; published studies come with a checkout, in "
            "runs/published, not with an installed package"
        )
    studies, older, others = [], [], []
    for file in sorted(folder.glob("*.json")):
        try:
            source = Source.load(file)
            source.config  # noqa: B018  (read, so that one that cannot be run is told)
            studies.append(_line(source))
        except OtherVersion as error:
            older.append([file.stem, error.fault, error.revision or "unknown"])
        except InputError as error:
            others.append([file.stem, str(error).removeprefix(f"{file}: ")])
    print("\n".join(columns(HEAD, studies, width())))
    print("\nminutes: of one core, or of a GPU")
    head = ("of another version", "its configuration", "made by revision")
    if older:
        print("\n" + "\n".join(columns(head, older, width())))
    if others:
        print("\nothers")
        for name, why in others:
            print(filled(f"  {name}: {why}", width() - 4).replace("\n", "\n    "))
    found = {"studies": studies, "of another version": older, "others": others}
    return {name: [line[0] for line in lines] for name, lines in found.items()} | {"problems": []}


def _line(source: Source) -> list[str]:
    of_gpu = "" if source.device == "cpu" else " (GPU)"
    minutes = fixed(source.minutes, 0) + of_gpu
    counts = NONE if source.counts is None else "kept"
    return [source.name, source.command, source.size, minutes, counts]


# The whole study.


def _reproduced(source: Source, study: Any) -> dict[str, Any]:
    rows = source.rows  # before anything is computed
    kind = source.kind
    planned = {test.key for test in kind.study_of(study).tests()}
    if others := sorted(set(rows) ^ planned):
        raise InputError(
            f"{source.file}: its rows are not those of its configuration: {'|'.join(others[0])}"
        )
    print(filled(_about(source), width()), flush=True)
    kind.run(study)
    new = kind.result.load(study.output)
    counts = new.load_counts(study.output) if isinstance(new, Result) else None
    again = values_of(new, counts)
    found = [agreement(rows[key], again[key], len(rows)) for key in rows]
    return _told(source, study, found, WHOLE, revisions_of(new.facts))


def _about(source: Source) -> str:
    return f"{source.name}: fewshot {source.command}, {source.size} arms × seeds; {_cost(source)}"


def _cost(source: Source) -> str:
    if source.minutes is None:
        return "the cost of the study was not recorded"
    of = "a core" if source.device == "cpu" else source.device
    return f"the study took {_minutes(source.minutes)} of {of}"


def _minutes(number: float) -> str:
    return f"{number:.{0 if number >= 10 else 1}f} minutes"


# Some cells of it.


def _checked(config: ReproduceCommand, source: Source, study: Any) -> dict[str, Any]:
    rows, costs = source.rows, source.costs
    if all(row.values is None for row in rows.values()):
        raise InputError(
            f"{source.file}: counts of wrong answers and errors of seeds were not kept, so that no "
            f"single cell can be compared; run `fewshot reproduce {source.name}`"
        )
    testing = source.kind.study_of(study)
    with only_one(study.output):
        sweep(study.output)
        chosen = drawn(testing, rows, config.cells, config.seed, costs, source.seconds)
        print(filled(_plan(source, chosen), width()), flush=True)
        if chosen.unknown:
            names = ", ".join(map("|".join, chosen.unknown))
            print(filled(f"not drawn, because its configuration makes none here: {names}", width()))
        testing.executor.run(chosen.part, f"check {source.name}")
    found = []
    for test in chosen.tests:
        values = test.read()[None]
        new = Values(test.key, (test.seed,), float(values.mean()), values=values)
        found.append(agreement(rows[test.key], new, len(chosen.tests)))
    return _told(source, study, found, CHECK, chosen.part.revisions)


def _plan(source: Source, chosen: Chosen) -> str:
    left = f", about {_minutes(chosen.minutes)}" if chosen.minutes else ""
    return (
        f"{source.name}: {len(chosen.tests)} of {chosen.n_tests} cells; {chosen.n_trainings} of "
        f"{chosen.n_all_trainings} trainings to compute{left}; {_cost(source)}"
    )


# The verdict.


def _told(
    source: Source, study: Any, found: Sequence[Agreement], file: str, revisions: Sequence[str]
) -> dict[str, Any]:
    facts = provenance(study, study.device)
    parts = source.content.get("joined") or [{}]  # of several machines, perhaps
    differ = (other_kind({**source.content, **part}, facts) for part in parts)
    others = list(dict.fromkeys(chain.from_iterable(differ)))
    wrong = [row for row in found if not row.agrees(not others)]
    shown = found if file == CHECK else wrong  # some cells are few enough to be shown
    if shown:
        print("\n" + "\n".join(_table(shown)))
    noun = "cell" if file == CHECK else "row"
    said = _verdict(found, wrong, others, noun)
    if wrong and source.revision != facts["versions"]["git"]:
        said += f"; made by revision {source.revision}, here is {facts['versions']['git']}"
    if earlier := sorted({*revisions} - {facts["versions"]["git"] or UNKNOWN}):
        said += f"; of the cells, some were there before, computed by revision {', '.join(earlier)}"
    print(f"\n{filled(said, width())}")
    content = {
        "source": str(source.file),
        "command": source.command,
        "other_kind": others,
        "published": {name: source.content.get(name) for name in ("versions", "hardware")},
        "rows": [row.to_json() | {"agrees": row not in wrong} for row in found],
        "problems": [row.label for row in wrong],
        "revisions": list(revisions),
        **facts,
    }
    write_json(study.output / file, content)
    print(f"all numbers in {study.output / file}")
    return content


def _table(found: Sequence[Agreement]) -> list[str]:
    lines = [
        [row.label, fixed(row.published, 3), fixed(row.new, 3), _expected(row)] for row in found
    ]
    return columns(("row", "published", "now", "expected"), lines, width())


def _expected(row: Agreement) -> str:
    if row.verdict == "same":
        return "to the bit"
    return f"{row.verdict} {span(row.interval)}" if row.interval else "no interval"


def _verdict(
    found: Sequence[Agreement], wrong: Sequence[Agreement], others: Sequence[str], noun: str
) -> str:
    counts = Counter(row.verdict for row in found)
    here = f"another kind of machine ({'; '.join(others)})" if others else "this kind of machine"
    said = [f"{counts['same']} to the bit", f"{counts['within']} within their interval"]
    every = f"all {len(found)} {noun}s" if len(found) > 1 else f"the {noun}"
    if wrong:
        said.append(f"{counts['outside']} outside")
        much = f"{len(wrong)} of {len(found)} {noun}s do not agree with what is on file"
    elif counts["same"] == len(found):
        are = "are the published ones" if len(found) > 1 else "is the published one"
        return f"{every} {are} to the bit, on {here}"
    else:
        much = f"{every} {'agree' if len(found) > 1 else 'agrees'} with what is on file"
    return f"{much}, on {here}: {', '.join(said)}"
