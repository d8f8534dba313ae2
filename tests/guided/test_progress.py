"""Progress bars on a terminal of a given width, and plain lines without one."""

import re

import pytest

STEPS = """
from guided.progress import progress_bar

figures = dict(reconstruction=123.4, kl=17.2, negative_elbo=140.6, score=37.65)
for times in (1, 3):
    with progress_bar("pretrain guided_unsupervised, seed 2" * times, 2000, 1500, "step") as bar:
        bar.update(100)
        bar.validated(1600, figures)
        bar.refresh()
"""

CELLS = """
from types import SimpleNamespace as Made
from fewshot.study.executors.progress import Progress

names = [f"encoder-guided_supervised-seed{seed}-0" for seed in range(4)]
tasks = [Made(cell=Made(name=name, depends=dict(cell="encoder"))) for name in names]
with Progress("quickstart", tasks, 2) as progress:
    for task in tasks[:3]:
        progress.started(task)
    progress.finished(tasks[0])
    progress.tick()
"""


def shown(printed):
    """What stood in a line at any time."""
    return [line.replace("\x1b[A", "").rstrip() for line in re.split(r"[\r\n]+", printed)]


@pytest.mark.parametrize("columns", [80, 120])
def test_a_bar_fits_and_keeps_its_brackets(terminal, columns):
    lines = [line for line in shown(terminal(["-c", STEPS], columns)) if line]
    assert max(map(len, lines)) <= columns
    assert {line[-1] for line in lines} == {"]"}
    assert all(line.count("|") == 2 and line.count("[") == 1 for line in lines)
    assert any("1600/2000 [" in line and "score 37.65" in line for line in lines) == (columns > 80)
    assert "…: " in "".join(lines), "a title that is too long is cut"


def test_the_bar_of_cells_says_what_is_left_and_what_is_computed(terminal):
    lines = [line for line in shown(terminal(["-c", CELLS], 80)) if line]
    assert max(map(len, lines)) <= 80
    assert {line[-1] for line in lines} == {"]"}
    assert lines[0].startswith("quickstart: 0/4 cells |")
    assert any(line.endswith("[00:00, encoder-guided_supervised-seed0]") for line in lines)
    assert lines[-1].startswith("quickstart: 1/4 cells |") and ", 0 s left" in lines[-1]


def test_lines_of_validations_above_a_bar(terminal):
    lines = shown(terminal(["-c", STEPS], 120, FEWSHOT_PLAIN="verbose"))
    assert sum("step 1600 of 2000: reconstruction 123.40, kl" in line for line in lines) == 1
    assert any("1600/2000 [" in line for line in lines)
    assert max(map(len, lines)) <= 120


def test_lines_without_a_terminal(python_run):
    done = python_run(STEPS)
    values = "reconstruction 123.40, kl 17.20, negative_elbo 140.60, score 37.65"
    title = "pretrain guided_unsupervised, seed 2"
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        f"{title * times}: step 1600 of 2000: {values}" for times in (1, 3)
    ]
    assert python_run(STEPS, FEWSHOT_PLAIN="silent").stderr == ""


NOTEBOOK = """
import sys, types
made = {name: types.ModuleType(name) for name in (
    "ipykernel", "ipykernel.zmqshell", "IPython", "IPython.display", "ipywidgets")}
made["IPython"].get_ipython = object
made["IPython.display"].display = print
widgets = ("HTML", "FloatProgress", "HBox")
vars(made["ipywidgets"]).update({name: type(name, (), {}) for name in widgets})
sys.modules.update(made)
import guided.progress
import tqdm.notebook
print(issubclass(guided.progress.ProgressBar, tqdm.notebook.tqdm), guided.progress.hidden())
"""


def test_a_notebook_has_its_own_bar(python_run):
    assert python_run(NOTEBOOK).stdout.split() == ["True", "False"]
