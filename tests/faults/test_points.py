"""The harness's own parts: a fault happens where it should, and a wrong number is seen."""

import os
import random
import signal

import pytest

from tests.faults.kinds import Trial, Undisturbed
from tests.faults.points import Points
from tests.faults.subjects import SUBJECTS, numbers

PROGRAM_WRITES = 4  # opens, fsyncs, renames, unlinks


def program(folder):
    with (folder / "new").open("w") as file:
        file.write("text")
        os.fsync(file.fileno())
    (folder / "new").rename(folder / "kept")
    (folder / "kept").unlink()


def child(folder, at, fault):
    """The status of a process with a fault at one point, and what was noted of it."""
    points = Points(at, fault, folder.parent / "note")
    if not (pid := os.fork()):
        try:
            points.install()
            program(folder)
            points.end()
        except OSError:
            os._exit(2)
        finally:
            os._exit(0)
    os.close(points.note)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return status, (folder.parent / "note").read_text()


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_fault_happens_at_its_point(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    assert child(folder, -1, "") == (0, str(PROGRAM_WRITES))
    states = [set(), {"new"}, {"new"}, {"kept"}, set()]
    for at, name in enumerate(("open", "fsync", "rename", "unlink")):
        for fault, after in (("before", 0), ("after", 1)):
            status, noted = child(folder, at, fault)
            assert (status, noted.split()[0]) == (-signal.SIGKILL, name)
            assert {path.name for path in folder.iterdir()} == states[at + after]
            for path in folder.iterdir():
                path.unlink()
        assert child(folder, at, "ENOSPC")[0] == 2
        for path in folder.iterdir():
            path.unlink()


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ('{"error": 1, "seconds": 3}', []),
        ('{"error": 2, "seconds": 2}', ["other numbers: results.json"]),
        ('{"err', ["results cannot be read"]),
        (None, ["other numbers: results.json"]),
    ],
)
def test_other_numbers_and_temporary_files_are_problems(tmp_path, text, problems):
    run = tmp_path / "work" / "run"
    run.mkdir(parents=True)
    (run / "results.json").write_text('{"error": 1, "seconds": 2}')
    base = Undisturbed(SUBJECTS["evaluate"], tmp_path, tmp_path, numbers(run), 1, 1.0, 1)
    trial = Trial(base, tmp_path / "work", random.Random(0))
    (run / "results.json").unlink()
    if text:
        (run / "results.json").write_text(text)
    trial.compare()
    assert [problem.partition(":")[0] for problem in trial.problems] == [
        problem.partition(":")[0] for problem in problems
    ]
    (run / ".results.json.guided.tmp").touch()
    trial.compare()
    assert text == '{"err' or "temporary files left" in trial.problems[-1]
